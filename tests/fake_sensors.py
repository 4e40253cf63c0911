"""Drivers of devices by hand: they answer as NVML and AMD SMI do, and fail where a test says so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from llmsizer.profile.trackers import nvidia


class FakeNvml:
    """NVML by hand: milliwatts and millijoules, a list of processes, and calls that fail by name."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def __init__(self, **changes: Any) -> None:
        self.milliwatts, self.millijoules = 500_000, 7_000
        self.reasons, self.used = 0, 10 * 2**30
        self.processes: list[Any] = [SimpleNamespace(pid=7, usedGpuMemory=4 * 2**30)]
        self.failing: tuple[str, ...] = ()
        self.__dict__.update(changes)

    def _say(self, name: str, value: Any) -> Any:
        if name in self.failing:
            raise RuntimeError(f"NVML: {name} not supported")
        return value

    def nvmlInit(self) -> None:
        return self._say("init", None)  # type: ignore[no-any-return]

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return str(self._say("handle", f"gpu{index}"))

    def nvmlDeviceGetPowerUsage(self, handle: str) -> Any:
        return self._say("power", self.milliwatts)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> Any:
        return self._say("energy", self.millijoules)

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: str) -> Any:
        return self._say("limit", 700_000)

    def nvmlDeviceGetClockInfo(self, handle: str, kind: int) -> Any:
        return self._say("clock", {1: 1980, 2: 3201}[kind])

    def nvmlDeviceGetTemperature(self, handle: str, kind: int) -> Any:
        return self._say("temperature", 61)

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:
        return self._say("utilization", SimpleNamespace(gpu=98, memory=40))

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: str) -> Any:
        return self._say("reasons", self.reasons)

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:
        return self._say("memory", SimpleNamespace(used=self.used))

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> Any:
        return self._say("processes", self.processes)

    def nvmlSystemGetProcessName(self, process: int) -> bytes:
        return b"/usr/bin/python3"


def gpu(**changes: Any) -> nvidia.Nvidia:
    found = nvidia.find("0", FakeNvml(**changes))
    assert found is not None
    return found


class FakeSmi:
    AmdSmiClkType = SimpleNamespace(GFX=0, MEM=4)
    AmdSmiTemperatureType = SimpleNamespace(HOTSPOT=1)
    AmdSmiTemperatureMetric = SimpleNamespace(CURRENT=0)
    AmdSmiMemoryType = SimpleNamespace(VRAM=0)

    def amdsmi_init(self) -> None: ...

    def amdsmi_get_processor_handles(self) -> list[str]:
        return ["mi300x"]

    def amdsmi_get_power_info(self, handle: str) -> dict[str, Any]:
        return {"current_socket_power": "N/A", "average_socket_power": 640}

    def amdsmi_get_clock_info(self, handle: str, kind: int) -> dict[str, Any]:
        return {"clk": 2100 if kind == 0 else 1300}

    def amdsmi_get_temp_metric(self, *which: Any) -> int:
        return 70

    def amdsmi_get_gpu_activity(self, handle: str) -> dict[str, Any]:
        return {"gfx_activity": 97}

    def amdsmi_get_energy_count(self, handle: str) -> dict[str, Any]:
        return {"energy_accumulator": 1_000_000, "counter_resolution": 15.3}

    def amdsmi_get_power_cap_info(self, handle: str) -> dict[str, Any]:
        return {"power_cap": 750_000_000}

    def amdsmi_get_gpu_memory_usage(self, handle: str, kind: int) -> int:
        return 2**30

    def amdsmi_get_gpu_process_list(self, handle: str) -> list[dict[str, Any]]:
        return [{"pid": 7, "mem": 100, "name": "me"}, {"pid": 8, "mem": 50, "name": "you"}]
