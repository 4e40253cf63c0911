"""Energy of a window: by hand, with counters that wrap, reset, stand still, disagree, and holes between readings."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_sensors import FakeNvml, gpu
from llmsizer.profile.trackers import nvidia
from llmsizer.profile.trackers.energy import counter_difference, energy_of, flags_of, integrate_watts
from llmsizer.profile.trackers.sensor import Reading
from llmsizer.profile.trackers.watch import Watch, hardware_of, idle_watts


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
