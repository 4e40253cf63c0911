"""NVIDIA through NVML (package nvidia-ml-py, module ``pynvml``).

``nvmlDeviceGetTotalEnergyConsumption`` counts millijoules since the driver was loaded (Volta and later), refreshed
some ten times a second; ``nvmlDeviceGetPowerUsage`` is milliwatts, averaged over a second on most data-centre parts.
Processes are host process ids: in a container they are hidden or mean nothing, and then the figure is None.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from llmsizer.facts.record_parts import EnergySource
from llmsizer.profile.trackers.sensor import Reading, answer

# nvmlClocksEventReasons*: bit → name; idle (1) and application-clock settings (2) hold nothing back that was asked for.
THROTTLE_BITS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "thermal (software)",
    0x40: "thermal (hardware)",
    0x80: "power brake",
    0x100: "display clocks",
}
MEGA = 1e6


class Nvidia:
    """One GPU; ``nvml`` is the module or what stands in for it."""

    power_source: EnergySource = "nvml-power"
    counter_source: EnergySource = "nvml-counter"

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle

    def read(self, seconds: float) -> Reading:
        nvml, handle = self._nvml, self._handle
        problems: dict[str, str] = {}
        milliwatts = answer(problems, "watts", lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        sm = answer(problems, "sm_clock", lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))
        memory = answer(problems, "memory_clock", lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM))
        celsius = answer(
            problems, "temperature", lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
        )
        rates = answer(problems, "utilization", lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
        return Reading(
            seconds=seconds,
            watts=None if milliwatts is None else milliwatts / 1e3,
            sm_clock_hertz=None if sm is None else sm * MEGA,
            memory_clock_hertz=None if memory is None else memory * MEGA,
            temperature_celsius=None if celsius is None else float(celsius),
            utilization_share=None if rates is None else rates.gpu / 100.0,
            throttle_reasons=self._throttling(problems),
            problems=problems,
        )

    def _throttling(self, problems: dict[str, str]) -> tuple[str, ...] | None:
        nvml = self._nvml
        ask = getattr(nvml, "nvmlDeviceGetCurrentClocksEventReasons", None) or getattr(
            nvml, "nvmlDeviceGetCurrentClocksThrottleReasons", None
        )
        if ask is None:
            problems["throttle_reasons"] = "this library does not ask for them"
            return None
        bits = answer(problems, "throttle_reasons", lambda: ask(self._handle))
        return None if bits is None else tuple(name for bit, name in THROTTLE_BITS.items() if bits & bit)

    def counter_joules(self) -> float | None:
        millijoules = answer({}, "counter", lambda: self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        return None if millijoules is None else millijoules / 1e3

    def power_limit_watts(self) -> float | None:
        milliwatts = answer({}, "limit", lambda: self._nvml.nvmlDeviceGetEnforcedPowerLimit(self._handle))
        return None if milliwatts is None else milliwatts / 1e3

    def used_bytes(self) -> float | None:
        info = answer({}, "memory", lambda: self._nvml.nvmlDeviceGetMemoryInfo(self._handle))
        return None if info is None else float(info.used)

    def process_bytes(self, process_ids: Sequence[int]) -> float | None:
        own = [p for p in self._processes() or () if p.pid in process_ids and p.usedGpuMemory is not None]
        return float(sum(p.usedGpuMemory for p in own)) if own else None

    def foreign_processes(self, own: Sequence[int]) -> tuple[str, ...] | None:
        found = self._processes()
        if found is None or (not found and (self.used_bytes() or 0) > 2**30):
            return None  # somebody holds memory and nobody is shown
        if found and not any(p.pid in own for p in found):
            return None  # numbers of another namespace: a container's, or another user's alone
        return tuple(f"{p.pid} {self._name(p.pid)}" for p in found if p.pid not in own)

    def _processes(self) -> list[Any] | None:
        found: list[Any] | None = answer(
            {}, "processes", lambda: self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        )
        return found

    def _name(self, process: int) -> str:
        name = answer({}, "name", lambda: self._nvml.nvmlSystemGetProcessName(process))
        text = name.decode(errors="replace") if isinstance(name, bytes) else str(name or "unknown")
        return text.rsplit("/", 1)[-1]


def find(device: str, nvml: Any = None) -> Nvidia | None:
    """The GPU by number, UUID (``GPU-…``) or PCI address; None where there is no library, no driver or no such GPU."""
    if nvml is None:
        try:
            nvml = importlib.import_module("pynvml")
        except ModuleNotFoundError:
            return None
    problems: dict[str, str] = {}
    answer(problems, "init", nvml.nvmlInit)
    if problems:
        return None
    if device.isdigit():
        handle = answer({}, "handle", lambda: nvml.nvmlDeviceGetHandleByIndex(int(device)))
    elif ":" in device:
        handle = answer({}, "handle", lambda: nvml.nvmlDeviceGetHandleByPciBusId(device.encode()))
    else:
        handle = answer({}, "handle", lambda: nvml.nvmlDeviceGetHandleByUUID(device.encode()))
    return None if handle is None else Nvidia(nvml, handle)
