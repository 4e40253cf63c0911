"""Every verification kept, a line each, and what they say of the promises over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from llmsizer.deliver.elements import svg
from llmsizer.errors import InputError
from llmsizer.profile.store import append_record, read_records
from llmsizer.store.location import data_folder
from llmsizer.verify.verification import Verification

FILE = "verifications.jsonl"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760.0, 300.0, 64.0, 150.0, 30.0, 46.0
LEAST_GAP = 16.0  # between two labels
FACTORS = (0.1, 0.25, 0.5, 0.8, 1.0, 1.25, 2.0, 4.0, 10.0)
# Okabe and Ito's palette, told apart by the colour-blind; each line is named at its end too.
_STYLE = (
    "<style>svg{background:#fff;color:#222;font:13px sans-serif}text{fill:currentColor}"
    ".grid{stroke:#ddd}.axis{stroke:#888}.one{fill:none;stroke-width:2}"
    ".s0{stroke:#0072b2}.s1{stroke:#d55e00}.s2{stroke:#009e73}.s3{stroke:#cc79a7}"
    "@media(prefers-color-scheme:dark){svg{background:#111;color:#eee}.grid{stroke:#333}}</style>"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorOverTime:
    """Of one figure: seen over promised less one, oldest first. ``typical`` is the median of its size so far."""

    name: str
    verified_at: tuple[str, ...]
    errors: tuple[float, ...]
    outcomes: tuple[str, ...]

    @property
    def typical(self) -> tuple[float, ...]:
        """Of seen ÷ promised or its inverse, whichever is above 1, less one: half and twice are equally far off."""
        sizes = [abs(math.log1p(error)) for error in self.errors]
        return tuple(math.expm1(median(sizes[: at + 1])) for at in range(len(sizes)))

    @property
    def kept_share(self) -> float:
        """Of those within the promise's 90 % interval."""
        return sum(outcome == "kept" for outcome in self.outcomes) / len(self.outcomes)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "typical": self.typical, "kept_share": self.kept_share}


def default_ledger() -> Path:
    return data_folder() / FILE


def keep(path: Path, verification: Verification) -> None:
    """Add a line and wait until it is on the disk. Raises InputError where it cannot be written."""
    append_record(path, verification)


def read_ledger(path: Path) -> tuple[list[Verification], list[str]]:
    """Oldest first, and the lines that could not be read. Raises InputError where there is no ledger."""
    if not path.is_file():
        raise InputError(f"{path}: no ledger yet; llmsizer verify PLAN.json --url … begins one")
    found, complaints = read_records(path, Verification)
    return sorted(found, key=lambda each: each.verified_at), complaints


def errors_over_time(verifications: Sequence[Verification]) -> tuple[ErrorOverTime, ...]:
    """One series a figure; what was unknown is left out, and a record held twice against one plan counts once."""
    once = {(each.record_id, each.measured_at, each.plan, each.scenario_sha256): each for each in verifications}
    verifications = list(once.values())
    names = dict.fromkeys(figure.name for each in verifications for figure in each.figures)
    found = []
    for name in names:
        points = [
            (each.verified_at, figure.error, figure.outcome)
            for each in verifications
            for figure in each.figures
            if figure.name == name and figure.error is not None and figure.error > -1
        ]
        if points:
            at, errors, outcomes = zip(*points, strict=True)
            found.append(ErrorOverTime(name=name, verified_at=at, errors=errors, outcomes=outcomes))
    return tuple(found)


def ledger_chart(series: Sequence[ErrorOverTime]) -> str:
    """Error of each figure over the verifications as an SVG picture; a factor of two up and down is equally far."""
    most = max((abs(math.log1p(error)) for one in series for error in one.errors), default=0.0)
    reach = max(most * 1.1, math.log(1.3))
    longest = max((len(one.errors) for one in series), default=1)
    right, low = WIDTH - RIGHT, HEIGHT - BOTTOM
    across = svg.Scale(low=0, high=longest - 1, start=LEFT, end=right)
    up = svg.Scale(low=-reach, high=reach, start=low, end=TOP)
    body = [_STYLE, svg.text(LEFT, 18, "Seen over promised, verification by verification")]
    labelled: list[float] = []
    for factor in sorted(FACTORS, key=lambda each: abs(math.log(each))):
        y = up(math.log(factor))
        if abs(math.log(factor)) <= reach and all(abs(y - other) >= LEAST_GAP for other in labelled):
            labelled.append(y)
            body.append(svg.line(LEFT, y, right, y, "axis" if factor == 1.0 else "grid"))
            body.append(svg.text(LEFT - 8, y + 4, f"×{factor:g}", anchor="end"))
    ends = svg.spread([up(math.log1p(one.errors[-1])) for one in series], 16, TOP, low)
    for index, (one, end) in enumerate(zip(series, ends, strict=True)):
        points = [(across(at), up(math.log1p(error))) for at, error in enumerate(one.errors)]
        body.append(svg.path(points, f"one s{index}"))
        body += [svg.rect(x - 3, y - 3, 6, 6, fill="none", css=f"s{index}") for x, y in points]
        body.append(svg.line(right + 8, end, right + 22, end, f"s{index}"))
        body.append(svg.text(right + 28, end + 4, one.name))
    days = sorted(at[:10] for one in series for at in one.verified_at)
    if days:
        body += [svg.text(LEFT, HEIGHT - 14, days[0]), svg.text(right, HEIGHT - 14, days[-1], anchor="end")]
    return svg.document(WIDTH, HEIGHT, "Error of the plans' promises over time", body)
