"""Measured variants side by side, and why a smaller format is not always a faster one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from llmsizer.deliver.elements.tables import Cell, Table, words
from llmsizer.deliver.elements.wording import amount, size
from llmsizer.errors import UnknownNameError
from llmsizer.facts.precision import get_precision
from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.units import format_seconds

CLEARLY = 1.05  # medians closer than this are called the same


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Point:
    """An operating point: so many requests at once, so long."""

    batch: int
    prompt_tokens: int
    output_tokens: int

    @property
    def label(self) -> str:
        requests = "1 request at a time" if self.batch == 1 else f"{self.batch} requests at once"
        return f"{requests}, {self.prompt_tokens:,} tokens in, {self.output_tokens:,} out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Records that may be compared: one model on one device."""

    model: str
    device: DeviceRecord
    records: tuple[ProfileRecord, ...]

    @property
    def label(self) -> str:
        cores = f", {self.device.cores} cores" if self.device.cores else ""
        return f"{self.model} on {self.device.name}{cores}"

    @property
    def points(self) -> tuple[Point, ...]:
        """Operating points at which most variants were measured, smallest batch first."""
        found: dict[Point, set[str]] = {}
        for record in self.records:
            if record.status == "ok":
                found.setdefault(point_of(record), set()).add(record.variant)
        most = max((len(v) for v in found.values()), default=0)
        return tuple(sorted(p for p, variants in found.items() if len(variants) == most))

    def at(self, point: Point) -> tuple[ProfileRecord, ...]:
        """One record a variant at that point, widest format first; the last measured wins."""
        chosen = {r.variant: r for r in self.records if r.status == "ok" and point_of(r) == point}
        return tuple(sorted(chosen.values(), key=lambda r: (-bits(r.precision), r.variant)))

    @property
    def over_load(self) -> tuple[ProfileRecord, ...]:
        """Records alike but for the number of requests at once, of the lengths with the most such numbers."""
        lengths: dict[tuple[int, int], list[ProfileRecord]] = {}
        for record in self.records:
            if record.status == "ok" and record.output_tokens_per_second:
                lengths.setdefault((record.prompt_tokens, record.output_tokens), []).append(record)
        longest = max(lengths.values(), key=lambda records: len({r.batch for r in records}), default=[])
        return tuple(sorted(longest, key=lambda r: r.batch)) if len({r.batch for r in longest}) > 1 else ()

    @property
    def failures(self) -> tuple[ProfileRecord, ...]:
        return tuple(r for r in self.records if r.status != "ok")


def point_of(record: ProfileRecord) -> Point:
    return Point(batch=record.batch, prompt_tokens=record.prompt_tokens, output_tokens=record.output_tokens)


def bits(precision: str) -> float:
    """Bits of a weight, for sorting; a name nobody knows sorts last."""
    try:
        return get_precision(precision).weight_bits
    except UnknownNameError:
        return 0.0


def groups(records: Iterable[ProfileRecord]) -> tuple[Group, ...]:
    """Records by model and device, in the order they were met."""
    found: dict[tuple[str, str], list[ProfileRecord]] = {}
    for record in records:
        found.setdefault((record.model, record.device.name), []).append(record)
    return tuple(Group(model=m, device=rs[0].device, records=tuple(rs)) for (m, _), rs in found.items())


def variants_table(group: Group, point: Point) -> Table:
    """One row a variant: size, memory and speed, each with its basis."""
    has_energy = any(r.energy is not None and r.energy.joules_per_output_token for r in group.at(point))
    rows = tuple((*_variant_row(r), *((_energy(r),) if has_energy else ())) for r in group.at(point))
    usual = ("Variant", "On disk", "Peak memory", "TTFT", "TPOT", "ITL p95", "Tokens / s")
    headers = (*usual, "Energy of an output token") if has_energy else usual
    engines = ", ".join(dict.fromkeys(f"{r.engine} {r.engine_version}".strip() for r in group.at(point)))
    levels = {r.interval_level for r in group.at(point) if r.interval_level}
    level = f" Intervals of the median hold {min(levels):.0%} or more." if levels else ""
    return Table(title=point.label, headers=headers, rows=rows, note=f"Engine: {engines}.{level}")


