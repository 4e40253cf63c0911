"""Bundles of replicas over several servers and of data-parallel attention: flags that say so, and what is refused."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from launch_bundles import bundle, written
from llmsizer.errors import InputError
from llmsizer.facts.deployment import Parallelism
from llmsizer.launch.checks.bundle import check_bundle
from llmsizer.launch.checks.rules import rule_findings
from llmsizer.launch.checks.scripts import started_words
from llmsizer.launch.engine_data import known_versions

pytest.importorskip("yaml")
pytest.importorskip("jsonschema")

OVER_SERVERS = {"model": "deepseek-v3", "gpu": "l40s", "precision": "int4", "most_gpus": 16}
RANKED = {"model": "deepseek-v3", "gpu": "h200-sxm-141", "precision": "fp8", "most_gpus": 8,
          "extra": (("own", False),), "ttft_seconds": 60.0}  # fmt: skip # with time to wait, ranks hold more than TP8


@pytest.mark.parametrize("version", known_versions("vllm"))
def test_a_replica_over_two_servers_starts_on_each_of_them_under_vllm(version: str, tmp_path: Path) -> None:
    made = bundle(version=version, **OVER_SERVERS)
    assert made.fleet.deployment.parallelism == Parallelism(tensor=8, pipeline=2)
    start = made.files["start.sh"]
    words = started_words(start, "start.sh")
    pairs = dict(itertools.pairwise(words))
    assert (pairs["--tensor-parallel-size"], pairs["--pipeline-parallel-size"], pairs["--nnodes"]) == ("8", "2", "2")
    assert '--node-rank "${NODE_RANK:-0}"' in start and '--master-addr "${MASTER_ADDR:-127.0.0.1}"' in start
    assert 'if [ "${NODE_RANK:-0}" -gt 0 ]; then HEADLESS=--headless; fi' in start  # only server 0 answers
    assert "NODE_RANK=1 sh start.sh" in made.files["README.md"]
    folder = written(tmp_path / "b", version=version, **OVER_SERVERS)
    assert check_bundle(folder).findings == ()


@pytest.mark.parametrize("version", known_versions("sglang"))
def test_the_same_under_sglang(version: str, tmp_path: Path) -> None:
    folder = written(tmp_path / "b", "sglang", version=version, **OVER_SERVERS)
    start = (folder / "start.sh").read_text(encoding="utf-8")
    assert "--nnodes 2" in start and '--dist-init-addr "${MASTER_ADDR:-127.0.0.1}:20000"' in start
    assert check_bundle(folder).findings == ()


@pytest.mark.parametrize("target", ["compose", "k8s", "kserve"])
def test_targets_of_one_server_refuse_a_replica_over_two(target: str) -> None:
    with pytest.raises(InputError, match="one replica spans 2 servers, which only the target shell starts"):
        bundle(target=target, **OVER_SERVERS)


def test_llama_cpp_is_started_on_one_server() -> None:
    with pytest.raises(InputError, match="one server"):
        bundle("llama.cpp", **(OVER_SERVERS | {"precision": "gguf-q4_k_m"}))


@pytest.mark.parametrize("target", ["shell", "compose", "k8s", "kserve"])
def test_data_parallel_attention_says_its_ranks_and_limits_each_of_them(target: str, tmp_path: Path) -> None:
    made = bundle(target=target, **RANKED)
    spread, deployment = made.fleet.deployment.parallelism, made.fleet.deployment
    assert spread == Parallelism(tensor=1, data=8, expert=8)
    words = " ".join(made.files[next(iter(set(made.files) & {"start.sh", "compose.yaml", "deployment.yaml",
                                                             "inference-service.yaml"}))].split())  # fmt: skip
    assert "--data-parallel-size" in words and "--enable-expert-parallel" in words
    assert deployment.max_sequences is not None and deployment.max_sequences * 8 >= made.fleet.promise.sequences
    assert check_bundle(written(tmp_path / "b", target=target, **RANKED)).findings == ()


def test_fewer_ranks_than_the_plan_are_found() -> None:
    made = bundle(**RANKED)
    words = started_words(made.files["start.sh"], "start.sh")[2:]
    at = words.index("--data-parallel-size") + 1
    words[at] = "4"
    from llmsizer.launch.bundle import needs_of

    found = rule_findings(words, needs_of(made.fleet), made.fleet.engine)
    assert any("the flags spread over 4 GPUs, the plan has 8 a replica" in one.what for one in found)


def test_sglang_with_ranks_is_refused_because_it_is_not_modelled() -> None:
    with pytest.raises(InputError, match="take vllm"):
        bundle("sglang", **RANKED)
