"""What held a point back, by hand, and that such points are not carried elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny_models
from llmsizer.facts.architecture import model_from_config
from llmsizer.facts.record_parts import HardwareState, MemoryUse, Phases
from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.profile.verdict import Evidence, evidence_of, judged, share_touched, verdict_of

# 40 GB of weights, 8 GB of cache, 4 TB/s: 12 ms at the limit. 80 GFLOP at 800 TFLOP/s: 0.1 ms.
STEP: dict[str, Any] = {
    "phase": "decode",
    "seconds": 0.015,
    "weight_bytes": 40e9,
    "kv_bytes": 8e9,
    "flops": 80e9,
    "on_gpu": True,
    "bytes_per_second": 4e12,
    "bandwidth_basis": "measured",
    "flops_per_second": 800e12,
    "device_busy_share": 0.97,
}


def step(**changes: Any) -> Evidence:
    return Evidence(**(STEP | changes))


def test_mbu_and_mfu_by_hand() -> None:
    assert step().mbu == pytest.approx(0.8)  # 12 of 15 ms
    assert step().mfu == pytest.approx(1 / 150)  # 0.1 of 15 ms
    assert step(bytes_per_second=None).mbu is None
    assert step(flops_per_second=None).mfu is None


def test_a_step_near_the_bandwidth_is_bandwidth_bound() -> None:
    verdict = verdict_of(step())
    assert (verdict.bound, verdict.extrapolate) == ("bandwidth", True)
    assert verdict.why == "MBU 80%, MFU 1% in decode"


def test_a_step_that_reads_more_cache_than_weights_is_kv_bound() -> None:
    verdict = verdict_of(step(weight_bytes=8e9, kv_bytes=40e9))
    assert (verdict.bound, verdict.extrapolate) == ("kv", True)
    assert "83% of the bytes" in verdict.why


def test_a_step_near_the_arithmetic_is_compute_bound() -> None:
    assert verdict_of(step(phase="prefill", flops=9e12, kv_bytes=0.0, seconds=0.014)).bound == "compute"


def test_a_device_that_waits_is_launch_bound_and_not_carried_elsewhere() -> None:
    verdict = verdict_of(step(seconds=0.05, device_busy_share=0.24))
    assert (verdict.bound, verdict.extrapolate) == ("launch", False)
    assert "busy 24%" in verdict.why


def test_without_a_busy_share_a_gpu_far_from_both_limits_is_called_launch_bound_and_says_so() -> None:
    verdict = verdict_of(step(seconds=0.05, device_busy_share=None))  # MBU 24 %
    assert (verdict.bound, verdict.extrapolate) == ("launch", False)
    assert "nobody measured" in verdict.why


def test_a_cpu_is_never_called_launch_bound() -> None:
    verdict = verdict_of(step(seconds=0.05, device_busy_share=None, on_gpu=False))
    assert (verdict.bound, verdict.extrapolate) == ("mixed", True)


def test_throttling_comes_before_every_other_reason() -> None:
    verdict = verdict_of(step(throttled_share=0.4, throttle_reasons=("power cap",), device_busy_share=0.1))
    assert (verdict.bound, verdict.extrapolate) == ("throttled", False)
    assert verdict.why == "clocks held back in 40% of readings: power cap"
    assert verdict_of(step(throttled_share=0.1)).bound == "bandwidth"  # at the line is not over it


def test_a_slow_client_and_a_full_pool_are_no_figures_of_the_device() -> None:
    assert verdict_of(step(client_share=0.2)).bound == "client"
    full = verdict_of(step(kv_pool_full=True))
    assert (full.bound, full.extrapolate) == ("kv", False)


def test_without_known_limits_there_is_no_guess() -> None:
    verdict = verdict_of(step(bytes_per_second=None, flops_per_second=None))
    assert (verdict.bound, verdict.why) == ("mixed", "neither bandwidth nor arithmetic rate of this device is known")


@given(st.floats(1e-4, 10.0), st.floats(1.01, 10.0))
def test_a_slower_step_never_comes_nearer_to_a_limit(seconds: float, factor: float) -> None:
    fast, slow = step(seconds=seconds), step(seconds=seconds * factor)
    assert (slow.mbu or 0) < (fast.mbu or 0) and (slow.mfu or 0) < (fast.mfu or 0)


# Records -------------------------------------------------------------------------------------------------------------


def record(**changes: Any) -> ProfileRecord:
    values: dict[str, Any] = {
        "record_id": "r",
        "model": "tiny",
        "model_config_hf": tiny_models.CONFIG,
        "variant": "fp16",
        "precision": "fp16",
        "engine": "openvino",
        "engine_version": "1",
        "device": DeviceRecord(
            name="gpu",
            kind="gpu",
            read_bytes_per_second=1e9,
            gemm_flops_per_second={"fp16": 1e12, "int8": 9e12},
        ),
        "batch": 2,
        "prompt_tokens": 100,
        "output_tokens": 20,
        "ttft_seconds": 0.01,
        "tpot_seconds": 0.001,
        "weights_bytes_on_disk": 800_000.0,
    }
    return ProfileRecord(**(values | changes))


def test_a_record_is_judged_by_its_decode_step() -> None:
    evidence = evidence_of(record())
    assert evidence is not None
    assert evidence.weight_bytes == 800_000 - 320 * 128 * 2  # the embedding table is looked up, not read
    assert evidence.kv_bytes == 2 * 110 * 2 * 2 * 1 * 64 * 2  # batch × context × layers × (k, v) × heads × dims × bytes
    assert evidence.flops == 2 * model_from_config(tiny_models.CONFIG, name="t").forward_flops(1, 110)
    assert evidence.flops_per_second == 1e12  # 8-bit products are not what 16-bit arithmetic is measured by
    found = judged(record())
    assert found.verdict is not None and found.verdict.bound == "bandwidth"
    assert found.phases is not None and found.phases.mbu == pytest.approx(evidence.mbu)
    assert found.may_be_extrapolated and found.flags == ()


def test_a_launch_bound_record_is_flagged_and_teaches_the_calibration_nothing() -> None:
    found = judged(record(tpot_seconds=1.0, phases=Phases(device_busy_share=0.1)))
    assert found.flags == ("launch_bound", "not_extrapolatable")
    assert not found.carries_step_times


def test_a_driver_that_saw_the_device_idle_makes_the_point_launch_bound_and_a_busy_one_proves_nothing() -> None:
    idle = judged(record(tpot_seconds=1.0, hardware=HardwareState(utilization_share_mean=0.4)))
    assert idle.verdict is not None and "busy 40%" in idle.verdict.why
    assert idle.flags == ("launch_bound", "not_extrapolatable")
    busy = judged(record(tpot_seconds=1.0, hardware=HardwareState(utilization_share_mean=0.99)))
    assert busy.verdict is not None and "nobody measured" in busy.verdict.why
    events = Phases(device_busy_share=0.9)  # the engine's own events come before the driver's samples
    both = record(tpot_seconds=1.0, phases=events, hardware=HardwareState(utilization_share_mean=0.4))
    assert (evidence_of(both) or pytest.fail()).device_busy_share == 0.9


@pytest.mark.parametrize(
    ("named", "size"),
    [
        ("bfloat16", 2.0),
        ("f16", 2.0),
        ("u8", 1.0),
        ("fp8_e4m3", 1.0),
        ("q8_0", 34 / 32),
        ("q8_0/f16", 49 / 32),
        ("", 2.0),
        ("a format of tomorrow", 2.0),
    ],
)
def test_cached_values_have_the_bytes_of_the_format_that_the_engine_names(named: str, size: float) -> None:
    # batch × context × layers × (k, v) × heads × dims × bytes
    evidence = evidence_of(record(engine_options={"kv_cache": named}))
    assert evidence is not None and evidence.kv_bytes == 2 * 110 * 2 * 2 * 1 * 64 * size


def test_a_throttled_record_is_flagged() -> None:
    hot = HardwareState(throttled_share=0.5, throttle_reasons=("thermal (hardware)",))
    found = judged(record(hardware=hot, flags=("unsteady",)))
    assert found.flags == ("unsteady", "throttled", "not_extrapolatable")


def test_one_output_token_is_judged_by_its_prefill() -> None:
    evidence = evidence_of(record(tpot_seconds=None, output_tokens=1))
    assert evidence is not None
    assert (evidence.phase, evidence.seconds) == ("prefill", 0.01)


def test_transformers_reads_what_it_holds_not_what_was_stored() -> None:
    wide = record(engine="transformers", memory=MemoryUse(weights_bytes=1_600_000.0))
    evidence = evidence_of(wide)
    assert evidence is not None
    assert evidence.weight_bytes == 1_600_000 - 320 * 128 * 2


def test_a_batch_that_does_not_fit_the_pool_waited_for_room() -> None:
    # the record's batch × (prompt + output) tokens at 10 bytes each, against a pool of one token less, then of as many
    asked = record()
    tokens = asked.batch * (asked.prompt_tokens + asked.output_tokens)
    for pool_tokens, full in ((tokens - 1, True), (tokens, False)):
        evidence = evidence_of(record(memory=MemoryUse(kv_pool_bytes=10.0 * pool_tokens, kv_bytes_per_token=10.0)))
        assert evidence is not None and evidence.kv_pool_full is full


def test_what_says_too_little_is_left_alone() -> None:
    for bare in (record(model_config_hf={}), record(status="failed"), record(model_config_hf={"model_type": "x"})):
        assert judged(bare) == bare


def test_the_limits_of_a_known_gpu_come_from_its_data_sheet() -> None:
    evidence = evidence_of(record(device=DeviceRecord(name="h200-sxm-141", kind="gpu")))
    assert evidence is not None
    assert (evidence.bytes_per_second, evidence.bandwidth_basis) == (4.8e12, "datasheet")


def test_a_mixture_of_experts_reads_the_experts_that_its_batch_reaches() -> None:
    config = tiny_models.CONFIG | {
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    }
    spec = model_from_config(config, name="moe")
    expert = 2 * 3 * 128 * 256  # one expert of both layers
    rest = spec.layer_params - 8 * expert + spec.lm_head_params
    assert share_touched(spec, 1) == pytest.approx((rest + 2 * expert) / (rest + 8 * expert))
    assert share_touched(spec, 10_000) == pytest.approx(1.0)
