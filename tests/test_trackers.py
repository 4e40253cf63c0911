"""Energy, clocks and company of a device, by hand, with drivers that lie, wrap, fail or are not there."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsizer.profile.trackers import amd, intel, nvidia
from llmsizer.profile.trackers.energy import counter_difference, energy_of, flags_of, integrate_watts
from llmsizer.profile.trackers.rapl import Rapl
from llmsizer.profile.trackers.sensor import Reading, find_sensor
from llmsizer.profile.trackers.watch import Watch, hardware_of, idle_watts
from llmsizer.profile.trackers.window import processor_window


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


def steady(watts: float, seconds: float, period: float = 1.0) -> list[Reading]:
    return [Reading(seconds=i * period, watts=watts) for i in range(int(seconds / period) + 1)]


def joules_of(readings: list[Reading], counter: tuple[float | None, float | None], seconds: float = 20.0) -> Any:
    return energy_of(
        gpu(),
        readings,
        counter,
        window=(0.0, seconds),
        idle_watts=75.0,
        output_tokens=1_000,
        all_tokens=4_000,
    )


# The arithmetic ------------------------------------------------------------------------------------------------------


def test_joules_of_a_ramp_by_hand() -> None:
    # 0 → 100 W over 2 s is a triangle of 100 J, then 3 s at 100 W
    assert integrate_watts([0.0, 2.0, 5.0], [0.0, 100.0, 100.0]) == 400.0


@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(0, 1000)), min_size=2, max_size=20), st.floats(0.01, 100))
def test_energy_scales_with_power_and_is_the_sum_of_its_parts(steps: list[tuple[float, float]], factor: float) -> None:
    times = [sum(gap for gap, _ in steps[: i + 1]) for i in range(len(steps))]
    watts = [w for _, w in steps]
    whole = integrate_watts(times, watts)
    assert integrate_watts(times, [w * factor for w in watts]) == pytest.approx(whole * factor)
    cut = len(times) // 2
    halves = integrate_watts(times[: cut + 1], watts[: cut + 1]) + integrate_watts(times[cut:], watts[cut:])
    assert halves == pytest.approx(whole)


def test_a_counter_that_wraps_is_followed_and_one_that_resets_is_unknown() -> None:
    assert counter_difference(90.0, 10.0, wraps_at=100.0) == 20.0
    assert counter_difference(90.0, 10.0) is None
    assert counter_difference(None, 10.0) is None


# A window ------------------------------------------------------------------------------------------------------------


def test_the_counter_is_taken_and_checked_against_the_power() -> None:
    energy, unknown = joules_of(steady(500.0, 20.0), (100.0, 100.0 + 10_400.0))
    assert energy.joules == 10_400.0
    assert energy.source == "nvml-counter"
    assert energy.cross_check_relative_error == pytest.approx(0.04)  # against 500 W × 20 s
    assert energy.joules_per_output_token == 10.4
    assert energy.joules_per_token == 2.6
    assert (energy.mean_watts, energy.idle_watts) == (520.0, 75.0)  # idle is beside it, not subtracted
    assert unknown == {} and flags_of(energy) == ()


def test_without_a_counter_the_power_is_integrated() -> None:
    energy, _ = joules_of(steady(500.0, 20.0), (None, None))
    assert (energy.joules, energy.source) == (10_000.0, "nvml-power")
    assert energy.cross_check_relative_error is None


def test_the_edges_of_the_window_are_held_at_the_nearest_reading() -> None:
    readings = [Reading(seconds=0.5 + i, watts=300.0) for i in range(20)]
    energy, _ = joules_of(readings, (None, None))
    assert energy.joules == pytest.approx(6_000.0)


def test_a_driver_reloaded_in_between_falls_back_to_the_power_and_says_so() -> None:
    energy, unknown = joules_of(steady(500.0, 20.0), (9_000.0, 3.0))
    assert (energy.joules, energy.source) == (10_000.0, "nvml-power")
    assert "backwards" in unknown["energy.counter"]


def test_a_counter_that_stands_still_is_not_no_energy() -> None:
    energy, unknown = joules_of(steady(500.0, 20.0), (5.0, 5.0))
    assert energy.joules == 10_000.0
    assert "did not move" in unknown["energy.counter"]


def test_a_short_window_has_no_energy_but_a_reason() -> None:
    energy, unknown = joules_of(steady(500.0, 9.0), (0.0, 4_500.0), seconds=9.0)
    assert energy.joules is None and energy.joules_per_output_token is None and energy.source is None
    assert "shorter than 10 s" in unknown["energy.joules"]
    assert flags_of(energy) == ("energy_window_short",)


def test_holes_between_readings_are_not_integrated_over() -> None:
    energy, unknown = joules_of([Reading(seconds=0.0, watts=500.0), Reading(seconds=20.0, watts=500.0)], (None, None))
    assert energy.joules is None
    assert "apart" in unknown["energy.cross_check_relative_error"]
    assert "neither" in unknown["energy.joules"]


def test_two_sources_that_disagree_are_flagged() -> None:
    energy, _ = joules_of(steady(500.0, 20.0), (0.0, 11_000.0))
    assert flags_of(energy) == ("energy_sources_disagree",)


# NVIDIA --------------------------------------------------------------------------------------------------------------


def test_a_reading_is_in_si_units() -> None:
    reading = gpu(reasons=0x4 | 0x20).read(3.0)
    assert reading.watts == 500.0
    assert (reading.sm_clock_hertz, reading.memory_clock_hertz) == (1.98e9, 3.201e9)
    assert (reading.temperature_celsius, reading.utilization_share) == (61.0, 0.98)
    assert reading.throttle_reasons == ("power cap", "thermal (software)")
    assert gpu(reasons=0x1 | 0x2).read(0.0).throttle_reasons == ()  # idle, and clocks set on purpose
    assert (gpu().power_limit_watts(), gpu().counter_joules()) == (700.0, 7.0)


@pytest.mark.parametrize(
    ("call", "field"),
    [
        ("power", "watts"),
        ("clock", "sm_clock_hertz"),
        ("temperature", "temperature_celsius"),
        ("utilization", "utilization_share"),
        ("reasons", "throttle_reasons"),
    ],
)
def test_what_the_driver_refuses_is_unknown_with_its_reason(call: str, field: str) -> None:
    reading = gpu(failing=(call,)).read(0.0)
    assert getattr(reading, field) is None
    assert any(f"{call} not supported" in why for why in reading.problems.values())


def test_no_driver_no_sensor() -> None:
    assert nvidia.find("0", FakeNvml(failing=("init",))) is None
    assert nvidia.find("3", FakeNvml(failing=("handle",))) is None
    assert gpu(failing=("energy", "memory", "limit")).counter_joules() is None


def test_processes_of_others_are_named_where_the_driver_shows_ours() -> None:
    others = [SimpleNamespace(pid=7, usedGpuMemory=2**30), SimpleNamespace(pid=9, usedGpuMemory=2**30)]
    assert gpu(processes=others).foreign_processes((7,)) == ("9 python3",)
    assert gpu().foreign_processes((7,)) == ()
    assert gpu(processes=others).process_bytes((7,)) == 2**30


def test_in_a_container_processes_are_unknown_not_none() -> None:
    assert gpu(processes=[]).foreign_processes((7,)) is None  # 10 GiB are in use, by nobody
    assert gpu().foreign_processes((12,)) is None  # numbers of another namespace
    assert gpu(processes=[]).process_bytes((7,)) is None
    assert gpu(processes=[], used=2**20).foreign_processes((7,)) == ()


# AMD, Intel, CPU -----------------------------------------------------------------------------------------------------


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


def test_amd_answers_by_the_same_interface() -> None:
    sensor = amd.find("0", FakeSmi())
    assert sensor is not None
    reading = sensor.read(0.0)
    assert (reading.watts, reading.sm_clock_hertz, reading.utilization_share) == (640.0, 2.1e9, pytest.approx(0.97))
    assert reading.throttle_reasons is None
    assert sensor.counter_joules() == pytest.approx(15.3)  # a million ticks of 15.3 µJ
    assert sensor.power_limit_watts() == 750.0
    assert sensor.foreign_processes((7,)) == ("8 you",)
    assert sensor.process_bytes((7,)) == 100.0
    assert amd.find("4", FakeSmi()) is None


def test_intel_answers_from_the_files_its_driver_writes(tmp_path: Path) -> None:
    folder = tmp_path / "hwmon3"
    folder.mkdir()
    for name, text in (("name", "xe"), ("energy1_input", "2500000"), ("temp1_input", "55000"), ("power1_max", "19e7")):
        (folder / name).write_text(text)
    sensor = intel.find("0", tmp_path)
    assert sensor is not None
    assert sensor.counter_joules() == 2.5
    reading = sensor.read(0.0)
    assert (reading.temperature_celsius, reading.watts) == (55.0, None)
    assert sensor.power_limit_watts() == 190.0
    assert intel.find("0", tmp_path / "none") is None


def test_cpu_energy_is_counted_over_a_wrap(tmp_path: Path) -> None:
    package = tmp_path / "intel-rapl:0"
    package.mkdir()
    (package / "max_energy_range_uj").write_text("10000000")
    (package / "energy_uj").write_text("9000000")
    (tmp_path / "intel-rapl:0:0").mkdir()  # a part of the package: not counted twice
    rapl = Rapl(tmp_path)
    (package / "energy_uj").write_text("1500000")
    assert rapl.joules() == pytest.approx(2.5)


def test_a_point_on_a_processor_gets_the_joules_of_its_window(tmp_path: Path) -> None:
    package = tmp_path / "intel-rapl:0"
    package.mkdir()
    (package / "max_energy_range_uj").write_text("1000000000")
    (package / "energy_uj").write_text("5000000")
    now = [0.0]

    def run(number: int) -> None:  # each run takes 4 s and 100 J
        now[0] += 4.0
        (package / "energy_uj").write_text(str(5_000_000 + (number + 1) * 100_000_000))

    parts = processor_window(Rapl(tmp_path), run, output_tokens=10, all_tokens=30, clock=lambda: now[0])
    # 10.5 s are full after the third run: 300 J for 30 tokens made
    assert parts["energy"] == {
        "joules": pytest.approx(300.0), "cpu_joules": pytest.approx(300.0), "mean_watts": pytest.approx(25.0),
        "window_seconds": 12.0, "source": "rapl", "output_tokens": 30,
        "joules_per_output_token": pytest.approx(10.0), "joules_per_token": pytest.approx(300 / 90),
    }  # fmt: skip


def test_cpu_energy_without_a_counter_is_unknown(tmp_path: Path) -> None:
    rapl = Rapl(tmp_path)
    parts = processor_window(rapl, lambda number: pytest.fail("ran for nothing"), output_tokens=1, all_tokens=1)
    assert parts["unknown"]["energy"] == "this system has no RAPL counters"
    assert rapl.joules() is None
    assert rapl.reason == "this system has no RAPL counters"


def test_a_machine_without_any_of_them_has_no_sensor(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (nvidia, amd, intel):
        monkeypatch.setattr(module, "find", lambda device: None)
    assert find_sensor() is None


# Watching ------------------------------------------------------------------------------------------------------------


class Clock:
    """A second a look."""

    def __init__(self) -> None:
        self.now = -1.0
        self._lock = threading.Lock()

    def __call__(self) -> float:
        with self._lock:
            self.now += 1.0
            return self.now


def test_a_watch_covers_its_block_and_ends_its_thread() -> None:
    nvml = FakeNvml()
    sensor = nvidia.Nvidia(nvml, "gpu0")
    clock = Clock()
    before = set(threading.enumerate())
    with Watch(sensor, clock=clock, period_seconds=3600.0) as watch:
        clock.now = 28.0
        nvml.millijoules += 15_000_000
    assert watch.window_seconds == 30.0  # 0 … 30: the look at the end came at 29
    energy, unknown = watch.energy(output_tokens=100, all_tokens=200)
    assert energy.joules == 15_000.0
    assert energy.joules_per_output_token == 150.0
    assert "apart" in unknown["energy.cross_check_relative_error"]
    assert set(threading.enumerate()) <= before


def test_the_state_says_what_was_seen_and_how_often() -> None:
    readings = [
        Reading(seconds=0.0, sm_clock_hertz=1.9e9, throttle_reasons=(), temperature_celsius=50.0),
        Reading(seconds=1.0, sm_clock_hertz=1.5e9, throttle_reasons=("power cap",), temperature_celsius=60.0),
        Reading(seconds=2.0, problems={"sm_clock": "lost"}),
    ]
    state, unknown = hardware_of(gpu(), readings, (7,), 1.0)
    assert (state.sm_clock_hertz_min, state.sm_clock_hertz_mean) == (1.5e9, pytest.approx(1.7e9))
    assert (state.throttle_reasons, state.throttled_share) == (("power cap",), 0.5)
    assert (state.temperature_celsius_max, state.samples) == (60.0, 3)
    assert state.foreign_processes == ()
    assert state.utilization_share_mean is None
    assert unknown == {"hardware.sm_clock": "lost"}


def test_idle_power_is_the_mean_of_a_few_looks() -> None:
    assert idle_watts(gpu(), wait=lambda _: None, clock=lambda: 0.0) == 500.0
    assert idle_watts(gpu(failing=("power",)), wait=lambda _: None, clock=lambda: 0.0) is None


def test_a_window_repeats_its_point_until_it_is_long_enough() -> None:
    from llmsizer.profile.trackers.window import watched_window

    nvml, clock, runs = FakeNvml(), Clock(), []

    def run(number: int) -> None:
        runs.append(number)
        clock.now += 3.0
        nvml.millijoules += 1_500_000

    parts = watched_window(
        nvidia.Nvidia(nvml, "gpu0"), run, output_tokens=10, all_tokens=30, own_processes=(7,), clock=clock
    )
    assert runs == [0, 1, 2]  # each takes 4 s of this clock, which the loop's own look makes longer
    assert parts["energy"]["joules"] == 4_500.0
    assert parts["energy"]["output_tokens"] == 30
    assert parts["energy"]["joules_per_output_token"] == 150.0
    assert parts["hardware"]["foreign_processes"] == []


def test_the_device_is_the_first_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    from llmsizer.profile.trackers.window import visible_device

    monkeypatch.delenv("HIP_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1a, 3")
    assert visible_device() == "GPU-1a"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_device() == "0"


def test_an_engine_that_leaves_the_gpu_alone_is_not_given_its_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    from llmsizer.profile import worker
    from llmsizer.profile.measure import Point

    child = worker.Worker()
    child._sensor, child._used_before = gpu(), 10 * 2**30
    point = Point(batch=1, prompt_tokens=2, output_tokens=2)
    monkeypatch.setattr(worker, "processor_window", lambda *a, **k: {"unknown": {"energy": "no counter"}})
    assert "energy" not in child._watched(SimpleNamespace(vocabulary=9), point, 0)  # type: ignore[arg-type]
    child._used_before = 0
    monkeypatch.setattr(worker, "watched_window", lambda *a, **k: {"energy": {"joules": 1.0}})
    parts = child._watched(SimpleNamespace(vocabulary=9), point, 0)  # type: ignore[arg-type]
    assert parts["memory"]["device_used_delta_bytes"] == 10 * 2**30
    assert parts["energy"] == {"joules": 1.0}


def test_memory_of_a_server_is_that_of_its_processes() -> None:
    import os

    from llmsizer.profile.memory import PeakMemory, memory_of

    assert memory_of(()).resident_bytes is None
    assert memory_of((2**22 + 1,)).resident_bytes is None  # no such process
    with PeakMemory(lambda: (os.getpid(), os.getpid())) as twice:
        pass
    with PeakMemory() as once:
        pass
    assert twice.peak.resident_bytes is not None and once.peak.resident_bytes is not None
    assert twice.peak.resident_bytes > 1.5 * once.peak.resident_bytes
