"""The same questions over HTTP and MCP: the same answers as on the command line, and refusals in one sentence."""

from __future__ import annotations

import argparse
import json
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import measured_by_hand

pytest.importorskip("fastapi")
pytest.importorskip("mcp")

import anyio
import schemathesis
from hypothesis import HealthCheck, given, settings
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from starlette.testclient import TestClient

from llmsizer.cli import main
from llmsizer.cli.decide.planning import read_evidence
from llmsizer.cli.serve import remote
from llmsizer.errors import InputError
from llmsizer.facts.record_parts import Load
from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.physics.answers.predict import predict_rows
from llmsizer.profile.store import append_record, read_records
from llmsizer.remote.guard import Guard, Limits, limits_for
from llmsizer.remote.mcp_server import mcp_server
from llmsizer.remote.operations import OPERATIONS, AddedDoc, Backing
from llmsizer.remote.rest import rest_app

LOCAL = "http://127.0.0.1"
EXAMPLE = read_records(Path(__file__).parent.parent / "dashboards/example/profiles.jsonl", ProfileRecord)[0]
TOKEN = "a-token-of-enough-characters"
MEMORY = {"model": "llama-3.1-8b", "gpu": "h100"}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(rest_app(Backing(), Limits(requests_per_minute=1e6)), base_url=LOCAL) as found:
        yield found


SMALL = {  # one card, one format: an answer in a fraction of a second
    "model": "llama-3.1-8b",
    "workload": {"preset": "chat", "requests_per_second": 1.0},
    "constraints": {"gpus": ["l40s"], "precisions": ["bf16"], "api": False},
}


