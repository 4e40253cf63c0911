"""Every fault put into a bundle is found, by the name of the check that exists for it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from launch_bundles import written
from llmsizer.errors import InputError
from llmsizer.launch.checks.bundle import check_bundle
from llmsizer.launch.checks.flags import flag_findings, read_words
from llmsizer.launch.checks.rules import rule_findings
from llmsizer.launch.checks.secrets import environment_findings, image_findings, text_findings
from llmsizer.launch.engine_data import FlagSpec, FlagTable, load_engine

pytest.importorskip("yaml")
pytest.importorskip("jsonschema")

NEEDS = {
    "model": "llama-3.1-8b",
    "weights": "bf16",
    "kv_format": "bf16",
    "gpu": "h100-sxm-80",
    "gpus_per_replica": 1,
    "memory_engine": "vllm",
    "context_tokens": 4096,
    "kv_tokens": 100_000,
    "sequences": 32,
}
GOOD = "model --max-model-len 4096 --max-num-seqs 64 --max-num-batched-tokens 8192 --gpu-memory-utilization 0.92"


def names_after(folder: Path, file: str, pattern: str, replacement: str) -> set[str]:
    """The names of what is found once a file of the bundle was changed by hand."""
    path = folder / file
    before = path.read_text()
    after = re.sub(pattern, replacement, before, count=1)
    assert after != before, pattern
    path.write_text(after)
    found = {finding.name for finding in check_bundle(folder).findings}
    path.write_text(before)
    return found


@pytest.fixture(scope="module")
def k8s(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("bundles") / "k8s", "vllm", "k8s")


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("bundles") / "compose", "vllm", "compose")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("bundles") / "shell", "vllm", "shell")


@pytest.mark.parametrize(
    ("pattern", "replacement", "name"),
    [
        (r'"--dtype"', '"--dtipe"', "unknown flag"),
        (r'"0\.92"', '"a lot"', "wrong type"),
        (r"- bfloat16", "- float7", "bad choice"),
        (r'"--enable-prefix-caching"', '"--trust-remote-code"', "trusts remote code"),
        (r'"--enable-prefix-caching"', '"--quantization"\n            - fp8', "quantization said twice"),
        (r'(- "--tensor-parallel-size"\n\s+- )"1"', r'\1"3"', "heads do not divide"),
        (r'(- "--tensor-parallel-size"\n\s+- )"1"', r'\1"2"', "other width than the plan"),
        (r'(- "--max-num-batched-tokens"\n\s+- )"8192"', r'\1"16"', "batched tokens below sequences"),
        (r'(- "--max-num-seqs"\n\s+- )"\d+"', r'\1"1"', "sequences below the plan"),
        (r'(- "--max-model-len"\n\s+- )"\d+"', r'\1"900000"', "context beyond the model"),
        (r'(- "--max-model-len"\n\s+- )"\d+"', r'\1"64"', "context below the plan"),
        (r'(- "--gpu-memory-utilization"\n\s+- )"0.92"', r'\1"0.25"', "cache too small"),
        (r"vllm-openai:v[\d.]+", "vllm-openai:latest", "image not pinned"),
        (r"vllm-openai:v[\d.]+", "vllm-openai", "image not pinned"),
        (
            r"valueFrom:\n\s+secretKeyRef:\n.*\n.*\n.*optional: true",
            "value: hf_abcdefghijklmnopqrstuvwx",
            "secret value",
        ),
        (r"periodSeconds: 10", 'periodSeconds: "ten"', "schema"),
        (r"containerPort", "containerport", "schema"),
        (r"kind: Deployment", "kind: Deploymint", "unknown kind"),
        (r"^apiVersion", "\tapiVersion", "not readable"),
    ],
)
def test_a_fault_in_a_manifest_is_found_by_name(k8s: Path, pattern: str, replacement: str, name: str) -> None:
    assert name in names_after(k8s, "deployment.yaml", pattern, replacement)


@pytest.mark.parametrize(
    ("pattern", "replacement", "name"),
    [
        (r"vllm:num_requests_waiting", "vllm:gpu_cache_usage_perc", "unknown metric"),
        (r"maxReplicaCount: \d+", "maxReplicaCount: many", "schema"),
        (r"triggers:", "trigger:", "schema"),
    ],
)
def test_a_fault_in_the_scaling_rules_is_found_by_name(k8s: Path, pattern: str, replacement: str, name: str) -> None:
    assert name in names_after(k8s, "autoscaling.yaml", pattern, replacement)


def test_a_metric_that_no_adapter_could_show_is_found_in_a_plain_autoscaler(k8s: Path) -> None:
    wrong = names_after(k8s, "hpa.yaml", r"vllm_num_requests_waiting", "vllm_gpu_cache_usage_perc")
    assert wrong == {"unknown metric"}


@pytest.mark.parametrize(
    ("pattern", "replacement", "name"),
    [
        (r"shm_size", "shm_sise", "schema"),
        (r"VLLM_API_KEY: .*", "VLLM_API_KEY: abc", "secret value"),
        (r"VLLM_API_KEY: .*", 'VLLM_API_KEY: "${VLLM_API_KEY:-abc}"', "secret value"),
        (r"(image: .*:)v[\d.]+", r"\1nightly", "image not pinned"),
        (r'"--port"', '"--prot"', "unknown flag"),
    ],
)
def test_a_fault_in_a_compose_file_is_found_by_name(compose: Path, pattern: str, replacement: str, name: str) -> None:
    assert name in names_after(compose, "compose.yaml", pattern, replacement)


@pytest.mark.parametrize(
    ("file", "pattern", "replacement", "name"),
    [
        ("start.sh", r"set -eu", "if true", "shell syntax"),
        ("start.sh", r"--max-num-seqs", "--max-num-sequences", "unknown flag"),
        ("start.sh", r"exec ", "echo ", "not readable"),
        ("smoke-test.sh", r"-d ", "-H 'Authorization: Bearer sk-aaaaaaaaaaaaaaaaaaaaaaaa' -d ", "secret value"),
        ("plan.json", r'"tokens_per_month": 100000000', '"tokens_per_month": 100000001', "another scenario"),
        ("plan.json", r'"asked"', '"asket"', "plan not readable"),
    ],
)
def test_a_fault_in_a_script_or_the_plan_is_found_by_name(
    shell: Path, file: str, pattern: str, replacement: str, name: str
) -> None:
    assert name in names_after(shell, file, pattern, replacement)


def test_a_missing_file_and_a_folder_that_is_no_bundle_are_told_apart(tmp_path: Path) -> None:
    folder = written(tmp_path / "b")
    (folder / "health.sh").unlink()
    assert {finding.name for finding in check_bundle(folder).findings} == {"file missing"}
    with pytest.raises(InputError, match="no bundle"):
        check_bundle(tmp_path)
    (folder / "bundle.json").write_text("{}")
    with pytest.raises(InputError, match="missing"):
        check_bundle(folder)


def test_anchors_that_multiply_are_refused_before_anything_walks_them(k8s: Path) -> None:
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    path = k8s / "bomb.yaml"
    path.write_text("\n".join(["a0: &a0 [1]", *levels]))
    found = [finding.what for finding in check_bundle(k8s).findings if finding.file == "bomb.yaml"]
    path.unlink()
    assert found == ["bomb.yaml: not readable as YAML: more than 100,000 values in it"]


def test_a_good_command_line_breaks_no_rule() -> None:
    engine = load_engine("vllm")
    assert flag_findings(GOOD.split(), engine, "x") == []
    assert rule_findings(GOOD.split(), NEEDS, engine) == []


def test_blocks_of_fp8_have_to_divide_by_hand() -> None:
    # An expert of DeepSeek-V3.2 has 2,048 columns: 128 a GPU over 16, which is one block.
    # Its dense layers have 18,432: 1,152 over 16, nine blocks, and 576 over 32, four and a half.
    engine, name = load_engine("vllm"), "FP8 blocks do not divide"
    needs = NEEDS | {"model": "deepseek-v3.2", "weights": "fp8", "gpu": "h200-sxm-141"}
    for width, broken in ((16, False), (32, True)):
        words = ["m", "--tensor-parallel-size", str(width), "--max-model-len", "4096"]
        found = {finding.name for finding in rule_findings(words, needs | {"gpus_per_replica": width}, engine)}
        assert (name in found) is broken


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("--max-num-seqs", "wrong type"),
        ("--max-num-seqs 3.5", "wrong type"),
        ("--max-num-seqs=many", "wrong type"),
        ("--speculative-config {no", "wrong type"),
        ("--max-num-seqs 3 --max-num-seqs 4", "flag given twice"),
        ("--swap-space 4", "unknown flag"),  # dropped before 0.33
        ("--api-key abc", "secret value"),
    ],
)
def test_what_the_engines_parser_would_refuse_is_found(words: str, name: str) -> None:
    assert name in {finding.name for finding in flag_findings(words.split(), load_engine("vllm"), "x")}


def test_spellings_that_the_engines_parser_takes_are_taken() -> None:
    words = "--max_num_seqs 8 -tp 2 --max-model-len 8k --no-enable-prefix-caching --served-model-name a b --port=8000"
    assert flag_findings(words.split(), load_engine("vllm"), "x") == []


def test_a_flag_that_a_version_dropped_is_known_to_be_there_before_and_gone_after() -> None:
    # llama.cpp took --draft-max until it was renamed to --spec-draft-n-max; --flash-attn grew a value.
    old, new = load_engine("llama.cpp", "0.3.16"), load_engine("llama.cpp", "0.3.36")
    assert flag_findings(["--draft-max", "4"], old, "x") == []
    assert {f.name for f in flag_findings(["--draft-max"], new, "x")} == {"removed flag"}
    assert flag_findings(["--flash-attn"], old, "x") == []
    assert {f.name for f in flag_findings(["--flash-attn"], new, "x")} == {"wrong type"}
    # SGLang's FP4 cache was renamed on the way to 0.5.23.
    assert flag_findings(["--kv-cache-dtype", "fp4_e2m1"], load_engine("sglang", "0.5.12"), "x") == []
    assert {f.name for f in flag_findings(["--kv-cache-dtype", "fp4_e2m1"], load_engine("sglang", "0.5.23"), "x")} == {
        "bad choice"
    }


def test_a_table_finds_flags_by_every_spelling() -> None:
    spec = FlagSpec(flag="--cache", kind="switch", also=("-c",), negatable=True)
    gone = FlagSpec(flag="--old", kind="int", deprecated="use --new")
    table = FlagTable(engine="e", version="1", source={}, metrics=(), flags=(spec, gone))
    assert table.find("-c") == table.find("--no-cache") == spec
    assert table.first(["--old", "--cache"]) == spec and table.first(["--old"]) == gone and table.first(["--x"]) is None


def test_negative_numbers_are_values_and_not_flags() -> None:
    given, loose = read_words(["--chunked-prefill-size", "-1", "model"], load_engine("sglang"))
    assert given[0].value == "-1" and loose == ["model"]


@pytest.mark.parametrize(
    "image", ["a/b", "a/b:latest", "localhost:5000/a", "a:nightly", "a:cuda-latest", "", "a/b:main"]
)
def test_an_image_that_moves_is_found(image: str) -> None:
    assert [finding.name for finding in image_findings(image, "x")] == ["image not pinned"]


@pytest.mark.parametrize(
    "image", ["a/b:v1.2", "localhost:5000/a:1", f"a/b@sha256:{'0' * 64}", f"a:1@sha256:{'a' * 64}"]
)
def test_a_tag_or_a_digest_pins_an_image(image: str) -> None:
    assert image_findings(image, "x") == []


def test_references_are_no_secrets_and_values_are() -> None:
    good = {
        "HF_TOKEN": "${HF_TOKEN:-}",
        "API_KEY": "$API_KEY",
        "KEY_2": "x",
        "PASSWORD": None,
        "MY_SECRET": "${S:?set it}",
    }
    assert environment_findings(good, "x") == []
    assert environment_findings(["API_KEY=abc"], "x") and environment_findings(
        [{"name": "PW_TOKEN", "value": "v"}], "x"
    )
    assert text_findings("Bearer ghp_" + "a" * 36, "x") and not text_findings("hf-token", "x")


def test_finding_texts_are_one_line(k8s: Path) -> None:
    names_after(k8s, "deployment.yaml", r"metadata:", "metadata: 5\nmeta:")
    text = (k8s / "deployment.yaml").read_text()
    (k8s / "deployment.yaml").write_text(text.replace("metadata:", "meta:"))
    for finding in check_bundle(k8s).findings:
        assert "\n" not in finding.what and finding.what.startswith(finding.file)
    (k8s / "deployment.yaml").write_text(text)


def test_the_tables_say_what_package_they_were_read_from() -> None:
    for engine in ("vllm", "sglang", "llama.cpp", "transformers"):
        table = load_engine(engine).table
        assert re.fullmatch(r"[0-9a-f]{64}", table.source["sha256"]) and table.source["file"]
        assert json.dumps(table.source)
