"""A sweep on a real Ray cluster of two nodes on loopback, one of which is killed while it runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")
pytest.importorskip("numba")

from llmsizer.cluster import Task, key_of, sweep
from llmsizer.errors import InputError, LlmSizerError

pytestmark = pytest.mark.filterwarnings("default")  # Ray's own, which say nothing of this package


def third(number: int) -> dict[str, Any]:
    return {"third": number / 3}


def busy(number: int) -> dict[str, Any]:
    """Long enough that both nodes are at work when one is killed."""
    total = 0.0
    for step in range(2_000_000):
        total += step / 3
    return {"number": number, "total": total}


def always_dies(number: int) -> dict[str, Any]:
    if number == 1:
        os._exit(9)
    return third(number)


def refuses(number: int) -> dict[str, Any]:
    raise InputError(f"{number} is not for me")


def numbers(count: int) -> list[Task[int]]:
    return [Task(key=key_of(n), label=f"task {n}", argument=n) for n in range(count)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that runs nothing; its nodes are added by whoever needs them."""
    from ray.cluster_utils import Cluster

    here = str(Path(__file__).parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])]))
        # A dead node is noticed in a second, not in half a minute.
        quick = {
            "health_check_initial_delay_ms": 0,
            "health_check_period_ms": 100,
            "health_check_failure_threshold": 10,
        }
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": quick}
        started = Cluster(initialize_head=True, head_node_args=head)
        started.add_node(num_cpus=1)
        yield started
        started.shutdown()


def test_no_cluster_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(InputError, match=r"no Ray cluster at 'auto' \(.*\); start one with"):
        sweep(third, numbers(1), cluster="auto")


def test_a_cluster_gives_what_this_process_gives_bit_for_bit(cluster: Any, tmp_path: Path) -> None:
    store = tmp_path / "results.jsonl"
    there = sweep(third, numbers(9), cluster=cluster.address, store=store)
    assert json.dumps(there) == json.dumps(sweep(third, numbers(9)))
    assert len(store.read_text().splitlines()) == 9


def test_a_mistake_and_a_killer_are_named(cluster: Any) -> None:
    with pytest.raises(LlmSizerError, match="task 0: 0 is not for me"):
        sweep(refuses, numbers(1), cluster=cluster.address)
    with pytest.raises(LlmSizerError, match="task 1: its process died 2 times"):
        sweep(always_dies, numbers(3), cluster=cluster.address, attempts=2)


def test_what_a_killed_node_was_doing_is_done_on_the_other(cluster: Any) -> None:
    second = cluster.add_node(num_cpus=1)
    killed: list[float] = []

    def kill(what: str, fraction: float) -> None:
        if fraction > 0 and not killed:
            killed.append(fraction)
            cluster.remove_node(second, allow_graceful=False)

    there = sweep(busy, numbers(10), cluster=cluster.address, progress=kill)
    assert killed and killed[0] < 1
    assert json.dumps(there) == json.dumps(sweep(busy, numbers(10)))