def printed(capsys: pytest.CaptureFixture[str], *command: str) -> Any:
    assert main([*command, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def with_mcp(ask: Callable[[Client], Any], backing: Backing | None = None) -> Any:
    async def run() -> Any:
        async with Client(mcp_server(backing or Backing())) as found:
            return await ask(found)

    return anyio.run(run)


def test_rest_mcp_and_the_command_line_give_one_answer_of_memory(
    client: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    from_line = printed(capsys, "memory", "llama-3.1-8b", "--gpu", "h100")
    assert client.post("/v1/memory", json=MEMORY).json() == from_line
    assert with_mcp(lambda c: c.call_tool("memory", MEMORY)).structured_content == from_line


def test_rest_and_the_command_line_give_one_answer_to_a_scenario(
    client: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = printed(capsys, "plan", "eu-chat")
    brief = client.post("/v1/plan", json={"scenario": "eu-chat", "at_most": 3, "with_comparison": True}).json()
    assert brief["sentence"] == whole["sentence"]
    assert brief["plans"] == whole["plans"][:3]
    assert brief["uncertainty"] == whole["uncertainty"]
    assert brief["comparison"] == whole["comparison"]
    assert brief["left_off"]["plans"] == len(whole["plans"]) - 3
    assert brief["left_off"]["rejections"] == len(whole["rejections"]) - 3


def test_predictions_are_those_of_the_library(client: TestClient) -> None:
    rows = [{"model": "llama-3.1-8b", "gpu": "H100"}, {"model": "nobody-knows-it", "gpu": "H100"}]
    found = client.post("/v1/predict", json={"rows": rows}).json()["rows"]
    assert found == predict_rows(rows)
    assert found[1]["abstained"]


def test_records_in_the_store_calibrate_and_so_do_those_that_come_later(tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    h100 = {"device": DeviceRecord(name="h100", kind="gpu"), "engine": "vllm", "method": "fp16"}
    measured = [record.model_copy(update=h100) for record in EXAMPLE]
    file, store = tmp_path / "r.jsonl", str(tmp_path / "store.sqlite")
    append_record(file, measured[0].model_copy(update={"load": Load(pattern="closed", concurrency=1)}))
    assert main(["records", "import", str(file), "--store", store]) == 0
    rows = [{"model": "llama-3.1-8b", "gpu": "H100"}]
    backing = remote._backing(argparse.Namespace(store=store, records=None, quality=None))
    with TestClient(rest_app(backing, Limits()), base_url=LOCAL) as found:
        # a point of load alone tells nothing of a step's time
        assert found.post("/v1/predict", json={"rows": rows}).json()["rows"] == predict_rows(rows)
        sent = {"records": [record.model_dump(mode="json") for record in measured]}
        assert found.post("/v1/add_records", json=sent).json()["new"] == len(measured)
        calibrated = found.post("/v1/predict", json={"rows": rows}).json()["rows"]
    assert calibrated == predict_rows(rows, calibration=read_evidence(store, None).calibration) != predict_rows(rows)
    assert backing.own() is backing.own()  # worked out once


def test_a_store_whose_records_calibrate_nothing_answers_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sqlalchemy")
    unknown = {"device": DeviceRecord(name="a card that nobody knows", kind="gpu")}
    file, store = tmp_path / "r.jsonl", str(tmp_path / "store.sqlite")
    append_record(file, EXAMPLE[0].model_copy(update=unknown))
    assert main(["records", "import", str(file), "--store", store]) == 0
    backing = remote._backing(argparse.Namespace(store=store, records=None, quality=None))
    assert backing.own().calibration is None
    assert "no record in it calibrates" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("memory", {"model": "llama-3.1-8b", "gpu": "h1000"}, 404, "did you mean h100"),
        ("memory", {"model": "/etc/passwd", "gpu": "h100"}, 404, "no model named"),
        ("memory", {"model": "somebody/some-hub-id", "gpu": "h100"}, 404, "no model named"),
        ("memory", {"model": "llama-3.1-8b"}, 422, "gpu"),
        ("memory", {**MEMORY, "context_tokens": "many"}, 422, "context_tokens"),
        ("plan", {"scenario": "../../etc/passwd"}, 404, "no scenario named"),
        ("plan", {"scenario": {"model": "x" * 10_000, "workload": {}}}, 422, "workload"),
        ("add_records", {"records": []}, 422, "records"),
    ],
)
def test_a_mistake_is_answered_with_what_would_work(
    client: TestClient, path: str, body: dict[str, Any], status: int, says: str
) -> None:
    reply = client.post(f"/v1/{path}", json=body)
    assert reply.status_code == status
    assert says in reply.text


def test_a_scenario_from_afar_cannot_read_files_of_this_machine(client: TestClient, tmp_path: Path) -> None:
    lengths = tmp_path / "lengths.txt"
    lengths.write_text("10\n20\n")
    workload = {"preset": "chat", "prompt": {"kind": "empirical", "file": str(lengths)}, "requests_per_second": 1}
    reply = client.post("/v1/plan", json={"scenario": {"model": "llama-3.1-8b", "workload": workload}})
    assert (reply.status_code, "from afar" in reply.text) == (400, True)


def test_numbers_that_json_does_not_know_and_broken_bodies_are_no_server_error(client: TestClient) -> None:
    head = {"content-type": "application/json"}
    for body in (b"", b"{", b"\xff\xfe", b'{"concurrency": NaN}', b"[" * 5000, b'{"concurrency": 1e999}', b"null"):
        assert 400 <= client.post("/v1/memory", content=body, headers=head).status_code < 500


def test_fuzzing_by_the_published_schema_finds_no_server_error() -> None:
    app = rest_app(Backing(), Limits(requests_per_minute=1e9, allowed_hosts=()))
    with TestClient(app, base_url=LOCAL) as found:
        schema = schemathesis.openapi.from_dict(found.get("/openapi.json").json())
        for operation in schema.get_all_operations():
            case_of = operation.ok().as_strategy()

            @settings(max_examples=12, database=None, deadline=None, suppress_health_check=list(HealthCheck))
            @given(case=case_of)
            def holds(case: Any) -> None:
                sent = case.as_transport_kwargs(base_url=LOCAL)
                sent.pop("cookies", None)
                assert found.request(**sent).status_code < 500

            holds()


def test_records_are_listed_and_kept_all_or_none(client: TestClient) -> None:
    held = list(measured_by_hand.profiles())

    def keep(records: Any) -> AddedDoc:
        held.extend(records)
        return {"new": len(records), "known": 0}

    backing = Backing(records=lambda: held, keep=keep)
    with TestClient(rest_app(backing, Limits()), base_url=LOCAL) as found:
        before = len(held)
        good = held[0].model_dump(mode="json")
        assert found.post("/v1/add_records", json={"records": [good, {"record_id": "half"}]}).status_code == 422
        assert len(held) == before
        assert found.post("/v1/add_records", json={"records": [good]}).json() == {"new": 1, "known": 0}
        listed = found.get("/v1/records", params={"variant": held[0].variant, "limit": 1}).json()
        assert listed["records"][0]["variant"] == held[0].variant
        assert listed["left_off"] == sum(r.variant == held[0].variant for r in held) - 1
    refused = client.post("/v1/add_records", json={"records": [good]})
    assert (refused.status_code, "--store" in refused.text) == (400, True)


def test_others_need_a_token_and_it_is_compared_whole() -> None:
    with TestClient(rest_app(Backing(), limits_for("0.0.0.0", TOKEN)), base_url="http://gpu-box") as found:
        assert found.get("/health").status_code == 200
        for header in (
            {},
            {"authorization": "Bearer "},
            {"authorization": f"Bearer {TOKEN[:-1]}"},
            {"authorization": TOKEN},
        ):
            assert found.get("/v1/catalog", headers=header).status_code == 401
            assert found.post("/mcp", headers=header, json={}).status_code == 401
        assert found.get("/v1/catalog", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_a_server_that_others_reach_does_not_start_without_a_token() -> None:
    with pytest.raises(InputError, match="--token-file"):
        limits_for("0.0.0.0", None)
    with pytest.raises(InputError, match="characters"):
        limits_for("0.0.0.0", "short")
    assert TOKEN not in repr(limits_for("0.0.0.0", TOKEN))


def test_an_address_or_a_certificate_that_cannot_be_used_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no key at all")
    files = ["--tls-certificate", str(broken), "--tls-key", str(broken)]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = ["--port", str(taken.getsockname()[1])]
        for more, says in (([], "cannot be served"), (files, "no certificate with its key"), (files[:2], "needs both")):
            assert main(["serve", *port, *more]) == 1
            error = capsys.readouterr().err
            assert says in error
            assert error.count("\n") == 1


def test_a_local_server_answers_to_its_own_names_only(client: TestClient) -> None:
    assert client.get("/health", headers={"host": "evil.example"}).status_code == 400
    for host in ("localhost:8642", "127.0.0.1", "[::1]:8642"):
        assert client.get("/health", headers={"host": host}).status_code == 200


def test_too_much_and_too_often_are_refused() -> None:
    now = [0.0]
    app = Guard(rest_app(Backing(), Limits()), Limits(requests_per_minute=3, body_bytes=100), clock=lambda: now[0])
    with TestClient(app, base_url=LOCAL) as found:
        assert found.post("/v1/memory", content=b"x" * 101).status_code == 413
        assert found.post("/v1/memory", content=(b"x" * 60 for _ in range(3))).status_code == 413  # no length stated
        assert found.get("/health").status_code == 200
        assert found.get("/health").status_code == 429
        now[0] += 20.0  # a third of a minute: one more
        assert [found.get("/health").status_code for _ in range(2)] == [200, 429]


def test_a_question_sent_drop_by_drop_gives_its_place_back() -> None:
    answered: list[int] = []

    async def never_done() -> dict[str, Any]:
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Any) -> None:
        answered.extend([message["status"]] if "status" in message else [])

    guard = Guard(rest_app(Backing(), Limits()), Limits(body_seconds=0.01))
    scope = {"type": "http", "method": "POST", "path": "/v1/plan", "headers": [(b"host", b"localhost")]}
    anyio.run(guard, scope, never_done, send)
    assert answered == [408]
    assert guard._asking == 0


def test_no_page_of_another_site_asks_through_the_users_browser(client: TestClient) -> None:
    for origin in ("http://evil.example", "https://127.0.0.1.evil.example", "null"):
        assert client.get("/v1/catalog", headers={"origin": origin}).status_code == 403
        assert client.post("/mcp", headers={"origin": origin}, json={}).status_code == 403
    assert client.get("/v1/catalog", headers={"origin": "http://localhost:8642"}).status_code == 200


def test_who_asks_while_too_many_wait_is_told_when_to_come_back() -> None:
    seen: list[tuple[int, str | None]] = []

    def keep(_: Any) -> AddedDoc:  # the first question is still being answered while these are asked
        refused = found.post("/v1/memory", json=MEMORY)
        seen.append((refused.status_code, refused.headers.get("retry-after")))
        seen.append((found.get("/health").status_code, None))
        return {"new": 0, "known": 0}

    with TestClient(rest_app(Backing(keep=keep), Limits(questions_at_once=1)), base_url=LOCAL) as found:
        asked = {"records": [measured_by_hand.profiles()[0].model_dump(mode="json")]}
        assert found.post("/v1/add_records", json=asked).status_code == 200
        assert seen == [(503, "5"), (200, None)]
        assert found.post("/v1/memory", json=MEMORY).status_code == 200  # the place is free again


def test_an_assistant_lists_and_calls_each_tool() -> None:
    questions: dict[str, dict[str, Any]] = {
        "catalog": {"kind": "workloads"},
        "memory": MEMORY,
        "plan": {"scenario": SMALL, "at_most": 1},
        "compare": {"scenario": SMALL},
        "predict": {"rows": [{"model": "llama-3.1-8b", "gpu": "H100"}]},
        "records": {"limit": 1},
        "add_records": {"records": [measured_by_hand.profiles()[0].model_dump(mode="json")]},
    }
    kept: list[Any] = []

    def keep(records: Any) -> AddedDoc:
        kept.extend(records)
        return {"new": len(records), "known": 0}

    async def ask(found: Client) -> None:
        tools = {tool.name: tool for tool in (await found.list_tools()).tools}
        assert set(tools) == set(questions) == {operation.name for operation in OPERATIONS}
        for name, question in questions.items():
            result = await found.call_tool(name, question)
            assert not result.is_error, result.content
            assert isinstance(result.structured_content, dict)
        wrong = await found.call_tool("memory", {"model": "llama-3.1-8b", "gpu": "h1000"})
        assert wrong.is_error and "did you mean" in wrong.content[0].text  # type: ignore[union-attr]
        misshapen = await found.call_tool("memory", {"gpu": "h100"})
        assert misshapen.is_error and "model" in misshapen.content[0].text  # type: ignore[union-attr]

    with_mcp(ask, Backing(keep=keep))
    assert len(kept) == 1


def test_the_process_that_an_assistant_starts_answers_over_its_pipes() -> None:
    source = str(Path(__file__).parent.parent / "src")
    process = StdioServerParameters(command=sys.executable, args=["-m", "llmsizer", "mcp"], env={"PYTHONPATH": source})

    async def run() -> list[str]:
        async with Client(stdio_client(process)) as found:
            answer = await found.call_tool("catalog", {"kind": "gpus", "containing": "l40"})
            return list(answer.structured_content["names"])

    assert anyio.run(run) == ["l40", "l40s"]
