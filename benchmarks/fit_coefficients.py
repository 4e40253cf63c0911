"""Re-fit coefficients, effects and bands from the public measured rows and write them under profiles/calibration.

    python benchmarks/fit_coefficients.py [--iterations 8] [--from-priors]
    python benchmarks/fit_coefficients.py --bands
    python benchmarks/fit_coefficients.py --spreads

The second makes the intervals anew and leaves every prediction as it is. The third prints how far effects scatter by
the rows' marginal likelihood (``physics/calibration/spreads.py``): what stands in ``physics/calibration/effects.py``.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

from llmsizer.facts.aliases import names
from llmsizer.facts.catalog import load_catalog
from llmsizer.physics.calibration.effects import BLOCKS
from llmsizer.physics.calibration.evidence import public_rows
from llmsizer.physics.calibration.fitting import fit, linearise, with_bands
from llmsizer.physics.calibration.spreads import chosen_spreads
from llmsizer.physics.calibration.store import COEFFICIENTS, load_stored, save_stored
from llmsizer.physics.rows.observations import observe
from llmsizer.physics.steps.coefficients import Coefficients

SOURCE = "profiles/measured/public/*.csv.gz (source and licence in every row)"


def print_spreads(start: Coefficients) -> None:
    """The blocks of ``physics/calibration/effects.py`` with the spreads that the evidence makes most likely."""
    problem, _ = linearise(start, observe(public_rows(), names()))
    for block in chosen_spreads(problem, BLOCKS):
        slope = "" if block.slope == "one" else f', "{block.slope}"'
        keys = ", ".join(f'"{key}"' for key in block.keys)
        print(f"    Block(({keys}{',' if len(block.keys) == 1 else ''}), {block.spread:.3f}{slope}),")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=0, help="of the coefficients alone, before the joint fit")
    parser.add_argument("--joint-moves", type=int, default=3)
    parser.add_argument("--from-priors", action="store_true", help="forget the present values")
    parser.add_argument("--output", type=Path, default=load_catalog().root / "calibration")
    parser.add_argument("--bands", action="store_true", help="make bands and seen set-ups anew, and nothing else")
    parser.add_argument("--spreads", action="store_true", help="print the effects' spreads and write nothing")
    options = parser.parse_args()
    start = Coefficients.load(load_catalog().root / "calibration" / COEFFICIENTS)
    if options.from_priors:
        start = Coefficients(replace(c, value=c.prior) for c in start.items)
    if options.spreads:
        print_spreads(start)
        return
    if options.bands:
        seen = observe(public_rows(), names())
        stored = with_bands(load_stored(load_catalog().root / "calibration"), seen)
        save_stored(options.output, stored, note=f"Fitted on {len(seen)} observations of {SOURCE}.")
        return
    begun = time.perf_counter()
    fitted = fit(public_rows(), names(), start, iterations=options.iterations, joint_moves=options.joint_moves)
    outside = [c.name for c in fitted.stored.coefficients.items if not c.is_plausible]
    stored = replace(
        fitted.stored,
        coefficients=Coefficients(
            replace(c, source=SOURCE if c.rows else "prior") for c in fitted.stored.coefficients.items
        ),
    )
    save_stored(options.output, stored, note=f"Fitted on {len(fitted.seen)} observations of {SOURCE}.")
    print(f"{len(fitted.seen)} observations, {time.perf_counter() - begun:.0f} s, outside range: {outside or 'none'}")


if __name__ == "__main__":
    main()
