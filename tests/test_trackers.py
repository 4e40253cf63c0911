"""Sensors: clocks, power and company of a device by each maker's driver, where it lies, fails or is not there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from fake_sensors import FakeNvml, FakeSmi, gpu
from llmsizer.profile.trackers import amd, intel, nvidia
from llmsizer.profile.trackers.rapl import Rapl
from llmsizer.profile.trackers.sensor import find_sensor
from llmsizer.profile.trackers.window import processor_window

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


def test_the_device_is_the_first_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    from llmsizer.profile.trackers.window import visible_device

    monkeypatch.delenv("HIP_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1a, 3")
    assert visible_device() == "GPU-1a"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_device() == "0"


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
