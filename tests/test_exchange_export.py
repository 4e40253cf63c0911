"""What goes out: the same figures come in again, and other tools can read them."""

from __future__ import annotations

import csv
import datetime
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from foreign_files import SAMPLES, import_sample, samples
from llmsizer.cli import main
from llmsizer.errors import InputError, UnknownNameError
from llmsizer.exchange.benchmark_report_out import report_of
from llmsizer.exchange.columns import read_map
from llmsizer.exchange.focus import COLUMNS, focus_csv, focus_rows
from llmsizer.exchange.importing import import_file
from llmsizer.exchange.prometheus import metric_names, rules_text
from llmsizer.exchange.values import Refused
from llmsizer.facts.records import ProfileRecord
from llmsizer.store.exchange import export_items

FIGURES = ("model", "precision", "engine", "engine_version", "batch", "prompt_tokens", "output_tokens", "ttft_seconds",
           "tpot_seconds", "output_tokens_per_second")  # fmt: skip
UNITS = {"s", "s/token", "tokens/s", "queries/s", "count"}
PLAN: dict[str, Any] = {
    "schema_version": 1,
    "model": "llama-3.1-8b",
    "asked": {"slo": {"ttft_p95_seconds": 2.0, "tpot_p95_seconds": 0.05}},
    "plans": [
        {
            "label": "rent: 3 × fp8 on 1× H100",
            "model": "llama-3.1-8b",
            "precision": "fp8",
            "gpu": "h100-sxm",
            "provider": "somebody",
            "zone": "EU",
            "replicas": 3,
            "capacity": {"requests_per_second": {"value": 2.5}},
            "cost": {
                "path": "rent",
                "label": "rent",
                "parts": [
                    {"name": "instances", "how": "3 × $2/h × 730 h", "usd_per_month": {
                        "value": 4380.0, "low": 4380.0, "high": 4380.0, "basis": "price list", "source": "s",
                        "as_of": "2026-08-03", "reason": ""}},
                    {"name": "egress", "how": "", "usd_per_month": {
                        "value": None, "low": None, "high": None, "basis": "unknown", "reason": "no price is known"}},
                ],
            },
        }
    ],
}  # fmt: skip


def records() -> list[ProfileRecord]:
    return [record for path in samples() for record in import_sample(path)]


def imported_table() -> list[ProfileRecord]:
    return import_file(SAMPLES / "table.csv", mapping=read_map(SAMPLES / "table_map.toml"))


