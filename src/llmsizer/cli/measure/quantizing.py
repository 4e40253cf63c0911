"""``quantize``: variants of a checkpoint in fewer bits."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from llmsizer.cli.arguments import Commands, add_json, comma_list, existing_path, number
from llmsizer.cli.measure.measuring import progress_bar
from llmsizer.cli.output import console, print_json, print_table
from llmsizer.errors import InputError
from llmsizer.units import format_gb

if TYPE_CHECKING:
    from llmsizer.facts.variant import Variant

DEFAULT_METHODS = "openvino-fp16,openvino-int8,openvino-int4"
SIZES = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "KIB": 2.0**10, "MIB": 2.0**20, "GIB": 2.0**30}


def add_commands(commands: Commands) -> None:  # type: ignore[type-arg]
    parser = commands.add_parser("quantize", help="write INT8, INT4, FP8 and FP4 variants of a checkpoint")
    parser.add_argument("checkpoint", type=existing_path, nargs="?", help="a folder with config.json and safetensors")
    parser.add_argument(
        "--methods",
        default=DEFAULT_METHODS,
        metavar="M,…",
        help=f"see --list, or TOML files of your own (default: {DEFAULT_METHODS})",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("variants"), metavar="DIR", help="a folder for each variant goes here"
    )
    parser.add_argument(
        "--calibration", type=existing_path, metavar="PATH",
        help="text, JSON lines, Parquet, Arrow, a folder of these or a request log, for methods that need activations",
    )  # fmt: skip
    parser.add_argument(
        "--held-out", type=existing_path, metavar="PATH",
        help="the text that quality will be judged on: refused where calibration has seen it",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="let calibration see held-out text")
    parser.add_argument("--size-budget", type=_size, metavar="SIZE", help="of all weights, for the method mixed: 14GB")
    parser.add_argument(
        "--verify", action=argparse.BooleanOptionalAction, default=None,
        help="read each variant back with its engine and with our own reader (default: models up to 0.2B)",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="list the methods and what they write")
    add_json(parser)
    parser.set_defaults(run=_quantize)


def _size(text: str) -> int:
    """Bytes of ``14GB``, ``900MiB`` or a plain number."""
    upper = text.strip().upper()
    if not re.fullmatch(r"[\d._,]+\s*([KMGT]I?B|[KMGTB])?", upper):
        raise InputError(f"size-budget = {text!r} is no size; give one such as 14GB or 900MiB")
    for unit, factor in sorted(SIZES.items(), key=lambda item: -len(item[0])):
        if upper.endswith(unit):
            return int(number("size-budget", least=1e-6)(upper.removesuffix(unit)) * factor)
    return int(number("size-budget", least=1)(text))


def _quantize(arguments: argparse.Namespace) -> int:
    from llmsizer.quantize import RECIPES, Job, quantize_all
    from llmsizer.quantize.calibration import read_texts

    if arguments.list:
        rows = [(r.name, r.format, r.toolkit, r.description) for r in RECIPES.values()]
        print_json(RECIPES) if arguments.json else print_table("Methods", ("method", "format", "toolkit", ""), rows)
        return 0
    if arguments.checkpoint is None:
        raise InputError("no checkpoint; give a folder with config.json and safetensors, or --list for the methods")
    source = arguments.checkpoint
    texts = read_texts(arguments.calibration, checkpoint=source) if arguments.calibration else _own_calibration(source)
    job = Job(
        calibration=texts,
        held_out=read_texts(arguments.held_out, checkpoint=source) if arguments.held_out else (),
        force=arguments.force,
        size_budget_bytes=arguments.size_budget,
        verify=arguments.verify,
    )
    with progress_bar("quantizing") as progress:
        variants = quantize_all(source, comma_list(arguments.methods), arguments.out, job=job, progress=progress)
    print_json(variants) if arguments.json else print_variants(variants)
    return 0


def _own_calibration(checkpoint: Path) -> list[str]:
    """The texts that lie beside a reference model, where they do."""
    from llmsizer import reference_model

    try:
        return reference_model.calibration_documents(checkpoint)
    except InputError:
        return []


def print_variants(variants: list[Variant]) -> None:
    """Bytes on disk, of the quantized layers apart, and effective bits per weight of each; what read them back."""
    base = variants[0].weights_bytes
    rows = [
        (
            v.name,
            v.method,
            format_gb(v.weights_bytes, digits=3),
            f"{v.weights_bytes / base:.2f}×",
            "–" if v.quantized_bytes_ratio is None else f"{v.quantized_bytes_ratio:.2f}×",
            "unknown" if v.bits_per_weight is None else f"{v.bits_per_weight:.2f}",
            "–" if v.round_trip is None else f"{v.round_trip.reader}, KL {v.round_trip.value:.1g}",
        )
        for v in variants
    ]
    headers = (
        "variant", "method", "weights", "of the first", "quantized layers, of 16 bit", "bits per weight", "read back",
    )  # fmt: skip
    print_table(f"Variants in {variants[0].path.parent} (bytes on disk: measured)", headers, rows)
    for note in sorted({f"{v.method}: {note}" for v in variants for note in v.notes}):
        console().print(note, highlight=False)
