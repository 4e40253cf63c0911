"""P10 and P90 of every path over the volume: the draws of ``uncertainty``, asked at each volume of a comparison.

At each volume the machines are those that the comparison takes there; in every draw they are as many as it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmsizer.decide.candidates.sizing import Sized
from llmsizer.decide.certainty.drivers import DEMAND, UncertainPath, api_path, own_path, rent_path
from llmsizer.decide.certainty.sure import why_not_called
from llmsizer.decide.certainty.uncertainty import SEED
from llmsizer.decide.comparison.curves import Machines, at_volume, tokens_of
from llmsizer.decide.pricing.apis import ApiChoice
from llmsizer.decide.pricing.bills import Demand, Rental
from llmsizer.decide.pricing.study import Study
from llmsizer.money.comparison import Comparison
from llmsizer.money.cost import Path
from llmsizer.money.draws import draw

DRAWS = 512
_SHARES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSpread:
    """One path of a comparison, by its label there: dollars a month at each of its volumes.

    A volume without a price is left out.
    """

    path: Path
    label: str
    tokens_per_month: tuple[float, ...]
    usd_p10: tuple[float, ...]
    usd_p50: tuple[float, ...]
    usd_p90: tuple[float, ...]


def volume_spreads(
    found: Study, comparison: Comparison, choices: Sequence[ApiChoice], *, draws: int = DRAWS, seed: int = SEED
) -> tuple[VolumeSpread, ...]:
    """In the order of the comparison's paths. Of APIs only those of the choices are drawn."""
    by_label = {choice.label: choice for choice in choices}
    spreads = []
    for path in comparison.paths:
        if path.path != "api":
            spreads.append(_of_machines(found, path.path, comparison.tokens_per_month, draws, seed))
        elif (choice := by_label.get(path.label)) is not None:
            asked = api_path(found, choice, why_not_called(found, choice))
            spreads.append(_of_parts("api", path.label, [(asked, comparison.tokens_per_month)], found, draws, seed))
    return tuple(spreads)


def _of_machines(found: Study, path: Path, volumes: Sequence[float], draws: int, seed: int) -> VolumeSpread:
    """Volumes in a row with the same machines on the same terms are one path of draws."""
    taken = Machines(found=found, path=path).cheapest_each(np.array(volumes))
    parts: list[tuple[Sized, Rental | None, list[float]]] = []
    for volume, sized in zip(volumes, taken, strict=True):
        if sized is None:
            continue
        rental = _rental(found, sized, volume) if path == "rent" else None
        if path == "rent" and rental is None:
            continue
        if parts and parts[-1][0] is sized and parts[-1][1] == rental:
            parts[-1][2].append(volume)
        else:
            parts.append((sized, rental, [volume]))
    asked = [(_machine_path(found, sized, rental), tuple(at)) for sized, rental, at in parts]
    return _of_parts(path, path, asked, found, draws, seed)


def _rental(found: Study, sized: Sized, volume: float) -> Rental | None:
    """The contract and the mode that the comparison takes at a volume."""
    return found.pricer.bills.cheapest_rental(sized, Demand.of(at_volume(found.question.workload, volume)))


def _machine_path(found: Study, sized: Sized, rental: Rental | None) -> UncertainPath:
    label = sized.deployment.label
    return own_path(found, sized, 1, label) if rental is None else rent_path(found, sized, rental, label)


def _of_parts(
    path: Path,
    label: str,
    parts: Sequence[tuple[UncertainPath, Sequence[float]]],
    found: Study,
    draws: int,
    seed: int,
) -> VolumeSpread:
    """Each part at its volumes: its draws of the load are scaled to the volume."""
    volumes: list[float] = []
    quantiles: list[list[float]] = []
    asked = tokens_of(found.question.workload)
    for uncertain, at in parts:
        values = draw(uncertain.drivers, draws, seed)
        load = next(driver for driver in uncertain.drivers if driver.name == DEMAND)
        drawn = values.get(DEMAND, np.full(draws, load.mid))
        scaled = {name: np.tile(column, len(at)) for name, column in values.items()}
        scaled[DEMAND] = np.concatenate([drawn * (volume / asked) for volume in at])
        usd = np.broadcast_to(uncertain.usd(scaled), (draws * len(at),)).reshape(len(at), draws)
        for volume, row in zip(at, usd, strict=True):
            if not np.isnan(row).any():
                volumes.append(volume)
                quantiles.append(np.quantile(row, _SHARES).tolist())
    columns = list(zip(*quantiles, strict=True)) or [(), (), ()]
    return VolumeSpread(
        path=path,
        label=label,
        tokens_per_month=tuple(volumes),
        usd_p10=tuple(columns[0]),
        usd_p50=tuple(columns[1]),
        usd_p90=tuple(columns[2]),
    )
