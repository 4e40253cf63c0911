"""Energy, clocks, temperature and company of the device while it works: one interface, one file per vendor.

A sensor answers what its driver answers; what it cannot say is None with a reason, never zero.
"""

from __future__ import annotations

from llmsizer.profile.trackers.energy import MIN_WINDOW_SECONDS, energy_of
from llmsizer.profile.trackers.sensor import Reading, Sensor, find_sensor
from llmsizer.profile.trackers.watch import Watch

__all__ = ["MIN_WINDOW_SECONDS", "Reading", "Sensor", "Watch", "energy_of", "find_sensor"]
