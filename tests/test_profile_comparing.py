"""Comparisons, the plain sentence, and a record shown field by field."""

from __future__ import annotations

import pytest

from llmsizer.errors import InputError
from llmsizer.facts.record_parts import Distribution, Energy, Load, Quantile
from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.profile.comparing import compare
from llmsizer.profile.sentence import Comfort, sentences
from llmsizer.profile.shown import fields_of, text_of, unit_of


def record(variant: str, batch: int, tpots: tuple[float, ...], **changes: object) -> ProfileRecord:
    values: dict[str, object] = {
        "record_id": f"{variant}-{batch}",
        "model": "m",
        "variant": variant,
        "precision": variant,
        "method": f"openvino-{variant}",
        "engine": "openvino",
        "engine_version": "1",
        "device": DeviceRecord(name="Tiny CPU", kind="cpu"),
        "batch": batch,
        "prompt_tokens": 64,
        "output_tokens": 11,
        "ttft_seconds": 0.5,
        "ttft_samples": tuple(0.5 for _ in tpots),
        "tpot_seconds": sorted(tpots)[len(tpots) // 2],
        "tpot_samples": tpots,
        "sweep_id": "s",
    }
    return ProfileRecord.model_validate(values | changes)


# the machine was up to three times slower in some rounds, and slowed both
ROUNDS = (1.0, 3.0, 1.5, 2.0, 1.0)
FP16 = [record("fp16", b, tuple(0.026 * r for r in ROUNDS)) for b in (1, 64)]
INT4 = [record("int4", 1, tuple(0.010 * r for r in ROUNDS)), record("int4", 64, tuple(0.0289 * r for r in ROUNDS))]


def test_runs_taken_in_turn_are_compared_pair_by_pair() -> None:
    found = compare([*FP16, *INT4], "int4", "fp16")
    assert [one.over.batch for one in found] == [1, 64]
    # 26 ms over 10 ms; 26 over 28.9
    assert [one.ratio.value for one in found] == [pytest.approx(2.6), pytest.approx(0.8997, rel=1e-3)]
    assert all(one.paired and one.is_sure for one in found)
    assert found[0].text() == "2.6× [2.6, 2.6]" or found[0].text() == "2.6× [2.60, 2.60]"


def test_runs_of_different_days_are_no_pairs_and_know_less() -> None:
    other = [r.model_copy(update={"sweep_id": "another"}) for r in INT4]
    found = compare([*FP16, *other], "int4", "fp16")[0]
    assert not found.paired and found.ratio.value == pytest.approx(2.6)
    assert (found.ratio.low or 0) < 1.6 and (found.ratio.high or 0) > 4.0


def test_throughput_counts_the_prefill_too() -> None:
    one = compare([*FP16, *INT4], "int4", "fp16", metric="throughput")[0]
    # first round: (0.5 + 10 × 0.026) / (0.5 + 10 × 0.010) = 0.76 / 0.6; the mean ratio lies between that and 2.6
    assert 0.76 / 0.6 < one.ratio.value < 1.5
    same = compare([*FP16, *INT4], "int4", "fp16", metric="first token")[0]
    assert same.ratio.value == pytest.approx(1.0) and not same.is_sure


def test_devices_are_compared_only_with_the_same_variant_on_both() -> None:
    fast = [r.model_copy(update={"device": DeviceRecord(name="Big GPU", kind="gpu"), "record_id": "g"}) for r in INT4]
    found = compare([*FP16, *INT4, *fast], "big gpu", "tiny")
    assert {(one.over.variant, one.under.variant) for one in found} == {("int4", "int4")}


@pytest.mark.parametrize(
    ("over", "under", "words"), [("int3", "fp16", "no measured record is named 'int3'"), ("int4", "int4", "share no")]
)
def test_what_cannot_be_compared_is_said_in_one_line(over: str, under: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        compare([*FP16, *INT4], over, under)


def test_the_plain_sentence_by_hand() -> None:
    records = [
        *(record("fp16", b, (0.020 * b,) * 5) for b in (1, 4)),
        *(record("int4", b, (0.010 * b,) * 5, ttft_seconds=0.2 * b) for b in (1, 4, 8)),
    ]
    served, faster = sentences(records)
    # INT4: 4 at once take 0.8 s to the first token and 25 tok/s each; 8 take 1.6 s
    assert served == (
        "INT4 on openvino serves 4 users at once with first token under 1 s and 20 tok/s each (prompts of 64 tokens)"
    )
    assert (
        faster.startswith("INT4 decodes 2") and "as fast as FP16 at batch 1 and 2" in faster and faster.endswith("at 4")
    )


def test_nothing_measured_above_is_said_as_at_least_and_nobody_served_names_the_closest() -> None:
    assert "serves at least 4 users" in sentences([record("int4", b, (0.01,) * 5) for b in (1, 4)])[0]
    none = sentences([record("int4", 1, (0.1,) * 5)], Comfort(ttft_seconds=0.6))[0]
    assert none.startswith("serves no user") and "10.0 tok/s each" in none
    assert sentences([]) == ()


def test_a_load_is_judged_by_what_95_of_100_requests_wait() -> None:
    slow = Distribution(n=200, percentiles={"p95": Quantile(value=1.4)})
    served = record("int4", 4, (0.01,) * 5, load=Load(pattern="closed", concurrency=4), distributions={"ttft": slow})
    assert sentences([served])[0].startswith("serves no user")


def test_an_open_loop_counts_no_users() -> None:
    busy = record("int4", 40, (0.01,) * 5, load=Load(pattern="poisson", rate_per_second=2.0))
    assert sentences([busy]) == ()


def test_every_field_has_its_unit_its_basis_or_its_reason() -> None:
    unknown = {"energy.idle_watts": "hidden here", "allocator_peak_bytes": "none"}
    one = record("int4", 1, (0.01,), energy=Energy(joules=3.0), unknown=unknown)
    fields = {field.field: field for field in fields_of(one)}
    assert (fields["energy.joules"].value, fields["energy.joules"].unit) == (3.0, "J")
    assert (fields["energy.idle_watts"].basis, fields["energy.idle_watts"].note) == ("unknown", "hidden here")
    assert fields["allocator_peak_bytes"].note == "none"
    assert (fields["batch"].basis, fields["tpot_seconds"].basis) == ("given", "measured")
    assert fields["hardware"].note == "not measured" and "failure" not in fields


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("ttft_seconds_low", "s"),
        ("itl_seconds_p95", "s"),
        ("weights_bytes_on_disk", "B"),
        ("hardware.sm_clock_hertz_mean", "Hz"),
        ("memory.peak_reserved_bytes.decode", "B"),
        ("throughput.output_tokens_per_second_low", "tok/s"),
        ("device.read_bytes_per_second", "B/s"),
        ("energy.joules_per_output_token", "J/token"),
        ("verdict.bound", ""),
    ],
)
def test_the_unit_stands_in_the_name(name: str, unit: str) -> None:
    assert unit_of(name) == unit


def test_long_values_are_cut_and_say_so() -> None:
    assert text_of(list(range(100))).endswith("(100 entries)")
    assert (text_of(None), text_of(0.1 + 0.2), text_of("x")) == ("unknown", "0.3", "x")
