"""Re-fit coefficients, effects and bands from the public measured rows and write them under profiles/calibration.

python benchmarks/fit_coefficients.py [--iterations 8] [--from-priors]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

from llmsizer.facts.aliases import names
from llmsizer.facts.catalog import load_catalog
from llmsizer.physics.calibration import fit
from llmsizer.physics.coefficients import Coefficients
from llmsizer.physics.evidence import public_rows, read_table
from llmsizer.physics.store import COEFFICIENTS, save_stored

SOURCE = "profiles/measured/public/*.csv.gz (source and licence in every row)"
SWEEPS = " and rate sweeps of pChitral/vllm-cost-meter (MIT)"


# What the sweeps do not print: vllm bench's shape in that harness is 512 in, 256 out (end-to-end time / TPOT = 256).
SWEEP_INPUT, SWEEP_OUTPUT = "512", "256"


def rate_sweep_rows(folder: Path) -> list[dict[str, str]]:
    """Rows of pChitral/vllm-cost-meter (MIT): vLLM and SGLang on H100 under Poisson load, 16 bit and FP8."""
    rows = []
    for cells in read_table(folder / "master_results.csv"):
        precision, gpu = cells["precision"].lower(), cells["hardware"].lower()
        rows.append(
            {
                "source_id": "vllm-cost-meter",
                "engine": cells["engine"],
                "date": "2026",
                "model": cells["model"],
                "weight_dtype": "fp8" if "fp8" in precision else "fp16",
                "gpu": f"{gpu}-80gb",
                "n_gpus": cells["gpus"],
                "tp": cells["gpus"],
                "input_len": SWEEP_INPUT,
                "output_len": SWEEP_OUTPUT,
                "load_kind": "request_rate",
                "load_value": cells["rps"],
                "output_tok_s": cells["tps_output"],
                "ttft_ms_p50": cells["ttft_p50_ms"],
                "tpot_ms_p50": cells["tpot_p50_ms"],
                "split_group": f"sweep|{cells['model']}|{gpu}|{precision}|{cells['gpus']}",
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=0, help="of the coefficients alone, before the joint fit")
    parser.add_argument("--joint-moves", type=int, default=3)
    parser.add_argument("--from-priors", action="store_true", help="forget the present values")
    parser.add_argument("--output", type=Path, default=load_catalog().root / "calibration")
    parser.add_argument(
        "--rate-sweeps", type=Path, help="folder with vllm-cost-meter's master_results.csv (not shipped)"
    )
    options = parser.parse_args()
    start = Coefficients.load(load_catalog().root / "calibration" / COEFFICIENTS)
    if options.from_priors:
        start = Coefficients(replace(c, value=c.prior) for c in start.items)
    begun = time.perf_counter()
    extra = rate_sweep_rows(options.rate_sweeps) if options.rate_sweeps else []
    fitted = fit(
        [*public_rows(), *extra], names(), start, iterations=options.iterations, joint_moves=options.joint_moves
    )
    outside = [c.name for c in fitted.stored.coefficients.items if not c.is_plausible]
    source = SOURCE + (SWEEPS if extra else "")
    stored = replace(
        fitted.stored,
        coefficients=Coefficients(
            replace(c, source=source if c.rows else "prior") for c in fitted.stored.coefficients.items
        ),
    )
    save_stored(options.output, stored, note=f"Fitted on {len(fitted.seen)} observations of {source}.")
    print(f"{len(fitted.seen)} observations, {time.perf_counter() - begun:.0f} s, outside range: {outside or 'none'}")


if __name__ == "__main__":
    main()
