"""The page of measurements: nothing yet, many, hostile ones; comparing, importing, and measuring on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("streamlit")
pytest.importorskip("plotly")

from streamlit.testing.v1 import AppTest

import hostile_answers
import measured_by_hand
from dashboard_pages import HOSTILE, show, words_of, write
from dashboard_pages import dashboards as dashboards
from dashboard_pages import measured as measured
from llmsizer.facts.records import ProfileRecord
from llmsizer.profile.store import read_records

fcntl = pytest.importorskip("fcntl")

# Stands in for llmsizer: "measures" what lies in the file that RECORDS_OF_TEST names, once the pipe was read.
PROGRAM = """
import json, os, signal, sys
from pathlib import Path
word, *rest = sys.argv[1:]
if word == "model":
    print(json.dumps({"checkpoint": "/models/small"}))
elif word == "quantize":
    print(json.dumps([{"path": "/variants/fp16"}, {"path": "/variants/int4"}]))
elif "fail" in os.environ["DOES_OF_TEST"]:
    print("llmsizer: no engine reads this format", file=sys.stderr); sys.exit(1)
else:
    out = Path(rest[rest.index("--records") + 1])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(Path(os.environ["RECORDS_OF_TEST"]).read_text())
    Path(os.environ["LLMSIZER_PROGRESS_FILE"]).write_text('{"what": "measuring int4", "fraction": 0.5}')
    if "hang" in os.environ["DOES_OF_TEST"]:
        with open(os.environ["PIPE_OF_TEST"], "w") as pipe:
            pipe.write("ready")
        signal.pause()
"""


@pytest.fixture(autouse=True)
def machine(dashboards: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A machine of this test alone, whose llmsizer is the program above."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("LLMSIZER_STORE", raising=False)
    (tmp_path / "program.py").write_text(PROGRAM)
    write(tmp_path / "to-measure", measured_by_hand.profiles())
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setenv("RECORDS_OF_TEST", str(tmp_path / "to-measure"))
    monkeypatch.setenv("PIPE_OF_TEST", str(tmp_path / "pipe"))
    monkeypatch.setenv("DOES_OF_TEST", "measure")
    monkeypatch.setattr("measuring.jobs.PROGRAM", (sys.executable, "-S", str(tmp_path / "program.py")))
    yield
    from measuring import jobs

    for job in jobs.jobs(tmp_path):
        jobs.cancel(job, at_once=True)
    wait(tmp_path)


def wait(folder: Path) -> None:
    """Until this machine's lock is free."""
    lock = folder / "data" / "llmsizer" / "machine.lock"
    if lock.exists():
        handle = os.open(lock, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_SH)
        os.close(handle)


def opened() -> AppTest:
    app = show("profiles")
    assert not app.exception
    return app


def upload(app: AppTest, name: str, content: bytes) -> AppTest:
    app.file_uploader(key="upload").set_value((name, content, "application/octet-stream"))
    app.run()
    assert not app.exception
    return app


def jsonl(*records: ProfileRecord) -> bytes:
    return "".join(record.model_dump_json() + "\n" for record in records).encode()


def test_without_measurements_the_page_says_how_to_get_some_and_offers_an_example(tmp_path: Path) -> None:
    app = opened()
    assert f"There are no measurements in {tmp_path} yet" in words_of(app)
    app.button(key="load_example").click().run()
    assert "They are not from this machine" in words_of(app)
    assert "18 of 18 operating points" in words_of(app)
    app.button(key="leave_example").click().run()
    assert "There are no measurements" in words_of(app)


@pytest.mark.usefixtures("measured")
def test_points_are_filtered_and_one_is_shown_in_full() -> None:
    app = opened()
    assert "7 of 7 operating points" in words_of(app)
    assert "out of memory" in words_of(app)
    app.multiselect(key="filter_variant").set_value(["int4"]).run()
    assert "3 of 7 operating points" in words_of(app)
    app.toggle(key="with_failed").set_value(False).run()
    assert "2 of 7 operating points" in words_of(app)
    app.selectbox(key="one_record").select_index(0).run()
    fields = app.dataframe[-1].value
    assert "device.name" in set(fields["Field"])
    assert "given: what was asked, or a name" in set(fields["How it is known"])
    app.multiselect(key="filter_batch").set_value([64]).run()
    assert "No record passes these filters" in words_of(app)


@pytest.mark.usefixtures("measured")
def test_two_variants_are_compared_in_a_sentence_a_chart_and_a_table() -> None:
    app = opened()
    app.selectbox(key="over").set_value("int4").run()
    app.selectbox(key="under").set_value("fp16").run()
    (chart,) = app.get("plotly_chart")
    assert "int4: times as fast as fp16" in chart.proto.spec
    assert "equally fast" in chart.proto.spec
    assert chart.proto.alt == "How many times as fast int4 is as fp16, by load, with 90 % intervals"
    assert "as fast as fp16 at 1 × 256→64 tokens" in words_of(app)


