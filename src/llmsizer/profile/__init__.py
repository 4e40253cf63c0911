"""Measure variants on the device at hand: latency, throughput and memory, one record per operating point."""

from __future__ import annotations

from llmsizer.profile.device import describe_device
from llmsizer.profile.engines import ENGINES, default_engine
from llmsizer.profile.measure import Backend, Point
from llmsizer.profile.store import append_record, read_records
from llmsizer.profile.sweep import DEFAULT_LEAST_SECONDS, DEFAULT_POINTS, DEFAULT_REPEATS, Interrupted, profile

__all__ = [
    "DEFAULT_LEAST_SECONDS",
    "DEFAULT_POINTS",
    "DEFAULT_REPEATS",
    "ENGINES",
    "Backend",
    "Interrupted",
    "Point",
    "append_record",
    "default_engine",
    "describe_device",
    "profile",
    "read_records",
]
