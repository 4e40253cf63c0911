"""Which deployments evidence supports a number for, and what would support the others."""

from __future__ import annotations

from llmsizer.physics.calibration.intervals import FAMILY_UNSEEN
from llmsizer.physics.calibration.store import StoredCalibration
from llmsizer.physics.steps.cases import maker_class
from llmsizer.physics.steps.formats import POOLED_ENGINES

__all__ = ["FAMILY_UNSEEN", "evidence_problem", "stack_of"]

# Devices whose software stack is their own: what was measured on another device of the same maker says nothing here.
OWN_STACKS = {"gaudi": "Gaudi", "cpu": "CPUs", "asic": "accelerators of this kind"}


def stack_of(family: str) -> str:
    """The software stack a family of devices runs: evidence carries over within one, from a chip to its successor."""
    return family if family in OWN_STACKS else maker_class(family).removesuffix("-gddr")


def evidence_problem(gpu: str, family: str, engine: str, calibration: StoredCalibration) -> str:
    """Why there can be no number, and what would change that; empty where evidence supports one."""
    pooled = POOLED_ENGINES.get(engine, engine)
    if {pooled, engine}.isdisjoint(calibration.seen_engines):
        return f"no evidence for the engine {engine!r}; measure it with llmsizer profile"
    if gpu in calibration.seen_gpus or family in calibration.seen_families:
        return ""
    if stack_of(family) in {stack_of(seen) for seen in calibration.seen_families}:
        return ""
    kind = OWN_STACKS.get(family, family)
    return (
        f"no evidence for {kind}: not one measured row is of them; "
        f"one static batch at 1 and one at 32 measured on {gpu} would do: llmsizer profile, then --records"
    )