def _variant_row(r: ProfileRecord) -> tuple[Cell, ...]:
    return (
        words(r.variant, strong=True, remark="; ".join(flag.replace("_", " ") for flag in r.flags)),
        _measured(r.weights_bytes_on_disk, "bytes", r, "weights_bytes_on_disk"),
        _measured(peak_memory_bytes(r), "bytes", r, "process_peak_bytes"),
        _measured(r.ttft_seconds, "s", r, "ttft_seconds", (r.ttft_seconds_low, r.ttft_seconds_high)),
        _measured(r.tpot_seconds, "s", r, "tpot_seconds", (r.tpot_seconds_low, r.tpot_seconds_high)),
        _measured(r.itl_seconds_p95, "s", r, "itl_seconds_p95"),
        _measured(r.output_tokens_per_second, "tok/s", r, "output_tokens_per_second"),
    )


def _energy(record: ProfileRecord) -> Cell:
    """Of the device over the measured window, idle draw included."""
    return _measured(record.energy.joules_per_output_token if record.energy else None, "J", record, "energy")


def peak_memory_bytes(record: ProfileRecord) -> float | None:
    """Of the allocator on a GPU where it was asked, else of the process."""
    if record.device.kind == "gpu" and record.allocator_peak_bytes is not None:
        return record.allocator_peak_bytes
    return record.process_peak_bytes


def _measured(
    value: float | None,
    unit: str,
    record: ProfileRecord,
    field: str,
    interval: tuple[float | None, float | None] = (None, None),
) -> Cell:
    if value is None:
        return Cell(text="unknown", basis="unknown", remark=record.unknown.get(field, "not measured"))
    low, high = interval
    between = "" if low is None or high is None else f"{amount(low, unit)} to {amount(high, unit)}"
    return Cell(text=amount(value, unit), basis="measured", between=between)


def speed_sentences(group: Group, point: Point) -> tuple[str, ...]:
    """For each format smaller than the widest: how much faster it decodes, or why it does not."""
    records = [r for r in group.at(point) if r.tpot_seconds]
    return tuple(_speed_sentence(smaller, wider) for wider, smaller in pairwise(records))


def _speed_sentence(smaller: ProfileRecord, wider: ProfileRecord) -> str:
    fast, slow = smaller.tpot_seconds or 0.0, wider.tpot_seconds or 0.0
    names = f"{smaller.variant.upper()} against {wider.variant.upper()}"
    upper = smaller.tpot_seconds_high or fast
    lower = wider.tpot_seconds_low or slow
    if upper < lower:
        return f"{names}: decodes {slow / fast:.2f} times as fast (measured; the intervals do not overlap)."
    if fast * CLEARLY < slow:
        scatter = "but the repeats scatter so much that the intervals overlap: measure again on a quiet machine"
        return f"{names}: decodes {slow / fast:.2f} times as fast by the medians, {scatter}."
    verdict = (
        "no difference that the repeats can tell" if fast <= slow * CLEARLY else f"{fast / slow:.2f} times as slow"
    )
    return f"{names}: {verdict}. {_why(smaller)}"


def _why(record: ProfileRecord) -> str:
    """What share of a step is reading weights: only that share shrinks with the format."""
    read, weights, step = record.device.read_bytes_per_second, record.weights_bytes_on_disk, record.tpot_seconds
    if not read or not weights or not step:
        return "Why cannot be said: the bandwidth of this device or the size of the weights was not measured."
    reading = weights / read
    share = min(1.0, reading / step)
    rest = max(0.0, step - reading)
    return (
        f"Reading {size(weights)} of weights takes {format_seconds(reading)} of a step's {format_seconds(step)} "
        f"({share:.0%}) at the {size(read)}/s measured here; the other {format_seconds(rest)} is arithmetic, unpacking "
        "to 8 or 16 bit and overhead per step, which do not shrink with the file."
    )
