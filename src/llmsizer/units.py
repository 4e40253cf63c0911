"""Names for prefixes, and the only place where values become text for people; money has its own (money.currency).

Inside the package everything is bytes, seconds, FLOPs, tokens, watts and dollars; ``GB`` is 10⁹ and ``GiB`` is 2³⁰.
"""

from __future__ import annotations

KILO, MEGA, GIGA, TERA = 1e3, 1e6, 1e9, 1e12
GIB = 2**30
HOURS_PER_MONTH = 730.0  # 8,760 hours a year over 12 months: the convention of cloud price lists
HOURS_PER_YEAR = 8_760.0
MONTHS_PER_YEAR = 12
SECONDS_PER_HOUR = 3_600.0
SECONDS_PER_MONTH = HOURS_PER_MONTH * SECONDS_PER_HOUR
UNKNOWN = "unknown"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def plain_number(value: float) -> str:
    """Three digits where they matter, thousands separated, no exponent a reader must decode."""
    if value == 0:
        return "0"
    if abs(value) >= 999.5:  # what rounds to three digits before the point and one more
        return f"{value:,.0f}"
    if abs(value) >= 1e-3:
        return f"{value:.3g}"
    mantissa, power = f"{value:.2e}".split("e")
    return f"{mantissa} × 10{str(int(power)).translate(_RAISED)}"


def format_gb(value_bytes: float | None, *, digits: int = 1) -> str:
    """Bytes as decimal gigabytes: ``44.5 GB``."""
    return UNKNOWN if value_bytes is None else f"{value_bytes / GIGA:,.{digits}f} GB"


def format_gib(value_bytes: float | None, *, digits: int = 1) -> str:
    """Bytes as binary gibibytes: ``41.4 GiB``."""
    return UNKNOWN if value_bytes is None else f"{value_bytes / GIB:,.{digits}f} GiB"


def format_seconds(value_seconds: float | None) -> str:
    """Seconds in the unit a person would choose: ``12 ms``, ``3.4 s``, ``5 min``."""
    if value_seconds is None:
        return UNKNOWN
    if value_seconds < 1:
        return f"{plain_number(value_seconds * 1e3)} ms"
    return f"{plain_number(value_seconds)} s" if value_seconds < 120 else f"{value_seconds / 60:,.0f} min"


def format_count(value: float | None) -> str:
    """A large count with its prefix: ``119 B``, ``4.2 M``, ``850``."""
    if value is None:
        return UNKNOWN
    for factor, suffix in ((TERA, "T"), (GIGA, "B"), (MEGA, "M"), (KILO, "k")):
        if abs(value) >= factor:
            return f"{plain_number(value / factor)} {suffix}"
    return f"{value:.4g}" if value >= 1 or value == 0 else plain_number(value)
