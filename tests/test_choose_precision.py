"""Which precision to serve: by quality first, by the kernel that runs, then by dollars."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from llmsizer.cli import main
from llmsizer.decide.precision.choice import (
    PrecisionOption,
    PrecisionQuestion,
    choose_precision,
    deployment_of,
    precisions_of,
    quality_words,
)
from llmsizer.decide.precision.crossover import crossover
from llmsizer.decide.pricing.study import workload_of
from llmsizer.decide.quality import quality_recovery, rejected_by_divergence
from llmsizer.errors import InputError, UnknownNameError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.kernels import load_kernels
from llmsizer.facts.precision import get_precision
from llmsizer.facts.quality_parts import TaskScore
from llmsizer.facts.records import QualityRecord
from llmsizer.facts.recovery import load_quality_prior, load_recovery, published_recovery, size_class
from llmsizer.facts.scenario import Scenario
from llmsizer.facts.workload import Slo
from llmsizer.facts.workload.choice import WorkloadChoice
from llmsizer.money.prices import price_book

CATALOG = default_catalog()
TODAY = datetime.date(2026, 11, 21)
MODEL = CATALOG.model("llama-3.1-8b")


def question(gpu: str = "h100-sxm-80", floor: float = 0.98, **changes: object) -> PrecisionQuestion:
    scenario = Scenario(model=MODEL.name, workload=WorkloadChoice(preset="chat"), slo=Slo(quality_floor=floor))
    asked = {
        "model": MODEL,
        "gpus": (CATALOG.gpu(gpu),),
        "workload": workload_of(scenario, CATALOG),
        "scenario": scenario,
        "precisions": precisions_of(["bf16", "fp8", "int4"]),
    }
    return PrecisionQuestion(**(asked | changes))  # type: ignore[arg-type]


def options(asked: PrecisionQuestion) -> tuple[PrecisionOption, ...]:
    return choose_precision(asked, CATALOG, price_book(CATALOG, asked.scenario, TODAY))


def record(**changes: object) -> QualityRecord:
    base = QualityRecord(
        model=MODEL.name, variant="int4", precision="int4", engine="e", dataset="d", documents=9, tokens=9,
        perplexity=5.0, perplexity_standard_error=0.1, perplexity_ratio=1.001, kl_nats_per_token=0.01,
    )  # fmt: skip
    return base.model_copy(update=changes)


@pytest.mark.parametrize(
    ("gpu", "version", "precision", "kernel", "compute"),
    [
        ("h100-sxm-80", None, "fp8", "FP8 W8A8", "fp8"),
        ("a100-sxm-80", None, "fp8", "Marlin W8A16", "16bit"),
        ("a100-sxm-80", "0.19.1", "nvfp4", "Marlin W4A16", "16bit"),
        ("b200-sxm-180", None, "nvfp4", "NVFP4 W4A4", "fp4"),
        ("t4", "0.15.1", "int4", "without Marlin", "16bit"),
        ("t4", "0.16.0", "int4", "Marlin", "16bit"),
    ],
)
def test_the_kernel_that_runs_is_not_what_the_checkpoint_is_called(
    gpu: str, version: str | None, precision: str, kernel: str, compute: str
) -> None:
    found = load_kernels().find("vllm", version, get_precision(precision), CATALOG.gpu(gpu))
    assert found is not None and found.runs and kernel in found.name and found.compute == compute
    assert found.provenance.source.startswith("https://") and found.provenance.as_of


@pytest.mark.parametrize(
    ("gpu", "version", "precision"),
    [("t4", "0.15.1", "fp8"), ("a100-sxm-80", "0.4", "fp8"), ("b200-sxm-180", None, "int8"), ("mi300x", None, "int4")],
)
def test_formats_without_a_kernel_are_named(gpu: str, version: str | None, precision: str) -> None:
    found = load_kernels().find("vllm", version, get_precision(precision), CATALOG.gpu(gpu))
    assert found is not None and not found.runs and found.note


def test_what_no_source_names_is_unknown_and_not_refused_as_impossible() -> None:
    assert load_kernels().find("vllm", None, get_precision("int8-wo"), CATALOG.gpu("t4")) is None
    (option,) = options(question("t4", precisions=precisions_of(["int8-wo"])))
    assert option.kernel == "unknown" and "unknown whether" in option.rejected


def test_the_cheapest_of_equal_quality_comes_first_and_the_rest_say_why_not() -> None:
    found = options(question(floor=0.995))
    kept = [o for o in found if not o.rejected]
    usd = [o.usd_per_million_tokens.value or 0 for o in kept]
    assert usd == sorted(usd) and all(usd)
    assert [o.precision for o in found if o.rejected] == ["int4"]
    assert "99.12%" in found[-1].rejected and "published" in found[-1].rejected


def test_dollars_by_hand_from_the_rate_and_the_hour() -> None:
    asked = question(usd_per_gpu_hour=3.6, precisions=precisions_of(["bf16"]))
    (option,) = options(asked)
    rate = option.requests_per_second.value
    assert rate is not None
    # 3.6 dollars an hour are a tenth of a cent a second
    by_hand = 0.001 * option.gpus / (rate * asked.workload.tokens_per_request) * 1e6
    assert option.usd_per_million_tokens.value == pytest.approx(by_hand)


def test_half_the_cache_bytes_hold_twice_the_tokens_and_the_caveat_stands_beside() -> None:
    (option,) = options(question(precisions=precisions_of(["bf16"])))
    (cache,) = option.caches
    assert cache.format == "fp8" and cache.gain == pytest.approx(2.0, rel=0.01)
    assert "unmeasured" in cache.note and "needles" in cache.note


def test_int4_leads_alone_and_loses_to_fp8_in_a_crowd() -> None:
    asked = question()
    gpu = asked.gpus[0]
    found = crossover(deployment_of(asked, gpu, "int4", 1), deployment_of(asked, gpu, "fp8", 1), asked.workload)
    assert found.lead_alone > 1 and found.loses_at is not None and 1 < found.loses_at < 256
    assert "loses its lead" in found.sentence


def test_measured_tasks_come_before_perplexity_and_perplexity_before_the_prior() -> None:
    prior, int4 = load_quality_prior(), get_precision("int4")
    assert quality_recovery(MODEL, int4, prior, []).basis == "published"
    assert quality_recovery(MODEL, int4, prior, [record()]).value == pytest.approx(1 / 1.001)
    score = TaskScore(metric="acc", items=50, score=0.45, recovery=0.9, recovery_low=0.85, recovery_high=0.95)
    tasked = quality_recovery(MODEL, int4, prior, [record(tasks={"x": score}), record()])
    assert (tasked.value, tasked.low, tasked.high, tasked.basis) == (0.9, 0.85, 0.95, "measured")


def test_a_measured_divergence_rejects_a_format_whatever_its_perplexity() -> None:
    broken = record(kl_nats_per_token=0.5)
    assert "0.5 nats" in rejected_by_divergence(MODEL, get_precision("int4"), [broken])
    assert rejected_by_divergence(MODEL, get_precision("int4"), [record()]) == ""
    found = options(question(records=(broken,), precisions=precisions_of(["int4"])))
    assert "KL divergence" in found[0].rejected


def test_only_a_measured_interval_can_say_indistinguishable() -> None:
    published = load_quality_prior()["fp8"]
    assert published.low is not None and published.low < 1 < (published.high or 0)
    assert "indistinguishable" not in quality_words(published) and "other models" in quality_words(published)
    own = record(perplexity_ratio_low=0.999, perplexity_ratio_high=1.003)
    measured = quality_recovery(MODEL, get_precision("int4"), {}, [own])
    assert "indistinguishable" in quality_words(measured)


def test_published_recovery_by_task_is_of_the_models_size_where_three_were_published() -> None:
    table = load_recovery()
    assert size_class(8e9) == "3B to 15B" and size_class(70e9) == "over 50B"
    found = published_recovery(table, "fp8", "gsm8k", 8e9)
    assert found.basis == "published" and "3B to 15B" in found.estimate.reason
    assert published_recovery(table, "nvfp4", "ceval", 8e9).basis == "unknown"
    with pytest.raises(UnknownNameError):
        published_recovery(table, "fp8", "chess", 8e9)
    assert all((f.low or 0) <= (f.value or 0) <= (f.high or 0) for f in table.values())


def test_an_engine_without_data_is_refused_with_those_that_have_some() -> None:
    with pytest.raises(InputError, match="vllm, sglang"):
        options(question(engine="triton"))


def test_the_command_line_says_the_pick_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "choose-precision",
        "llama-3.1-8b",
        "--gpu",
        "h100",
        "--quality-floor",
        "0.98",
        "--precisions",
        "bf16,fp8",
    ]
    assert main([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["sentence"].startswith("Serve in fp8 on") and "FP8 W8A8" in document["sentence"]
    assert document["options"][0]["usd_per_million_tokens"]["basis"] == "calibrated"


def test_a_model_whose_context_is_too_short_for_the_workload_is_said_before_any_format(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"model_type": "llama", "hidden_size": 512, "num_hidden_layers": 2, "num_attention_heads": 8,
              "intermediate_size": 1024, "vocab_size": 1000, "max_position_embeddings": 1024}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert main(["choose-precision", str(tmp_path), "--gpu", "l4", "--workload", "chat"]) == 1
    said = capsys.readouterr().err
    assert "holds 1,024: take another --workload" in said and said.count("\n") == 1
