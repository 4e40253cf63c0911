"""Timing, intervals and memory with clocks and engines passed in: every number by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from llmsizer.errors import LlmSizerError, MeasurementError
from llmsizer.facts.records import DeviceRecord
from llmsizer.facts.variant import Variant, WeightPart
from llmsizer.profile import engines
from llmsizer.profile.device import best_rate
from llmsizer.profile.engines import default_engine, load_engine
from llmsizer.profile.intervals import coverage, median_with_interval, quantile_with_interval
from llmsizer.profile.measure import Point, Sample, Tokens, prompts_of, take_sample
from llmsizer.profile.memory import current_memory
from llmsizer.profile.row import Request, Run, measured_record, record_id
from llmsizer.profile.worker import busy_seconds

POINT = Point(batch=2, prompt_tokens=8, output_tokens=4)


class Clock:
    """Time that passes only when somebody says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Programmed:
    """An engine whose steps take the time that a list says."""

    version, vocabulary = "1", 50

    def __init__(self, clock: Clock, delays: list[float]) -> None:
        self.options: dict[str, str] = {}
        self._clock, self._delays = clock, delays

    def steps(self, prompts: Tokens, output_tokens: int) -> Iterator[None]:
        for delay in self._delays:
            self._clock.now += delay
            yield

    def peak_memory_bytes(self) -> float | None:
        return None


def variant(name: str = "fp16") -> Variant:
    return Variant(
        path=Path("/x"),
        model="m",
        name=name,
        precision=name,
        method=f"openvino-{name}",
        format="openvino-ir",
        parts=(WeightPart(format="fp16", params=10, bytes=20),),
    )


def request(**changes: object) -> Request:
    device = DeviceRecord(name="cpu", kind="cpu", cores=2, memory_bytes=1e9)
    values: dict[str, object] = {
        "variant": variant(),
        "engine": "openvino",
        "device": device,
        "repeats": 5,
        "seed": 0,
    }
    return Request(**values | changes)  # type: ignore[arg-type]


def test_ttft_tpot_and_gaps_by_hand() -> None:
    clock = Clock()
    backend = Programmed(clock, [0.5, 0.1, 0.2, 0.3])
    sample = take_sample(backend, np.zeros((2, 8), np.int64), 4, clock)
    assert sample.ttft_seconds == pytest.approx(0.5)
    assert sample.gaps_seconds == pytest.approx((0.1, 0.2, 0.3))
    assert sample.tpot_seconds == pytest.approx(0.2)  # 0.6 s over 3 gaps: the first token is not in it
    assert sample.total_seconds == pytest.approx(1.1)


def test_one_token_has_no_gap() -> None:
    clock = Clock()
    assert take_sample(Programmed(clock, [0.5]), np.zeros((1, 1), np.int64), 1, clock).tpot_seconds is None


@pytest.mark.parametrize("delays", [[0.1] * 3, [0.1] * 5])
def test_an_engine_that_stops_early_or_runs_on_is_an_error(delays: list[float]) -> None:
    clock = Clock()
    with pytest.raises(MeasurementError, match="not the 4 asked for"):
        take_sample(Programmed(clock, delays), np.zeros((2, 8), np.int64), 4, clock)


def test_no_two_runs_share_a_prompt_and_none_holds_a_special_token() -> None:
    runs = [prompts_of(POINT, vocabulary=1000, seed=0, run=run) for run in range(4)]
    first_columns = {tuple(row) for run in runs for row in run}
    assert len(first_columns) == 4 * POINT.batch
    assert min(run.min() for run in runs) >= 3
    assert (prompts_of(POINT, vocabulary=1000, seed=0, run=1) == runs[1]).all()


def test_the_median_and_its_interval_by_hand() -> None:
    # five values: P(all on one side) = 2 / 2⁵, so the extremes cover 93.75 %
    median = median_with_interval([5.0, 1.0, 4.0, 2.0, 3.0])
    assert (median.value, median.low, median.high, median.level) == (3.0, 1.0, 5.0, 0.9375)
    # eight values: second and seventh cover 1 − 2 (1 + 8)/256 = 92.97 %
    median = median_with_interval([float(i) for i in range(1, 9)])
    assert (median.value, median.low, median.high) == (4.5, 2.0, 7.0)
    assert median.level == pytest.approx(1 - 18 / 256)


def test_too_few_values_say_what_level_they_reach() -> None:
    assert median_with_interval([1.0]).level == 0.0
    assert coverage(3, 1) == 0.75


def test_a_percentile_needs_enough_values() -> None:
    assert quantile_with_interval([1.0] * 19, 0.95) is None
    slow = quantile_with_interval([float(i) for i in range(1, 21)], 0.95)
    assert slow is not None and slow.value == 19.0