def test_two_that_share_no_point_are_said_to_share_none(tmp_path: Path) -> None:
    write(tmp_path / "profiles.jsonl", [measured_by_hand.profile("fp16", 1), measured_by_hand.profile("int4", 8)])
    assert "share no operating point" in words_of(opened())


def test_a_torn_line_and_points_without_any_figure_leave_the_rest(tmp_path: Path) -> None:
    bare = measured_by_hand.profile("int4", 1).model_copy(update={
        "ttft_seconds": None, "tpot_seconds": None, "output_tokens_per_second": None, "measured_at": "",
        "process_peak_bytes": None, "unknown": {"tpot_seconds": "the engine streams nothing"},
    })  # fmt: skip
    (tmp_path / "profiles.jsonl").write_bytes(jsonl(measured_by_hand.profile("fp16", 1), bare) + b'{"record_id": "x"\n')
    text = words_of(opened())
    assert "not whole records: 1 lines" in text
    assert "the engine streams nothing" in text
    assert "no date" in text


def test_thousands_of_points_stay_a_page(tmp_path: Path) -> None:
    base = measured_by_hand.profile("fp16", 1)
    many = [base.model_copy(update={"record_id": f"r{i}", "batch": 1 + i}) for i in range(1000)]
    write(tmp_path / "profiles.jsonl", many)
    app = opened()
    assert "1,000 of 1,000 operating points" in words_of(app)
    assert len(app.dataframe[0].value) == 1000


@pytest.mark.usefixtures("measured")
def test_an_upload_is_shown_before_it_is_kept_and_kept_once(tmp_path: Path) -> None:
    new = measured_by_hand.profile("int4", 1).model_copy(update={"record_id": "new", "tpot_seconds": 0.123})
    content = jsonl(measured_by_hand.profile("fp16", 1), new) + b"{torn\n\n[1]\n"
    app = upload(opened(), "from-a-colleague.jsonl", content)
    text = words_of(app)
    assert "2 profile records and 0 quality records in from-a-colleague.jsonl" in text
    assert "2 lines were skipped" in text
    assert "from-a-colleague.jsonl:3: skipped" in text
    assert not (tmp_path / "imported").exists()
    app.button(key="keep_in_folder").click().run()
    assert "1 records are new and kept in" in str(app.success[0].value).replace("\\", "")
    app.button(key="keep_in_folder").click().run()
    assert "0 records are new" in str(app.success[0].value)
    found, _ = read_records(tmp_path / "imported" / "profiles.jsonl", ProfileRecord)
    assert [r.record_id for r in found] == ["new"]


def test_an_upload_can_go_into_the_store_and_be_looked_at_there() -> None:
    pytest.importorskip("sqlalchemy")
    app = upload(opened(), "r.jsonl", jsonl(*measured_by_hand.profiles()))
    app.button(key="keep_in_store").click().run()
    assert "7 records are new and kept in" in str(app.success[0].value).replace("\\", "")
    app.session_state["source"] = "store"
    app.run()
    assert not app.exception
    assert "7 of 7 operating points" in words_of(app)


def test_what_another_benchmark_wrote_is_recognised_and_names_its_file(tmp_path: Path) -> None:
    sample = Path(__file__).parent / "samples" / "exchange" / "vllm_serve.json"
    app = upload(opened(), "../nightly run.json", sample.read_bytes())
    assert "1 profile records and 0 quality records in ../nightly run.json" in words_of(app)
    app.button(key="keep_in_folder").click().run()
    (record,), _ = read_records(tmp_path / "imported" / "profiles.jsonl", ProfileRecord)
    assert record.origin is not None
    assert record.origin.file == "nightly_run.json"
    assert "1 of 1 operating points" in words_of(opened())


HOSTILE_UPLOADS = {
    "empty.jsonl": (b"", "empty.jsonl: no records"),
    "binary.jsonl": (b"\xff\xfe\x00" * 50, "binary.jsonl: not readable"),
    "deep.json": (b"[" * 100_000, "deep.json: no records"),
    "../../etc/passwd.jsonl": (b'{"a": 1}\n', "no records"),
    "<script>$x$.jsonl": (b"{}", "<script>$x$.jsonl: no records"),
    "not.parquet": (b"PAR1 nothing of that", "not.parquet: "),  # not readable, or needs an extra
}


