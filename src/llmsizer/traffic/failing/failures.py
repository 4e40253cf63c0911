"""What fails together, how often, and for how much of a year more is gone than a fleet can spare.

Replicas stand on hosts and hosts in zones. A failed GPU takes its host out of service until it is repaired; so does a
failed host; a zone without power takes all of its hosts. Each fails independently of the others. What the fleet holds
with parts of it gone is simulated elsewhere (``availability``): here it is only counted how often that happens.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llmsizer.errors import InputError
from llmsizer.facts.figure import Figure, over_corners
from llmsizer.facts.provenance import Estimate
from llmsizer.units import HOURS_PER_YEAR

NAMES = ("gpu_failures_per_year", "gpu_repair_hours", "host_failures_per_year", "zone_hours_down_per_year")
MOST_ZONES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """How often parts fail and how long they are gone; hosts are repaired as fast as GPUs."""

    gpu_failures_per_year: Estimate  # of one GPU
    gpu_repair_hours: Estimate
    host_failures_per_year: Estimate  # of one host, beside its GPUs
    zone_hours_down_per_year: Estimate  # of one zone

    @classmethod
    def of(cls, assumed: Mapping[str, Figure]) -> Failures:
        return cls(**{name: assumed[name].estimate for name in NAMES})


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """One row of the failure domain map."""

    hosts: int
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Domains:
    """A fleet's replicas over hosts over zones: filled host by host, hosts dealt to the zones in turn."""

    replicas: int
    replicas_per_host: int = 1
    zones: int = 1

    def __post_init__(self) -> None:
        if min(self.replicas, self.replicas_per_host, self.zones) < 1:
            raise InputError("a fleet needs 1 replica, 1 replica to a host and 1 zone or more")
        if self.zones > min(MOST_ZONES, self.hosts):
            raise InputError(
                f"{self.zones} zones for {self.hosts} host{'s' * (self.hosts > 1)}; give at most one zone per host, "
                f"and {MOST_ZONES} in all"
            )

    @property
    def hosts(self) -> int:
        return math.ceil(self.replicas / self.replicas_per_host)

    @property
    def map(self) -> tuple[Zone, ...]:
        """Zone by zone, the largest first."""
        held = [self.replicas_per_host] * self.hosts
        held[-1] -= self.hosts * self.replicas_per_host - self.replicas
        dealt = (held[zone :: self.zones] for zone in range(self.zones))
        return tuple(Zone(hosts=len(hosts), replicas=sum(hosts)) for hosts in dealt)

    @property
    def largest(self) -> dict[str, int]:
        """Replicas that go with the largest domain of each kind: one GPU, one host, one zone."""
        return {
            "one GPU": 1,
            "one host": min(self.replicas_per_host, self.replicas),
            "one zone": self.map[0].replicas,
        }


def spared_for(needed: int, domain: str, replicas_per_host: int, zones: int) -> int | None:
    """The fewest replicas of which so many are left when the largest domain of a kind is gone (N+1 by that domain).

    None where the kind is all there is: a single zone has no other to go on in.
    """
    if domain == "one zone" and zones == 1:
        return None
    # The smallest zone that is left has at least half of what the largest has, so three times is always enough.
    for replicas in range(needed + 1, 3 * (needed + replicas_per_host * zones) + 1):
        hosts = math.ceil(replicas / replicas_per_host)
        if hosts < zones:
            continue
        domains = Domains(replicas=replicas, replicas_per_host=replicas_per_host, zones=zones)
        if replicas - domains.largest[domain] >= needed:
            return replicas
    raise AssertionError("a fleet three times as large outlives its largest domain")


def hours_beyond(domains: Domains, gpus_per_host: int, may_be_down: int, failures: Failures) -> Estimate:
    """Expected hours a year in which more hosts than that are down at once.

    A host is down for repair/(time between failures + repair) of the time, a zone for its hours of the year. Over
    every set of zones that may be down together, the hosts that are left are down binomially.
    """
    zones = [zone.hosts for zone in domains.map]

    def hours(gpu_failures: float, repair: float, host_failures: float, zone_hours: float) -> float:
        if may_be_down < 0:
            return HOURS_PER_YEAR
        rate = gpu_failures * gpus_per_host + host_failures
        down = repair / (HOURS_PER_YEAR / rate + repair) if rate > 0 else 0.0
        dark = min(zone_hours / HOURS_PER_YEAR, 1.0)
        held = 0.0
        for lost, ways in _sets_of_zones(zones).items():
            gone, count = lost
            chance = ways * dark**count * (1 - dark) ** (len(zones) - count)
            held += chance * _at_most(may_be_down - gone, sum(zones) - gone, down)
        return HOURS_PER_YEAR * min(max(0.0, 1 - held), 1.0)

    return over_corners(
        hours,
        failures.gpu_failures_per_year,
        failures.gpu_repair_hours,
        failures.host_failures_per_year,
        failures.zone_hours_down_per_year,
        reason="hosts and zones that fail independently; mistakes, software and demand beyond the peak are not counted",
    )


def _sets_of_zones(zones: list[int]) -> Counter[tuple[int, int]]:
    """How many sets of zones hold so many hosts in so many zones."""
    sets: Counter[tuple[int, int]] = Counter()
    for count in range(len(zones) + 1):
        for chosen in itertools.combinations(zones, count):
            sets[sum(chosen), count] += 1
    return sets


def _at_most(most: int, hosts: int, down: float) -> float:
    """The chance that at most so many of the hosts are down."""
    if most < 0:
        return 0.0
    return math.fsum(math.comb(hosts, k) * down**k * (1 - down) ** (hosts - k) for k in range(min(most, hosts) + 1))


def first_true(is_true: Callable[[int], bool], low: int, high: int) -> int:
    """The least number above ``low`` at which something that stays true becomes true; it is true at ``high``."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_true(middle) else (middle, high)
    return high
