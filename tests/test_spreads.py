"""Spreads of effects come from the evidence: what scatters gets a wide one, what does not a narrow one."""

from __future__ import annotations

import numpy as np
import pytest

from llmsizer.physics.calibration.effects import Block
from llmsizer.physics.calibration.fitting import Linearised
from llmsizer.physics.calibration.spreads import LEAST_SPREAD, TYPICAL_SPREAD, chosen_spreads

ENGINES, ROWS = 40, 12


def made(sd: float, block: Block, noise: float = 0.05) -> Linearised:
    """Rows of engines whose effects scatter by ``sd``, and one coefficient that is truly at its prior."""
    random = np.random.default_rng(7)
    place = np.repeat(np.arange(ENGINES), ROWS)
    effect = sd * random.standard_normal(ENGINES)
    columns = (place[:, None] == np.arange(ENGINES)) * block.spread
    slope = random.standard_normal((len(place), 1)) * 0.1
    return Linearised(
        names=("memory.efficiency", *(f"{block.name}:{i}" for i in range(ENGINES))),
        matrix=np.concatenate([slope, columns], axis=1),
        start=effect[place] + noise * random.standard_normal(len(place)),
        weight=np.ones(len(place)),
    )


@pytest.mark.parametrize("first", [0.03, 0.6])
def test_the_spread_that_made_the_rows_is_found_from_either_side(first: float) -> None:
    block = Block(("engine",), first)
    (found,) = chosen_spreads(made(0.2, block), [block], rounds=40)
    assert found.spread == pytest.approx(0.2, rel=0.25)


def test_effects_that_are_not_there_get_a_narrow_spread() -> None:
    block = Block(("engine",), 0.3)
    (found,) = chosen_spreads(made(0.0, block), [block], rounds=40)
    assert LEAST_SPREAD <= found.spread < 0.05


def test_a_block_without_evidence_keeps_its_spread() -> None:
    block, other = Block(("engine",), 0.1), Block(("gpu",), TYPICAL_SPREAD)
    assert chosen_spreads(made(0.1, block), [block, other])[1].spread == TYPICAL_SPREAD