def test_a_record_by_hand() -> None:
    run = Run(interleaved=True, loaded={"version": "7", "load_seconds": 2.0}, memory={"resident_bytes": 9.0})
    run.samples = [Sample(ttft_seconds=t, gaps_seconds=(0.1, 0.1, 0.1)) for t in (0.5, 0.5, 0.5, 0.5, 0.6)]
    record = measured_record(request(), POINT, run)
    assert (record.ttft_seconds, record.tpot_seconds) == (0.5, pytest.approx(0.1))
    # 2 requests × 4 tokens in 0.5 + 3 × 0.1 seconds; 2 × 8 prompt tokens in 0.5 s
    assert record.output_tokens_per_second == pytest.approx(10.0)
    assert record.prefill_tokens_per_second == pytest.approx(32.0)
    assert record.interval_level == 0.90
    assert (record.repeats, record.engine_version, record.process_peak_bytes) == (5, "7", 9.0)
    assert record.allocator_peak_bytes is None and "allocator" not in record.flags
    assert {"allocator_peak_bytes", "process_anonymous_bytes", "energy_joules", "itl_seconds_p95"} == set(
        record.unknown
    )


def test_sequences_beyond_the_models_positions_are_flagged() -> None:
    asked = request(variant=variant().model_copy(update={"config": {"max_position_embeddings": 12}}))
    run = Run(interleaved=True, samples=[Sample(ttft_seconds=0.5, gaps_seconds=(0.1, 0.1, 0.1))])
    assert "beyond_model_context" not in measured_record(asked, POINT, run).flags  # 8 + 4 positions
    longer = Point(batch=2, prompt_tokens=9, output_tokens=4)
    assert "beyond_model_context" in measured_record(asked, longer, run).flags
    nested = variant().model_copy(update={"config": {"text_config": {"max_position_embeddings": 8}}})
    assert "beyond_model_context" in measured_record(request(variant=nested), POINT, run).flags


def test_what_is_doubtful_is_flagged() -> None:
    run = Run(interleaved=False)
    run.samples = [Sample(ttft_seconds=t, gaps_seconds=(0.1,)) for t in (0.5, 0.5, 0.9, 0.5, 0.5)]
    run.core_seconds, run.foreign_cpu_seconds = 10.0, 1.5
    flags = measured_record(request(), POINT, run).flags
    assert flags == ("unsteady", "foreign_cpu_load", "not_interleaved")


def test_a_finished_point_is_known_again_by_all_that_was_asked() -> None:
    first = record_id(request(), POINT)
    assert first == record_id(request(), Point(batch=2, prompt_tokens=8, output_tokens=4))
    others = [
        record_id(request(), Point(batch=3, prompt_tokens=8, output_tokens=4)),
        record_id(request(seed=1), POINT),
        record_id(request(repeats=6), POINT),
        record_id(request(variant=variant("int8")), POINT),
        record_id(request(device=DeviceRecord(name="other", kind="cpu")), POINT),
    ]
    assert len({first, *others}) == 6


def test_memory_comes_from_the_kernels_own_account() -> None:
    memory = current_memory("Name:\tx\nVmRSS:\t    2048 kB\nRssAnon:\t    1024 kB\n")
    assert (memory.resident_bytes, memory.anonymous_bytes) == (2048 * 1024, 1024 * 1024)
    assert current_memory("Name:\tx\n").anonymous_bytes is None


def test_busy_time_leaves_idle_and_waiting_out() -> None:
    # user nice system idle iowait irq softirq steal, in ticks
    ticks = busy_seconds("cpu  100 20 30 9999 8888 1 2 3 0 0\ncpu0 1 1 1 1") / busy_seconds("cpu 1 0 0 0 0 0 0 0")
    assert ticks == pytest.approx(156)
    assert busy_seconds("") == 0.0


def test_the_best_rate_is_that_of_the_fastest_run() -> None:
    clock = Clock()
    delays = iter([9.0, 2.0, 4.0, 1.0, 3.0, 2.0])  # the first run is not counted

    def work() -> None:
        clock.now += next(delays)

    assert best_rate(work, 10.0, clock) == pytest.approx(10.0)


def test_each_format_has_its_engine_and_on_a_gpu_one_that_uses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "has_gpu", lambda: False)
    checkpoint, gguf = (variant().model_copy(update={"format": name}) for name in ("compressed-tensors", "gguf"))
    assert [default_engine(v) for v in (variant(), checkpoint, gguf)] == ["openvino", "transformers", "openvino"]
    assert engines.preferred_engine() == "openvino"
    monkeypatch.setattr(engines, "has_gpu", lambda: True)
    monkeypatch.setattr(engines, "has_llama_cpp", lambda: True)
    (tmp_path / "vllm").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [default_engine(v) for v in (variant(), checkpoint, gguf)] == ["openvino", "vllm", "llama.cpp"]
    (tmp_path / "vllm").unlink()
    assert engines.preferred_engine() == "transformers" == default_engine(checkpoint)
    with pytest.raises(LlmSizerError, match="openvino"):
        load_engine("openvinno", variant())