@pytest.mark.parametrize("record", records(), ids=lambda record: f"{record.origin.file}-{record.origin.position}")
def test_a_benchmark_report_that_is_read_again_has_the_same_figures(record: ProfileRecord, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text(json.dumps(report_of(record)))
    [back] = import_file(file)
    assert {name: getattr(back, name) for name in FIGURES} == {name: getattr(record, name) for name in FIGURES}
    pattern = record.load.pattern if record.load else "batch"
    assert back.load is not None and back.load.pattern == pattern
    assert back.device.name == record.device.name


def test_the_csv_that_is_read_again_gives_the_same_records(tmp_path: Path) -> None:
    everything = records()
    export_items(everything, tmp_path / "records.csv", "csv")
    assert import_file(tmp_path / "records.csv") == everything
    export_items(everything, tmp_path / "records.parquet", "parquet")


def test_a_csv_with_a_figure_that_cannot_be_is_refused(tmp_path: Path) -> None:
    export_items(imported_table(), tmp_path / "records.csv", "csv")
    text = (tmp_path / "records.csv").read_text().replace("0.041", "nan")
    (tmp_path / "records.csv").write_text(text)
    with pytest.raises(Refused, match=r"is nan; a measured figure is finite"):
        import_file(tmp_path / "records.csv")


@pytest.mark.parametrize("record", records()[:4], ids=lambda record: record.origin.file)
def test_a_benchmark_report_has_what_its_schema_requires(record: ProfileRecord) -> None:
    # llm-d's own model validates them in benchmarks/exchange.py; these are its required fields and units
    report = report_of(record)
    assert set(report) == {"version", "run", "scenario", "results"} and report["version"] == "0.2"
    engine = report["scenario"]["stack"][0]
    assert {"metadata", "standardized", "native"} == set(engine)
    assert {"kind", "tool", "tool_version", "role", "replicas", "model", "accelerator"} == set(engine["standardized"])
    assert {"label", "cfg_id"} <= set(engine["metadata"])
    load = report["scenario"]["load"]["standardized"]
    assert {"tool", "tool_version", "source", "input_seq_len", "output_seq_len"} <= set(load)
    aggregate = report["results"]["request_performance"]["aggregate"]
    for part in ("latency", "throughput"):
        for statistics in aggregate[part].values():
            assert statistics["units"] in UNITS and isinstance(statistics["mean"], float)
    assert isinstance(aggregate["requests"]["total"], int)


def test_a_failed_point_is_no_report() -> None:
    failed = imported_table()[0].model_copy(update={"status": "failed", "failure": "out of memory"})
    with pytest.raises(Refused, match="out of memory"):
        report_of(failed)


def test_cost_rows_are_null_where_nothing_is_priced_and_nothing_is_billed() -> None:
    instances, egress = focus_rows(PLAN, month=datetime.date(2026, 12, 15))
    assert set(COLUMNS) <= set(instances) and len(COLUMNS) == 43
    assert instances["BilledCost"] is None and instances["EffectiveCost"] == 4380.0 == instances["ListCost"]
    assert egress["EffectiveCost"] is None and egress["x_Reason"] == "no price is known"
    assert instances["ChargePeriodStart"] == "2026-12-01T00:00:00Z"
    assert instances["ChargePeriodEnd"] == "2027-01-01T00:00:00Z"
    [first, second] = csv.DictReader(focus_csv([instances, egress]).splitlines())
    assert first["EffectiveCost"] == "4380.0" and second["EffectiveCost"] == "" and second["ListCost"] == ""


def test_a_comparison_gives_rows_too_and_a_record_gives_none() -> None:
    bill = {"path": "own", "label": "own 1 ×", "parts": [{"name": "hardware", "usd_per_month": {"value": 1.0}}]}
    [row] = focus_rows({"model": "m", "bills": [bill]}, month=datetime.date(2027, 1, 1))
    assert row["ChargeCategory"] == "Purchase" and row["x_Choice"] == "own 1 ×" and row["x_Basis"] == "unknown"
    with pytest.raises(Refused, match="no bill"):
        focus_rows({"record_id": "a"}, month=datetime.date(2027, 1, 1))


@pytest.mark.parametrize(("engine", "rules"), [("vllm", 14), ("sglang", 14), ("llama.cpp", 3)])
def test_rules_ask_only_metrics_that_the_version_has(engine: str, rules: int) -> None:
    text = rules_text(PLAN, engine=engine)
    version, names = metric_names(engine)
    assert text.startswith(f"# {engine} {version}") and text.count("\n        expr: ") == rules
    asked = {re.sub("_bucket$", "", name) for name in re.findall(rf"{engine.replace('.', '')}:\w+", text)}
    assert asked == {names[role] for role in names if role != "itl" and names[role] in text}
    if engine == "llama.cpp":
        assert "llama.cpp 0." in text and "has no metric of ttft" in text


def test_limits_and_capacity_in_the_rules_are_those_of_the_plan() -> None:
    text = rules_text(PLAN, engine="vllm")
    assert 'expr: "llmsizer:ttft_seconds:p95 > 2.0"' in text and 'expr: "llmsizer:tpot_seconds:p95 > 0.05"' in text
    assert 'expr: "llmsizer:requests_per_second:sum > 7.5"' in text  # 3 replicas × 2.5/s
    narrowed = rules_text(PLAN, engine="vllm", selector='namespace="chat"')
    assert json.dumps('sum(vllm:num_requests_waiting{namespace="chat"})') in narrowed


def test_rules_for_nothing_known_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="tgi"):
        metric_names("tgi")
    with pytest.raises(UnknownNameError, match=r"9\.9"):
        metric_names("vllm", "9.9")
    with pytest.raises(InputError, match="selector"):
        rules_text(PLAN, engine="vllm", selector="} or vector(1)")
    with pytest.raises(Refused, match="no plan with its SLO"):
        rules_text({"plans": []}, engine="vllm")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize("engine", ["vllm", "sglang", "llama.cpp"])
def test_promtool_accepts_the_rules(engine: str, tmp_path: Path) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(rules_text(PLAN, engine=engine, selector='namespace="chat"'))
    done = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_command_writes_each_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan, out = tmp_path / "plan.json", tmp_path / "records.jsonl"
    plan.write_text(json.dumps(PLAN))
    assert main(["records", "import", str(SAMPLES / "llama_bench.json"), "--records", str(out)]) == 0
    for argv, made in (
        ((str(tmp_path / "rules.yml"), str(plan), "--format", "prometheus"), "14 rules"),
        ((str(tmp_path / "costs.csv"), str(plan), "--format", "focus", "--month", "2027-02"), "2 rows"),
        ((str(tmp_path / "reports"), str(out), "--format", "llm-d"), "3 reports"),
        (
            (str(tmp_path / "report.json"), str(out), "--format", "llm-d", "--batch", "1", "--model", "Tiny"),
            "3 reports",
        ),
    ):
        capsys.readouterr()
        assert main(["records", "export", *argv]) == 0
        assert capsys.readouterr().out.startswith(made)
    assert len(list((tmp_path / "reports").glob("*.json"))) == 3
    for argv, words in (
        ((str(tmp_path / "x"), "--format", "focus"), "needs one file"),
        ((str(tmp_path / "x"), str(out), "--format", "focus"), "no JSON"),
        ((str(tmp_path / "x"), str(tmp_path / "none"), "--format", "prometheus"), "cannot be read"),
    ):
        assert main(["records", "export", *argv]) == 1
        assert words in capsys.readouterr().err
