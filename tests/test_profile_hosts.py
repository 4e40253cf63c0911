"""A sweep over many hosts, here with this machine as the only one: the rows, the samples, and going on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.facts.variant import Variant, WeightPart
from llmsizer.profile import Point, hosts, read_records
from llmsizer.profile import sweep as one_host
from llmsizer.profile.store import read_samples

POINTS = tuple(Point(batch=b, prompt_tokens=4, output_tokens=3) for b in (1, 2))
PARTS = (WeightPart(format="fp16", params=10, bytes=20),)


@pytest.fixture(autouse=True)
def children_find_the_fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]))
    device = DeviceRecord(name="cpu", kind="cpu", cores=2, memory_bytes=1e9)
    monkeypatch.setattr(one_host, "describe_device", lambda: device)


def measured(path: Path, engine: str, names: str = "AB") -> list[ProfileRecord]:
    variants = [
        Variant(path=Path("/x"), model="m", name=n, precision="fp16", method=n, format="openvino-ir", parts=PARTS)
        for n in names
    ]
    return hosts.profile_on_hosts(
        variants, POINTS, records_path=path, cluster=None, repeats=2, engine=f"fake_engines:{engine}"
    )


def test_what_hosts_measure_arrives_with_its_samples_and_is_not_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    found = measured(path, "Quick")
    assert [(r.variant, r.batch, r.status) for r in found] == [(v, b, "ok") for b in (1, 2) for v in ("A", "B")]
    assert read_records(path, ProfileRecord) == (found, [])
    assert all(len(read_samples(path, record)) == 2 for record in found)
    assert len({(r.sweep_id, r.batch) for r in found}) == 2  # the variants of a point were measured in turn
    assert measured(path, "Quick") == []
    assert not list(tmp_path.glob("*.arrived.jsonl"))


def test_two_sweeps_on_one_records_file_keep_what_arrived_apart(tmp_path: Path) -> None:
    asked = {"repeats": 2, "seed": 0}
    path = tmp_path / "records.jsonl"
    first, same, other = (hosts.arrived_file(path, {**asked, "seed": seed}, [], POINTS) for seed in (0, 0, 1))
    assert first == same != other
    assert hosts.arrived_file(path, asked, [], POINTS[:1]) != first
    assert first.parent == path.parent and first.name.endswith(".arrived.jsonl")


def test_a_point_that_failed_on_its_host_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    assert [r.status for r in measured(path, "RefusesBatch2", "A")] == ["ok", "failed"]
    assert [(r.batch, r.status) for r in measured(path, "RefusesBatch2", "A")] == [(2, "failed")]
