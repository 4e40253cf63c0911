"""A bundle says what the plan's own memory and traffic model says, spelled as the engine's version spells it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from launch_bundles import TODAY, bundle, chosen, written
from llmsizer.cli import main
from llmsizer.decide.plan_file import Chosen, choose_plan, load_plan_file
from llmsizer.decide.recommend import recommend
from llmsizer.errors import InputError, UnknownNameError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.deployment import Deployment
from llmsizer.facts.hub import load_model
from llmsizer.facts.precision import get_precision
from llmsizer.facts.speculation import SpeculationChoice
from llmsizer.launch.bundle import make_bundle
from llmsizer.launch.checks.bundle import check_bundle
from llmsizer.launch.checks.flags import read_words
from llmsizer.launch.checks.scripts import started_words
from llmsizer.launch.engine_data import known_versions, load_engine
from llmsizer.launch.fleet import under
from llmsizer.launch.settings import settings_of
from llmsizer.launch.targets import TARGETS
from llmsizer.launch.yaml_text import yaml_text

pytest.importorskip("yaml")
pytest.importorskip("jsonschema")

SMALL = """
name = "small"
model = "llama-3.1-8b"
workload = { preset = "chat", tokens_per_month = 100_000_000 }
slo = { ttft_p95_seconds = 5.0, tpot_p95_seconds = 0.2 }
constraints = { gpus = ["h100-sxm-80"], precisions = ["fp8"], api = false }
"""
ENGINE_CASES = [
    ("vllm", "bf16"),
    ("sglang", "bf16"),
    ("llama.cpp", "gguf-q8_0"),
    ("transformers", "bf16"),
]


def flags_of(made: object) -> dict[str, str | None]:
    return {setting.flag: setting.value for setting in settings_of(made.fleet)}  # type: ignore[attr-defined]


@pytest.mark.parametrize("target", sorted(TARGETS))
@pytest.mark.parametrize(("engine", "precision"), ENGINE_CASES)
def test_every_engine_on_every_target_passes_its_own_check(
    engine: str, precision: str, target: str, tmp_path: Path
) -> None:
    gpu = "a100-sxm-80" if engine == "llama.cpp" else "h100-sxm-80"
    for version in known_versions(engine) if target == "shell" else known_versions(engine)[-1:]:
        folder = written(tmp_path / version, engine, target, precision=precision, gpu=gpu, version=version)
        assert check_bundle(folder).findings == ()


def test_flags_are_the_numbers_of_the_plan() -> None:
    made = bundle()
    plan, flags = chosen("llama-3.1-8b", "h100-sxm-80", "bf16").plan, flags_of(made)
    assert flags["--max-model-len"] == str(plan.deployment.max_context_tokens)
    assert flags["--tensor-parallel-size"] == "1"
    assert flags["--max-num-seqs"] == str(plan.capacity.max_batch)
    assert flags["--max-num-batched-tokens"] == "8192"  # the default of 0.22 on a GPU over 70 GiB
    assert flags["--gpu-memory-utilization"] == "0.92"
    assert flags["--kv-cache-dtype"] == "auto"
    assert "--enable-prefix-caching" in flags  # chat: a shared beginning and two turns
    assert made.fleet.promise.at_peak.ttft_p95 == plan.at_peak.ttft_p95
    assert made.fleet.promise.requests_per_second == plan.capacity.requests_per_second


def test_the_cache_that_flags_leave_is_what_the_plan_needs_or_more() -> None:
    for engine, precision in (("vllm", "bf16"), ("sglang", "fp8"), ("llama.cpp", "gguf-q8_0")):
        fleet = bundle(
            engine, precision=precision, gpu="a100-sxm-80" if precision.startswith("gguf") else "h100-sxm-80"
        ).fleet
        assert fleet.budget.kv_capacity_tokens >= fleet.promise.kv_tokens >= fleet.deployment.max_context_tokens


def test_an_fp8_cache_and_a_spread_over_gpus_are_spelled_by_each_engine() -> None:
    options = {
        "model": "llama-3.3-70b",
        "precision": "bf16",
        "gpu": "h200-sxm-141",
        "most_gpus": 8,
        "extra": (("kv_format", "fp8"),),
    }
    vllm, sglang = flags_of(bundle("vllm", **options)), flags_of(bundle("sglang", **options))  # type: ignore[arg-type]
    assert vllm["--kv-cache-dtype"] == "fp8" and sglang["--kv-cache-dtype"] == "fp8_e4m3"
    assert vllm["--tensor-parallel-size"] == sglang["--tensor-parallel-size"]
    assert int(vllm["--tensor-parallel-size"] or 0) > 1


def test_no_flag_says_what_the_checkpoint_says_or_trusts_its_code() -> None:
    for precision in ("fp8", "int4"):
        for engine in ("vllm", "sglang"):
            made = bundle(engine, precision=precision)
            assert not {"--quantization", "--trust-remote-code", "--api-key"} & set(flags_of(made))
            assert made.fleet.checkpoint == f"/models/llama-3.1-8b-{precision}"
            assert "trust-remote-code" not in "".join(made.files.values())


def test_speculation_is_written_as_the_engine_wants_it() -> None:
    choice = SpeculationChoice(method="ngram", draft_tokens=4, acceptance_rate=0.6)
    base, catalog = chosen("llama-3.1-8b", "h100-sxm-80", "bf16").scenario, default_catalog()
    scenario = base.model_copy(update={"speculation": choice})
    answer = recommend(load_model(scenario.model, catalog), scenario, catalog, today=TODAY)
    plan = Chosen(scenario=scenario, recommendation=answer, plan=choose_plan(answer))
    made = make_bundle(plan, catalog, engine="vllm", target="shell", today=TODAY)
    config = json.loads(flags_of(made)["--speculative-config"] or "")
    assert config["method"] == "ngram" and config["num_speculative_tokens"] == 4


def test_llama_cpp_has_a_slot_for_each_request_at_once_and_their_context_together() -> None:
    made = bundle("llama.cpp", precision="gguf-q8_0", gpu="a100-sxm-80")
    flags = flags_of(made)
    slots = int(flags["--parallel"] or 0)
    context = -(-made.fleet.deployment.max_context_tokens // 256) * 256
    assert int(flags["--ctx-size"] or 0) == slots * context
    assert made.fleet.checkpoint.endswith(".gguf")


def test_the_bundle_carries_its_plan_so_that_it_can_be_verified(tmp_path: Path) -> None:
    folder = written(tmp_path / "b", "vllm", "k8s")
    assert (
        load_plan_file(folder / "plan.json").plans[0].label == chosen("llama-3.1-8b", "h100-sxm-80", "bf16").plan.label
    )
    manifest = json.loads((folder / "bundle.json").read_text())
    assert manifest["promise"]["ttft_p95_seconds"]["basis"] == "calibrated"
    assert os.access(folder / "smoke-test.sh", os.X_OK)
    text = (folder / "README.md").read_text()
    assert "calibrated" in text and "Nothing was started on a GPU" in text


def test_a_bundle_of_another_engine_carries_that_engines_promise(tmp_path: Path) -> None:
    made = bundle("llama.cpp", precision="gguf-q8_0", gpu="a100-sxm-80")
    plan, peak = chosen("llama-3.1-8b", "a100-sxm-80", "gguf-q8_0").plan, made.fleet.promise.at_peak
    assert peak.tpot_p95 != plan.at_peak.tpot_p95
    written = json.loads(made.files["plan.json"])
    assert written["plans"][0]["at_peak"]["tpot_p95_seconds"]["value"] == peak.tpot_p95.value
    assert written["promised_for"] == made.fleet.engine.label
    load = made.files["load-test.sh"]
    assert load.index("llmsizer verify plan.json --url") < load.index("--slo 'p95 ttft <= 5s, p95 tpot <= 200ms'")


def test_the_readme_says_seconds_as_people_do() -> None:
    text = bundle("vllm", "k8s").files["README.md"]
    assert "(limit 5 s)" in text and "(limit 200 ms)" in text and "e+0" not in text


def test_a_plain_autoscaler_has_the_thresholds_of_the_other() -> None:
    import yaml

    files = bundle("vllm", "k8s").files
    keda, plain = yaml.safe_load(files["autoscaling.yaml"])["spec"], yaml.safe_load(files["hpa.yaml"])["spec"]
    assert (plain["minReplicas"], plain["maxReplicas"]) == (keda["minReplicaCount"], keda["maxReplicaCount"])
    pods = [metric["pods"] for metric in plain["metrics"]]
    assert [one["target"]["averageValue"] for one in pods] == [one["metadata"]["threshold"] for one in keda["triggers"]]
    assert [one["metric"]["name"] for one in pods] == ["vllm_num_requests_waiting", "vllm_kv_cache_usage_perc"]


def test_transformers_serves_one_request_after_another_where_it_does_not_batch() -> None:
    catalog = default_catalog()
    card = Deployment(
        model=load_model("llama-3.1-8b", catalog),
        gpu=catalog.gpu("h100-sxm-80"),
        weights=get_precision("bf16"),
        max_context_tokens=4096,
    )
    cpu = replace(card, gpu=card.gpu.model_copy(update={"device_class": "cpu"}))
    engine = load_engine("transformers")
    assert under(cpu, engine).max_sequences == 1 and under(card, engine).max_sequences is None


def test_images_are_pinned_and_secrets_are_references(tmp_path: Path) -> None:
    text = (written(tmp_path / "b", "vllm", "k8s") / "deployment.yaml").read_text()
    assert "vllm/vllm-openai:v" in text and "latest" not in text
    assert "secretKeyRef" in text


def test_scaling_asks_for_metrics_that_the_version_shows() -> None:
    for engine in ("vllm", "sglang"):
        for version in known_versions(engine):
            found = load_engine(engine, version)
            assert found.metric(found.facts.queue_metrics) and found.metric(found.facts.kv_metrics)
    assert "autoscaling.yaml" not in bundle("transformers", "k8s").files


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"engine": "llama.cpp", "precision": "int4"}, "does not read int4"),
        ({"engine": "transformers", "precision": "fp8"}, "does not read fp8"),
        ({"engine": "vllm", "version": "0.1"}, "known versions"),
        ({"engine": "sglang", "gpu": "mi300x", "precision": "bf16"}, "no image for rocm"),
    ],
)
def test_what_cannot_be_started_is_refused_in_one_line(options: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        bundle(**options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"engine": "tgi"}, {"target": "nomad"}])
def test_an_unknown_engine_or_target_names_those_that_are(options: dict[str, str]) -> None:
    with pytest.raises(UnknownNameError, match=r"known are|did you mean"):
        bundle(**options)  # type: ignore[arg-type]


def test_the_start_script_says_the_same_words_as_the_container() -> None:
    engine = load_engine("vllm")
    words = started_words(bundle("vllm", "shell").files["start.sh"], "start.sh")
    given, loose = read_words(words[2:], engine)
    assert words[:2] == ["vllm", "serve"] and len(loose) == 1
    assert all(one.spec is not None for one in given)


def test_yaml_that_is_written_is_read_back_the_same() -> None:
    import yaml

    document = {
        "a": ["1", 1, True, "yes", None, "null", "x: y", "", "ä", "# no", "- no", {"b": [], "c": {}}, [["d"]]],
        "threshold": "0.5",
        "0x10": "2e3",
        "on": "${HF_TOKEN:-}",
    }
    assert yaml.safe_load(yaml_text(document)) == document


def test_the_command_makes_checks_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario, out = str(tmp_path / "small.toml"), str(tmp_path / "b")
    Path(scenario).write_text(SMALL)
    assert main(["bundle", scenario, "--target", "compose", "--out", out, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["check"]["passed"] and "compose.yaml" in made["files"]
    assert main(["bundle", "check", out]) == 0
    assert "every check passed" in capsys.readouterr().out
    for bad in (
        ["bundle", scenario, "--out", out],  # exists
        ["bundle", scenario],  # no folder
        ["bundle", "check"],
        ["bundle", "check", str(tmp_path)],
        ["bundle", scenario, "--out", out + "2", "--plan", "no such"],
        ["bundle", scenario, "--out", out + "2", "--engine", "vlm"],
        ["bundle", scenario, "--out", out + "2", "--target", "swarm"],
        ["bundle", scenario, "--out", out + "2", "--engine", "llama.cpp"],
    ):
        assert main(bad) == 1, bad
        said = capsys.readouterr().err
        assert said.startswith("llmsizer: ") and said.count("\n") == 1
    assert not (tmp_path / "b2").exists()
