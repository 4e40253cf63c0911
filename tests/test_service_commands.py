"""``simulate``, ``capacity`` and ``sweep`` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("numba")

from llmsizer import installed
from llmsizer.cli import main
from llmsizer.errors import MissingExtraError

Capture = pytest.CaptureFixture[str]
FLEET = ("--gpu", "l4", "--weights", "int4", "--tp", "4")


def run(capsys: Capture, *argv: str) -> tuple[int, str, str]:
    try:
        code = main(list(argv))
    except SystemExit as stop:
        code = int(str(stop.code or 0))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_simulate_prints_latencies_the_verdict_and_the_closed_form_beside(capsys: Capture) -> None:
    code, out, _ = run(capsys, "simulate", "eu-chat", *FLEET, "--replications", "2")
    assert code == 0
    for expected in ("STABLE", "simulated; step times calibrated", "TTFT", "p99", "goodput", "closed form", "off"):
        assert expected in out, expected
    assert "measured on" not in out


def test_simulate_as_json_is_one_document_whose_numbers_know_their_basis(capsys: Capture) -> None:
    code, out, _ = run(capsys, "simulate", "eu-chat", *FLEET, "--replications", "2", "--replicas", "3", "--json")
    document = json.loads(out)
    assert (code, document["replicas"], document["service"]["replicas"]) == (0, 3, 3)
    assert {row["p50"]["basis"] for row in document["service"]["latencies"]} == {"simulated"}
    assert document["closed_form"]["verdict"] == "STABLE"
    assert document["closed_form"]["requests_per_second"] == pytest.approx(
        document["service"]["requests_per_second"] / 3
    )


def test_simulate_reports_no_latency_where_overloaded(capsys: Capture) -> None:
    code, out, _ = run(capsys, "simulate", "eu-chat", *FLEET, "--rate", "100", "--hours", "0.1", "--replications", "2")
    assert code == 0
    assert "OVERLOADED" in out and "p95" not in out


def test_simulate_replays_a_trace_and_names_its_columns(capsys: Capture, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("ts,in,out\n" + "".join(f"{5 * i},400,50\n" for i in range(200)))
    columns = ("--columns", "arrival=ts,prompt_tokens=in,output_tokens=out")
    code, out, _ = run(capsys, "simulate", "eu-chat", *FLEET, "--trace", str(log), *columns, "--json")
    document = json.loads(out)
    assert (code, document["service"]["requests"]) == (0, 200)
    assert document["closed_form"]["requests_per_second"] == pytest.approx(0.2 / document["replicas"])


HEAD = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEAD + "5,100,10\n1,100,10\n", "sort the requests by arrival"),
        (HEAD, "holds no requests"),
        (HEAD + "0,100,10\nnan,100,10\n", "give a finite time"),
        (HEAD + "0,100,10\n1,nan,10\n", "give a whole number"),
        (HEAD + "0,900000000,10\n1,100,10\n", "tokens of context"),
        (HEAD + "0,40000,10\n1,100,10\n", "more than the KV cache's"),
    ],
)
def test_a_trace_that_cannot_be_replayed_is_one_line(capsys: Capture, tmp_path: Path, text: str, says: str) -> None:
    log = tmp_path / "log.csv"
    log.write_text(text)
    code, out, err = run(capsys, "simulate", "eu-chat", *FLEET, "--trace", str(log))
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert says in err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("simulate", "eu-chat", "--gpu", "h1000"), "did you mean"),
        (("simulate", "eu-chat", "--gpu", "l4", "--weights", "bf16"), "does not fit"),
        (("simulate", "eu-chat", "--gpu", "l4", "--weights", "int4", "--tp", "3"), "do not divide by 3"),
        (("simulate", "eu-chat", "--tp", "2"), "needs --gpu and --weights"),
        (("simulate", "eu-chat", *FLEET, "--replicas", "0"), "give 1 to"),
        (("simulate", "eu-chat", *FLEET, "--rate", "nan"), "out of range"),
        (("simulate", "eu-chat", *FLEET, "--hours", "0.001"), "no request arrives"),
        (("simulate", "eu-chat", *FLEET, "--replications", "0"), "give 1 to"),
        (("capacity", "eu-chat", *FLEET, "--growth", "0.5"), "both --growth and --until"),
        (("capacity", "eu-chat", *FLEET, "--growth", "0.5", "--until", "soon"), "not a date"),
        (
            ("capacity", "eu-chat", *FLEET, "--growth", "9", "--until", "2050-01-01"),
            "give less demand or a nearer date",
        ),
        (("sweep", "eu-chat", "--rates", ","), "--rates is empty"),
        (("sweep", "eu-chat", "--workers", "2", "--cluster", "auto"), "give one of them"),
        (("sweep", "eu-chat", "--rates", "1,nan"), "out of range"),
    ],
)
def test_a_mistake_is_one_line(capsys: Capture, argv: tuple[str, ...], says: str) -> None:
    code, out, err = run(capsys, *argv)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert says in err


def test_without_the_extra_the_command_says_which_one(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str, *, what: str, extra: str) -> None:
        raise MissingExtraError(what, extra)

    monkeypatch.setattr("llmsizer.cli.traffic.asked.optional", missing)
    assert installed.optional is not missing
    code, out, err = run(capsys, "simulate", "eu-chat")
    assert (code, out) == (1, "")
    assert "llmsizer[simulate]" in err


def test_capacity_says_what_holds_grows_and_may_fail(capsys: Capture) -> None:
    asked = ("--growth", "0.5", "--until", "2036-01-01", "--replications", "2")
    code, out, _ = run(capsys, "capacity", "eu-chat", *FLEET, *asked)
    assert code == 0
    out = " ".join(out.split())
    for expected in ("one replica holds", "headroom", "one host down", "lasts until", "gpu_repair_hours", "arxiv.org"):
        assert expected in out, expected


def test_a_scenario_edits_the_failure_rate(capsys: Capture, tmp_path: Path) -> None:
    shipped = Path(__file__).parent.parent / "profiles" / "scenarios" / "eu-chat.toml"
    own = tmp_path / "own.toml"
    own.write_text(shipped.read_text() + "\n[assumptions]\n"
                   "gpu_failures_per_year = 0\nhost_failures_per_year = 0\nzone_hours_down_per_year = 0\n")  # fmt: skip
    code, out, _ = run(capsys, "capacity", str(own), *FLEET, "--replications", "2", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["outages"]["failures"]["gpu_failures_per_year"]["value"] == 0
    assert document["outages"]["hours_a_year_beyond"]["value"] == 0
    assert document["losses"][0]["what"] == "one replica down"


def test_an_interrupted_sweep_resumes_from_its_store(capsys: Capture, tmp_path: Path) -> None:
    store = tmp_path / "sweep.jsonl"
    argv = ("sweep", "eu-chat-22b", "--plans", "2", "--seeds", "1", "--rates", "1,2", "--store", str(store), "--json")
    code, first, _ = run(capsys, *argv)
    lines = store.read_text().splitlines(keepends=True)
    store.write_text("".join(lines[:1]) + lines[1][:20])  # torn while it was written
    again_code, again, _ = run(capsys, *argv)
    assert (code, again_code, first) == (0, 0, again)
    _, table, _ = run(capsys, *argv[:-1])
    assert "of the peak" in table and "simulated" in table
