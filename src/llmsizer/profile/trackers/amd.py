"""AMD through the library ``amdsmi`` that ROCm brings."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from llmsizer.facts.record_parts import EnergySource
from llmsizer.profile.trackers.sensor import Reading, answer

MEGA = 1e6


class Amd:
    """One GPU; ``smi`` is the module or what stands in for it."""

    power_source: EnergySource = "amdsmi-power"
    counter_source: EnergySource = "amdsmi-counter"

    def __init__(self, smi: Any, handle: Any) -> None:
        self._smi, self._handle = smi, handle

    def read(self, seconds: float) -> Reading:
        smi, handle = self._smi, self._handle
        problems: dict[str, str] = {}
        power = answer(problems, "watts", lambda: smi.amdsmi_get_power_info(handle)) or {}
        clock = answer(problems, "sm_clock", lambda: smi.amdsmi_get_clock_info(handle, smi.AmdSmiClkType.GFX)) or {}
        memory = answer(problems, "memory_clock", lambda: smi.amdsmi_get_clock_info(handle, smi.AmdSmiClkType.MEM))
        celsius = answer(
            problems,
            "temperature",
            lambda: smi.amdsmi_get_temp_metric(
                handle, smi.AmdSmiTemperatureType.HOTSPOT, smi.AmdSmiTemperatureMetric.CURRENT
            ),
        )
        activity = answer(problems, "utilization", lambda: smi.amdsmi_get_gpu_activity(handle)) or {}
        problems["throttle_reasons"] = "amdsmi counts violations, it does not name the present reason"
        busy = number(activity.get("gfx_activity"))
        return Reading(
            seconds=seconds,
            watts=number(power.get("current_socket_power")) or number(power.get("average_socket_power")),
            sm_clock_hertz=scaled(number(clock.get("clk")), MEGA),
            memory_clock_hertz=scaled(number((memory or {}).get("clk")), MEGA),
            temperature_celsius=number(celsius),
            utilization_share=scaled(busy, 0.01),
            problems=problems,
        )

    def counter_joules(self) -> float | None:
        """The accumulator times its resolution in microjoules."""
        found = answer({}, "counter", lambda: self._smi.amdsmi_get_energy_count(self._handle)) or {}
        ticks = number(found.get("energy_accumulator", found.get("power")))
        resolution = number(found.get("counter_resolution"))
        return None if ticks is None or resolution is None else ticks * resolution / 1e6

    def power_limit_watts(self) -> float | None:
        found = answer({}, "limit", lambda: self._smi.amdsmi_get_power_cap_info(self._handle)) or {}
        return scaled(number(found.get("power_cap")), 1e-6)  # microwatts

    def used_bytes(self) -> float | None:
        kind = self._smi.AmdSmiMemoryType.VRAM
        return number(answer({}, "memory", lambda: self._smi.amdsmi_get_gpu_memory_usage(self._handle, kind)))

    def process_bytes(self, process_ids: Sequence[int]) -> float | None:
        own = [p for p in self._processes() or () if p.get("pid") in process_ids]
        sizes = [number(p.get("mem") or (p.get("memory_usage") or {}).get("vram_mem")) for p in own]
        known = [size for size in sizes if size is not None]
        return sum(known) if known else None

    def foreign_processes(self, own: Sequence[int]) -> tuple[str, ...] | None:
        found = self._processes()
        return None if not found else tuple(f"{p['pid']} {p.get('name', '')}" for p in found if p.get("pid") not in own)

    def _processes(self) -> list[dict[str, Any]] | None:
        found: list[dict[str, Any]] | None = answer(
            {}, "processes", lambda: self._smi.amdsmi_get_gpu_process_list(self._handle)
        )
        return found


def number(value: Any) -> float | None:
    """amdsmi says ``"N/A"`` for what it does not know."""
    return float(value) if isinstance(value, int | float) else None


def scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def find(device: str, smi: Any = None) -> Amd | None:
    """The GPU by number; None where there is no library, no driver or no such GPU."""
    if smi is None:
        try:
            smi = importlib.import_module("amdsmi")
        except (ModuleNotFoundError, OSError, KeyError):  # the wheel is there without ROCm's library
            return None
    problems: dict[str, str] = {}
    answer(problems, "init", smi.amdsmi_init)
    if problems:
        return None
    handles = answer({}, "handles", smi.amdsmi_get_processor_handles) or []
    index = int(device) if device.isdigit() else 0
    return Amd(smi, handles[index]) if index < len(handles) else None