def test_a_hostile_upload_is_one_sentence_and_writes_nothing(tmp_path: Path) -> None:
    app = opened()
    for name, (content, said) in HOSTILE_UPLOADS.items():
        upload(app, name, content)
        warnings = [str(w.value).replace("\\", "") for w in app.warning]
        assert any(said in warning for warning in warnings), (name, warnings)
        assert not any("/tmp" in warning for warning in warnings)
    assert not (tmp_path / "imported").exists()


def test_hostile_names_in_records_stay_names(tmp_path: Path) -> None:
    write(tmp_path / "profiles.jsonl", hostile_answers.hostile_profiles(HOSTILE))
    app = opened()
    app.selectbox(key="one_record").select_index(0).run()
    shown = [str(e.value) for e in (*app.markdown, *app.caption, *app.info, *app.warning)]
    shown += [str(cell) for table in app.table for row in table.value.to_dict("records") for cell in row.values()]
    assert not [text for text in shown if "<script" in text.replace("\\<", "")]
    assert not [chart for chart in app.get("plotly_chart") if "<script" in chart.proto.spec]


def test_one_click_makes_measures_and_shows_and_the_commands_are_lists(tmp_path: Path) -> None:
    app = opened()
    app.button(key="start_small").click().run()
    assert not app.exception
    wait(tmp_path)
    app = opened()
    text = words_of(app)
    assert "7 of 7 operating points" in text
    assert "Small model, from training to measurement · **done**" in text
    from measuring import jobs, watcher

    (job,) = jobs.jobs(tmp_path)
    assert [step.arguments[0] for step in job.steps] == ["model", "quantize", "profile"]
    assert job.steps[2].arguments[1] == watcher.VARIANTS


def test_a_running_job_is_seen_by_every_browser_after_a_reload_and_keeps_others_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOES_OF_TEST", "hang")
    opened().button(key="start_small").click().run()
    assert (tmp_path / "pipe").read_text() == "ready"
    app = opened()  # another browser
    text = words_of(app)
    assert "Small model, from training to measurement** — running" in text
    assert "so the buttons wait" in text
    assert app.button(key="start_small").disabled
    assert "7 of 7 operating points" in text  # what was measured so far is there already
    app.button(key="cancel").click().run()
    wait(tmp_path)
    text = words_of(opened())
    assert "· **cancelled** ·" in text
    assert "7 of 7 operating points" in text


def test_a_job_that_fails_says_why_in_its_own_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOES_OF_TEST", "fail")
    opened().button(key="start_small").click().run()
    wait(tmp_path)
    text = words_of(opened())
    assert "· **failed** ·" in text
    assert "llmsizer: no engine reads this format" in text


WRONG_PATHS = {
    "": "Choose a folder that was found",
    "/no/such/folder": "no such folder",
    "--out=/etc": "no such folder",
    "; rm -rf /": "no such folder",
    "a\u202eb": "cannot be printed",
    "/tmp/" + "x" * 900: "no folder can be named so",
    "/": "no model in it",
}


def test_only_a_folder_with_a_model_in_it_is_measured(tmp_path: Path) -> None:
    app = opened()
    for path, said in WRONG_PATHS.items():
        app.text_input(key="profile_path").set_value(path)
        app.button(key="FormSubmitter:profile_form-Measure").click().run()
        assert any(said in str(w.value).replace("\\", "") for w in app.warning), (path, [w.value for w in app.warning])
    assert not (tmp_path / "jobs").exists()


def test_folders_found_below_the_output_are_offered_and_links_are_not_followed(tmp_path: Path) -> None:
    for name in ("models/a", "variants/b/int4", ".hidden/c", "1/2/3/4/5"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "variants/b/int4/llmsizer_manifest.json").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "models")
    app = opened()
    assert app.multiselect(key="profile_folders").options == ["models/a", "variants/b/int4"]
    assert app.selectbox(key="quantize_folder").options == ["models/a"]
    app.multiselect(key="profile_folders").set_value(["models/a", "variants/b/int4"])
    app.button(key="FormSubmitter:profile_form-Measure").click().run()
    wait(tmp_path)
    from measuring import jobs

    (job,) = jobs.jobs(tmp_path)
    assert job.steps[0].arguments[:3] == ("profile", str(tmp_path / "models/a"), str(tmp_path / "variants/b/int4"))


def test_where_a_login_is_configured_only_those_logged_in_may_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    from measuring import starting

    monkeypatch.setattr("login.is_configured", lambda: True)
    monkeypatch.setattr("login.require", lambda: None)
    app = opened()
    assert "Log in to measure on this machine" in words_of(app)
    assert not [b for b in app.button if b.key == "start_small"]
    assert not starting._may_measure()
