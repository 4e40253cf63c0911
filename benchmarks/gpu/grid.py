"""(b, c) A model's static-batch grid in one precision: latency, VRAM by phase, energy, verdict.

``--model 22b`` over batch 1–64 × prompt 128–8,192; ``8b`` and ``3b`` over fewer points, for the slope over size.
"""

from __future__ import annotations

import campaign
from campaign import say

from llmsizer.facts.architecture import model_from_config
from llmsizer.facts.records import ProfileRecord
from llmsizer.profile import describe_device, profile, read_records
from llmsizer.profile.row import record_id
from llmsizer.profile.sweep import Request
from llmsizer.quantize.at_precisions import RANDOM_PRECISIONS

BATCHES = (1, 2, 4, 8, 16, 32, 64)
PROMPTS = (128, 512, 2048, 8192)
SLOPE_BATCHES, SLOPE_PROMPTS = (1, 8, 64), (128, 2048)
OUTPUT_TOKENS = 64
REPEATS = 5


def run(arguments: list[str] | None = None) -> None:
    parser = campaign.parser(__doc__ or "")
    parser.add_argument("--model", choices=sorted(campaign.MODELS), default="22b")
    parser.add_argument("--precision", choices=list(RANDOM_PRECISIONS), default="fp16")
    parser.add_argument("--engine", default="transformers-compiled")
    asked = parser.parse_args(arguments)
    at = campaign.stage(f"grid-{asked.model}", asked)
    variant = campaign.variant_of(asked.model, asked.precision, at.out / "models", dry_run=at.dry_run)
    spec = model_from_config(variant.config, name=asked.model)
    device = describe_device()
    if at.dry_run:
        points, repeats = campaign.grid((1, 2), (8,), 3), 2
    else:
        whole = asked.model == "22b"
        points = campaign.grid(BATCHES if whole else SLOPE_BATCHES, PROMPTS if whole else SLOPE_PROMPTS, OUTPUT_TOKENS)
        repeats = REPEATS
    kept: dict[str, ProfileRecord] = {}
    for folder in (at.out, *at.have):
        records, problems = read_records(folder / at.file.name, ProfileRecord)
        kept |= {record.record_id: record for record in records if record.is_finished}
        for problem in problems:
            say(problem)
    request = Request(variant=variant, engine=asked.engine, device=device, repeats=repeats, seed=0)
    memory = device.memory_bytes or 0.0
    room = [p for p in points if campaign.fits(spec, variant.weights_bytes, p, memory)]
    todo = [p for p in room if record_id(request, p) not in kept]
    say(f"{at.name} {asked.precision}: {len(points)} points, {len(points) - len(room)} do not fit, {len(todo)} to do")
    with campaign.stopping_at(at):
        for record in (
            profile(
                [variant],
                todo,
                records_path=at.file,
                repeats=repeats,
                engine=asked.engine,
                device=device,
                in_laps=False,  # a call ends after nine minutes and its machine with it: what is done must be a row
            )
            if todo
            else ()
        ):
            verdict = record.verdict.why if record.verdict else record.failure
            say(f"{record.batch}×{record.prompt_tokens}: {record.status}, TPOT {record.tpot_seconds} s, {verdict}")
        say(f"{at.name} {asked.precision}: all points are done")


if __name__ == "__main__":
    campaign.main(run)
