"""What is printed of flags and failures: sentences with the points they hold for, reasons and not source lines."""

from __future__ import annotations

import pytest

from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.profile.flags import warnings
from llmsizer.profile.worker import reason_of


def record(variant: str, *flags: str) -> ProfileRecord:
    return ProfileRecord(
        record_id=variant, model="m", variant=variant, precision="fp16", engine="openvino", engine_version="1",
        device=DeviceRecord(name="cpu", kind="cpu"), batch=1, prompt_tokens=8, output_tokens=4, flags=flags,
    )  # fmt: skip


def said(*records: ProfileRecord) -> list[str]:
    return [line.split(":")[0] for line in warnings(records, lambda r: r.variant)]


def test_a_flag_is_said_once_with_its_points() -> None:
    assert said(record("a", "drifting"), record("b", "drifting"), record("c")) == ["a; b"]
    assert said(record("a", "drifting"), record("b", "drifting")) == ["all points"]
    assert said(record("a", "not_extrapolatable")) == []  # for planners; the reason is another flag


def test_one_variant_alone_is_not_called_unfair_to_others() -> None:
    assert said(record("a", "not_interleaved")) == []
    assert said(record("a", "not_interleaved"), record("b")) == ["a"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("Exception from src/infer_request.cpp:224:\nstd::bad_alloc"),
         "out of memory: RuntimeError: std::bad_alloc"),
        (MemoryError(), "out of memory: MemoryError: "),
        (ValueError("\n  wrong shape\nmore"), "ValueError: wrong shape"),
    ],
)  # fmt: skip
def test_a_reason_is_what_went_wrong(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason
