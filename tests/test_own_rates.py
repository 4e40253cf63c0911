"""Own records fit the rates of a device, and the error they state is of points the fit has not seen."""

from __future__ import annotations

import statistics

import pytest

from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.physics.calibration.own_check import held_out
from llmsizer.physics.calibration.own_records import calibrate, log_residuals
from llmsizer.physics.steps.own_rates import owner

# A CPU that reads 12 GB/s and multiplies 200 GFLOP/s, running 0.32 billion parameters without any overhead:
# a decode step takes the slower of reading the weights and 2 FLOPs per parameter and sequence.
READ_BYTES_PER_SECOND, FLOPS_PER_SECOND, PARAMETERS = 12e9, 200e9, 0.32e9
CONFIG = {
    "model_type": "mistral",
    "hidden_size": 1536,
    "intermediate_size": 4096,
    "num_hidden_layers": 12,
    "num_attention_heads": 24,
    "num_key_value_heads": 6,
    "head_dim": 64,
    "vocab_size": 8192,
    "max_position_embeddings": 4096,
}
BYTES_OF = {"fp16": 2.0, "int8": 1.0, "int4": 0.53}


def record(variant: str, batch: int, prompt: int) -> ProfileRecord:
    read_seconds = PARAMETERS * BYTES_OF[variant] / READ_BYTES_PER_SECOND
    flop_seconds = 2 * PARAMETERS / FLOPS_PER_SECOND
    return ProfileRecord(
        record_id=f"{variant}-{batch}-{prompt}",
        model="made-up",
        model_config_hf=CONFIG,
        variant=variant,
        precision={"fp16": "fp16", "int8": "int8-wo", "int4": "int4"}[variant],
        engine="openvino",
        engine_version="2026.4",
        device=DeviceRecord(
            name="a laptop",
            kind="cpu",
            read_bytes_per_second=30e9,  # the microbenchmark reads faster than the engine does
            gemm_flops_per_second={"bf16": 250e9},
            memory_bytes=16e9,
        ),
        batch=batch,
        prompt_tokens=prompt,
        output_tokens=16,
        ttft_seconds=max(read_seconds, flop_seconds * batch * prompt),
        tpot_seconds=max(read_seconds, flop_seconds * batch),
    )


RECORDS = [
    record(variant, batch, prompt)
    for variant in BYTES_OF
    for batch, prompt in ((1, 32), (1, 128), (1, 512), (4, 64), (8, 64), (16, 64))
]


def test_points_held_out_are_predicted_within_a_tenth_on_a_machine_of_two_rates() -> None:
    checks = held_out(RECORDS)
    assert len(checks) == 2 * len(RECORDS)
    assert statistics.median(abs(check.error) for check in checks) < 0.10


def test_the_rates_move_where_the_records_say() -> None:
    calibrated, _ = calibrate(RECORDS)
    names = {c.name: c for c in calibrated.coefficients.items if c.source == "own records"}
    assert {name.split(".")[0] for name in names} == {"memory", "compute", "overhead"}
    assert all(c.low <= c.value <= c.high for c in names.values())
    slower = [r.model_copy(update={"ttft_seconds": r.ttft_seconds * 2}) for r in RECORDS if r.ttft_seconds]
    key = f"compute.own.{next(iter(names)).split('.', 2)[2]}"
    # Prefill that takes twice as long is arithmetic at half the rate.
    assert calibrate(slower)[0].coefficients[key].value < 0.75 * names[key].value


def test_two_rows_that_take_far_longer_than_one_are_not_smoothed_away() -> None:
    # llama.cpp on one core of an EPYC: another kernel multiplies several rows. A line over log batch misses by a third.
    milliseconds = {1: 9.6, 2: 23.7, 4: 34.4, 8: 53.1}
    rows = [
        record("int8", batch, 64).model_copy(update={"tpot_seconds": took / 1000, "engine": "llama.cpp"})
        for batch, took in milliseconds.items()
    ]
    calibrated, _ = calibrate(rows)
    for row in rows:
        assert abs(dict(log_residuals(row, calibrated))["tpot"]) < 0.08


def test_other_devices_keep_the_shipped_prediction() -> None:
    calibrated, _ = calibrate(RECORDS)
    assert owner("h100-sxm-80", "vllm") not in {c.name.split(".", 2)[-1] for c in calibrated.coefficients.items}


def test_one_operating_point_cannot_be_held_out() -> None:
    assert held_out(RECORDS[:1]) == ()


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_machine_as_fast_again_is_predicted_as_fast_again(factor: float) -> None:
    def moved(record: ProfileRecord) -> ProfileRecord:
        seconds = (record.ttft_seconds or 0) * factor, (record.tpot_seconds or 0) * factor
        return record.model_copy(update={"ttft_seconds": seconds[0], "tpot_seconds": seconds[1]})

    checks = held_out([moved(r) for r in RECORDS])
    assert statistics.median(abs(check.error) for check in checks) < 0.12
