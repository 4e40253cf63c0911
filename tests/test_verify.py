"""A plan against reality: figures by hand, other loads refused, the verdict, the ledger, and what is learned."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import answers
import measured_by_hand
from known_answer_server import KnownAnswers, Programme, serving, steady
from llmsizer.cli import main
from llmsizer.errors import InputError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.record_parts import Counts, Distribution, Load, Quantile
from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.facts.scenario import Scenario
from llmsizer.profile.store import read_records
from llmsizer.traffic.closed_form.capacity import LoadPoint
from llmsizer.verify.ledger import errors_over_time, keep, ledger_chart, read_ledger
from llmsizer.verify.promise import Promise, promise_of
from llmsizer.verify.verification import comparable_record, differences, hold_against

WORKLOAD = {"requests_per_second": 1.0, "prompt_tokens": 100, "output_tokens": 20, "peak_to_average": 2.0}


def scenario() -> Scenario:
    slo = {"ttft_p95_seconds": 0.5, "tpot_p95_seconds": 0.03}
    return Scenario.model_validate({"name": "s", "model": "llama-3.1-8b", "workload": WORKLOAD, "slo": slo})


def promise() -> Promise:
    """TTFT p95 0.2 s [0.1, 0.4], mean 0.1 [0.08, 0.12]; TPOT p95 20 ms [10, 40], mean 16 [12, 18]; 2 requests/s."""

    def seconds(value: float, low: float, high: float) -> object:
        estimate = replace(answers.figure(value, "s", "calibrated").estimate, low=low, high=high)
        return replace(answers.figure(value, "s", "calibrated"), estimate=estimate)

    load = LoadPoint(
        verdict="STABLE",
        requests_per_second=2.0,
        batch=3.0,
        utilisation=0.5,
        ttft_p95=seconds(0.2, 0.1, 0.4),  # type: ignore[arg-type]
        ttft_mean=seconds(0.1, 0.08, 0.12),  # type: ignore[arg-type]
        tpot_p95=seconds(0.02, 0.01, 0.04),  # type: ignore[arg-type]
        tpot_mean=seconds(0.016, 0.012, 0.018),  # type: ignore[arg-type]
    )
    plan = replace(answers.plan(answers.own_cost()), at_peak=load)
    return promise_of(scenario(), plan, default_catalog())


def seen(
    ttft_p95: float = 0.3, tpot_mean: float = 0.017, *, rate: float = 2.0, at: str = "2026-01-01"
) -> ProfileRecord:
    def distribution(mean: float, p95: float) -> Distribution:
        return Distribution(
            n=200,
            mean=mean,
            mean_low=mean * 0.98,
            mean_high=mean * 1.02,
            maximum=p95 * 1.1,
            percentiles={"p95": Quantile(value=p95, low=p95 * 0.9, high=p95 * 1.05)},
        )

    return measured_by_hand.profile("int8", 1).model_copy(
        update={
            "precision": "fp8",
            "device": DeviceRecord(name="somewhere", kind="unknown"),
            "measured_at": at,
            "load": Load(pattern="poisson", rate_per_second=rate, prompt_tokens_mean=100.0, output_tokens_mean=20.0),
            "counts": Counts(requests_total=200, requests_ok=200, requests_failed=0, requests_incomplete=0),
            "distributions": {"effective_ttft": distribution(0.11, ttft_p95), "tpot": distribution(tpot_mean, 0.025)},
        }
    )


def test_each_figure_is_held_against_its_own_interval() -> None:
    found = hold_against(promise(), seen(ttft_p95=0.5, tpot_mean=0.010))
    by_name = {figure.name: figure for figure in found.figures}
    assert by_name["TTFT p95"].outcome == "worse"  # 0.45 at the least, over 0.4
    assert by_name["TTFT p95"].error == pytest.approx(1.5)
    assert by_name["TTFT mean"].outcome == "kept"
    assert by_name["TPOT mean"].outcome == "better"  # 10.2 ms at the most, under 12
    assert by_name["TPOT mean"].error == pytest.approx(-0.375)
    assert "2 of 4 figures lie within" in found.text


def test_the_slo_is_judged_by_what_was_seen_and_not_by_what_was_promised() -> None:
    assert hold_against(promise(), seen(ttft_p95=0.45)).is_kept is True  # worse than promised, within the SLO
    assert hold_against(promise(), seen(ttft_p95=0.6)).is_kept is False
    failed = seen().model_copy(update={"status": "failed", "failure": "the server died", "distributions": {}})
    lost = hold_against(promise(), failed)
    assert (lost.is_kept, "the server died" in lost.text) == (False, True)
    silent = hold_against(promise(), seen().model_copy(update={"distributions": {}}))
    assert silent.is_kept is None
    assert {figure.outcome for figure in silent.figures} == {"unknown"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"load": Load(pattern="poisson", rate_per_second=3.0)}, "3 requests/s instead of 2"),
        ({"load": Load(pattern="poisson", rate_per_second=2.0, prompt_tokens_mean=200.0)}, "200 prompt tokens"),
        ({"load": Load(pattern="closed", concurrency=4)}, "did not come by a rate"),
        ({"precision": "int4"}, "int4 instead of fp8"),
        ({"device": DeviceRecord(name="NVIDIA L40S", kind="gpu")}, "l40s instead of h100-sxm"),
    ],
)
def test_another_load_or_machine_is_no_evidence(change: dict[str, object], says: str) -> None:
    record = seen().model_copy(update=change)
    assert any(says in off for off in differences(promise(), record))
    with pytest.raises(InputError, match="promised"):
        hold_against(promise(), record)
    with pytest.raises(InputError, match=says.split(" ")[0]):
        comparable_record(promise(), [record])


def test_the_mean_of_few_drawn_lengths_may_lie_further_off_than_that_of_many() -> None:
    wanted = replace(promise(), workload=promise().workload.model_copy(update={"prompt_tokens_p95": 300}))
    load = Load(pattern="poisson", rate_per_second=2.0, prompt_tokens_mean=125.0, output_tokens_mean=20.0)
    few = seen().model_copy(update={"load": load, "counts": Counts(requests_total=20)})
    many = few.model_copy(update={"counts": Counts(requests_total=20_000)})
    assert not differences(wanted, few)
    assert differences(wanted, many) == ("125 prompt tokens instead of 100",)


def test_several_replicas_behind_one_address_take_several_times_the_rate() -> None:
    assert not differences(promise(), seen(rate=6.0), replicas=3)
    assert differences(promise(), seen(rate=6.0))


def test_a_conversation_brings_its_turns_with_it() -> None:
    load = Load(pattern="multi-turn", rate_per_second=0.5, turns=4, prompt_tokens_mean=100.0, output_tokens_mean=20.0)
    assert not differences(promise(), seen().model_copy(update={"load": load}))


def test_what_so_few_answers_do_not_bound_is_not_called_better() -> None:
    few = Distribution(n=30, percentiles={"p95": Quantile(value=0.01, low=0.009)})
    record = seen().model_copy(update={"distributions": {"effective_ttft": few}})
    assert hold_against(promise(), record).figures[0].outcome == "kept"  # [9 ms, unknown[ touches [100, 400]
    whole = few.model_copy(update={"percentiles": {"p95": Quantile(value=0.01, low=0.009, high=0.02)}})
    record = seen().model_copy(update={"distributions": {"effective_ttft": whole}})
    assert hold_against(promise(), record).figures[0].outcome == "better"


@pytest.mark.parametrize("preset", default_catalog().workload_names)
@pytest.mark.parametrize("context_tokens", [None, 20_000])
def test_the_load_has_the_plans_lengths_whatever_its_turns_prefix_and_reasoning(
    preset: str, context_tokens: int | None
) -> None:
    workload = default_catalog().workload(preset)
    context = context_tokens or workload.context_tokens
    if context < workload.tokens_per_request:
        return
    shape = replace(promise(), workload=workload, context_tokens=context).shape
    prompts, outputs = (np.array(lengths) for lengths in shape.lengths(seed=0))
    assert prompts.mean() == pytest.approx(workload.prompt_tokens, rel=0.05)
    assert outputs.mean() == pytest.approx(workload.generated_tokens, rel=0.05)
    assert prompts.max() + outputs.max() <= context
    cached = np.minimum(shape.shared_prefix_tokens, prompts - 1).sum() / prompts.sum()
    # Prompts shorter than the beginning that is shared have less of it.
    assert 0.6 * workload.cached_prompt_fraction <= cached <= 1.05 * workload.cached_prompt_fraction


def test_of_several_records_the_newest_of_the_promised_load_counts() -> None:
    records = [seen(at="2026-01-01"), seen(at="2026-03-01"), seen(rate=9.0, at="2026-05-01")]
    assert comparable_record(promise(), records).measured_at == "2026-03-01"


def test_the_config_of_a_model_is_found_by_the_name_that_its_reading_has() -> None:
    catalog = default_catalog()
    for name in ("llama-3.1-8b", "mistral-small-4", "mistral-small-4-press-22b"):
        assert catalog.model_config(catalog.model(name).name)["hidden_size"] > 0


def test_the_ledger_keeps_every_verification_and_a_torn_line_loses_no_other(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    keep(path, hold_against(promise(), seen(ttft_p95=0.4, at="2026-01-01")))
    keep(path, hold_against(promise(), seen(ttft_p95=0.1, at="2026-02-01")))
    path.write_text(path.read_text() + '{"half": ', encoding="utf-8")
    found, complaints = read_ledger(path)
    assert (len(found), len(complaints)) == (2, 1)
    series = {one.name: one for one in errors_over_time(found)}["TTFT p95"]
    assert series.errors == pytest.approx((1.0, -0.5))  # twice and half: equally far
    assert series.typical == pytest.approx((1.0, math.expm1(math.log(2))))
    picture = ElementTree.fromstring(ledger_chart(errors_over_time(found)))
    assert "TTFT p95" in "".join(picture.itertext())


def test_one_record_held_twice_against_one_plan_counts_once() -> None:
    twice = [hold_against(promise(), seen()) for _ in range(2)]
    assert {len(one.errors) for one in errors_over_time(twice)} == {1}


@pytest.fixture
def url() -> Iterator[str]:
    """A server on a thread of its own: 20 ms to the first token, 2 ms between tokens."""

    def plan(_: int, request: dict[str, object]) -> Programme:
        return steady(0.02, 0.002, int(str(request["max_tokens"])))

    with serving(KnownAnswers(plan)) as address:
        yield address


def test_a_running_server_is_measured_under_the_promised_load_and_teaches_the_plan(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.toml").write_text(
        'name="s"\nmodel="llama-3.1-8b"\nspare_replicas=0\n'
        "[workload]\nrequests_per_second=30\nprompt_tokens=100\noutput_tokens=8\npeak_to_average=1\n"
        '[constraints]\ngpus=["l40s"]\nprecisions=["bf16"]\napi=false\n'
        "[slo]\nttft_p95_seconds=60\ntpot_p95_seconds=60\n"  # kept however busy this machine is
    )
    assert main(["plan", "s.toml", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    plan["plans"][0]["at_peak"]["ttft_p95_seconds"] |= {"value": 0.123, "low": 0.001, "high": 0.5}  # own evidence then
    Path("PLAN.json").write_text(json.dumps(plan))
    command = ["verify", "PLAN.json", "--ledger", "ledger.jsonl", "--json"]
    assert main([*command, "--url", url, "--requests", "40", "--engine", "vllm", "--plot", "ledger.svg"]) == 0
    document = json.loads(capsys.readouterr().out)
    figures = {figure["name"]: figure for figure in document["verification"]["figures"]}
    held = {record.record_id: record for record in read_records(Path("records.jsonl"), ProfileRecord)[0]}
    measured = held[document["verification"]["record_id"]]
    assert figures["TPOT mean"]["seen"] == measured.distributions["tpot"].mean
    assert document["verification"]["is_kept"] is True
    assert figures["TTFT p95"]["promised"] == 0.123  # what the file says, whatever today's evidence would
    assert figures["TTFT p95"]["error"] == pytest.approx(figures["TTFT p95"]["seen"] / 0.123 - 1)
    assert "the plan now promises" in document["learned"]
    assert Path("ledger.svg").read_text().startswith("<svg")
    # The same from the records that the run left behind, and the past without any plan.
    assert main([*command, "--records", "records.jsonl"]) == 0
    assert json.loads(capsys.readouterr().out)["verification"]["figures"] == list(figures.values())
    assert main(["verify", "--history", "--ledger", "ledger.jsonl"]) == 0
    assert "TTFT p95" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["verify"], "PLAN.json"),
        (["verify", "nowhere.json", "--records", "r.jsonl"], "nowhere.json"),
        (["verify", "--history", "--ledger", "none.jsonl"], "no ledger yet"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_records_that_are_measured_into_are_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    for store in ("store", "postgresql://somewhere/own"):
        assert main(["verify", "PLAN.json", "--url", "http://127.0.0.1:9", "--records", store]) == 1
        assert "is a store; measure into a file" in capsys.readouterr().err


def test_an_api_promises_nothing_to_verify() -> None:
    with pytest.raises(InputError, match="API"):
        promise_of(scenario(), replace(answers.plan(answers.own_cost()), path="api"), default_catalog())


@pytest.mark.parametrize(
    ("served", "said"),
    [
        ("llama-3.1-8b", ""),
        ("meta-llama/Llama-3.1-8B-Instruct", ""),
        ("Qwen/Qwen3-8B", "the model measured is 'Qwen/Qwen3-8B', the plan is for llama-3.1-8b"),
        ("known-answers", "nothing shows that they are one"),
    ],
)
def test_another_model_than_the_plans_is_said(served: str, said: str) -> None:
    planned = replace(promise(), model="llama-3.1-8b")
    notes = hold_against(planned, seen().model_copy(update={"model": served})).notes
    assert said in "".join(notes) and bool(notes) is bool(said)


def test_what_few_answers_make_likely_is_not_called_sure() -> None:
    sure, few = seen(), seen()
    tails = few.distributions["tpot"].model_copy(update={"percentiles": {"p95": Quantile(value=0.025, low=0.02)}})
    few = few.model_copy(update={"distributions": {**few.distributions, "tpot": tails}})
    assert hold_against(promise(), sure).text.startswith("The SLO holds")
    assert hold_against(promise(), few).text.startswith("The SLO likely holds")
    assert "too few answers to be 95 % sure" in hold_against(promise(), few).text
