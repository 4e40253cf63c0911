"""Long work started from a page: it outlives whoever started it, one at a time, and says truly how it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

DASHBOARDS = Path(__file__).parent.parent / "dashboards"
sys.path.insert(0, str(DASHBOARDS))
from measuring import jobs, watcher  # noqa: E402

sys.path.remove(str(DASHBOARDS))

fcntl = pytest.importorskip("fcntl")

# Stands in for llmsizer: does what its first word says. "ready" and the test meet at a named pipe.
PROGRAM = """
import json, os, signal, sys, time
from pathlib import Path
word, *rest = sys.argv[1:]
if word == "model":
    print(json.dumps({"checkpoint": rest[0]}))
elif word == "say":
    print(json.dumps(rest))
elif word == "quantize":
    print(json.dumps([{"path": p} for p in rest]))
elif word == "fail":
    print("llmsizer: " + rest[0], file=sys.stderr); sys.exit(1)
elif word == "die":
    os.kill(os.getpid(), signal.SIGKILL)
elif word in ("hang", "stubborn"):
    if word == "stubborn":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    Path(os.environ["LLMSIZER_PROGRESS_FILE"]).write_text('{"what": "half way", "fraction": 0.5}')
    Path(rest[0] + ".measured").write_text("a finished point")
    with open(rest[0], "w") as pipe:
        pipe.write(str(os.getpid()))
    for _ in range(6000):  # a signal between two of these is seen by the next; before signal.pause() it would be lost
        time.sleep(0.1)
"""


@pytest.fixture(autouse=True)
def own_lock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The machine's lock of this test alone; what still runs at its end is ended."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    yield
    for job in jobs.jobs(tmp_path):
        jobs.cancel(job, at_once=True)
    if (tmp_path / "data").exists():
        wait()


@pytest.fixture
def program(tmp_path: Path) -> tuple[str, ...]:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM, encoding="utf-8")
    return sys.executable, "-S", str(script)


def wait() -> None:
    """Until the machine is free: the lock is let go of when the last process of a job ends."""
    handle = os.open(jobs._lock_file(), os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_SH)
    os.close(handle)


def step(*arguments: str) -> jobs.Step:
    return jobs.Step(title=arguments[0], arguments=arguments)


def hanging(tmp_path: Path, program: tuple[str, ...], word: str = "hang") -> tuple[jobs.Job, int]:
    """A job whose command has begun and will not end by itself, and the command's process."""
    pipe = tmp_path / "ready"
    os.mkfifo(pipe)
    folder = jobs.start(tmp_path, "profile x", [step(word, str(pipe)), step("say")], program=program)
    return jobs.read(folder), int(pipe.read_text())


def test_the_commands_of_a_job_run_in_order_and_pass_on_the_folders_they_made(
    tmp_path: Path, program: tuple[str, ...]
) -> None:
    steps = [
        step("model", str(tmp_path / "m")),
        step("quantize", str(tmp_path / "a"), str(tmp_path / "b")),
        step("say", watcher.CHECKPOINT, "--x", watcher.VARIANTS),
    ]
    folder = jobs.start(tmp_path, "all", steps, program=program)
    wait()
    job = jobs.read(folder)
    assert (job.state, job.fraction, job.step, job.message) == ("done", 1.0, 2, "")
    assert json.loads((folder / "step-3.json").read_text()) == [
        str(tmp_path / "m"), "--x", str(tmp_path / "a"), str(tmp_path / "b"),
    ]  # fmt: skip


def test_arguments_reach_the_command_as_they_are_without_a_shell(tmp_path: Path, program: tuple[str, ...]) -> None:
    hostile = "$(touch pwned); `id` \n --out /etc 'x' \u202e"
    folder = jobs.start(tmp_path, hostile, [step("say", hostile)], program=program)
    wait()
    assert json.loads((folder / "step-1.json").read_text()) == [hostile]
    assert jobs.read(folder).title == hostile
    assert not (tmp_path / "pwned").exists()


def test_a_command_that_fails_ends_the_job_with_its_own_sentence(tmp_path: Path, program: tuple[str, ...]) -> None:
    folder = jobs.start(tmp_path, "bad", [step("fail", "no such model"), step("say")], program=program)
    wait()
    job = jobs.read(folder)
    assert (job.state, job.step, job.message) == ("failed", 0, "llmsizer: no such model")
    assert not (folder / "step-2.json").exists()
    assert "no such model" in jobs.log_tail(job)


def test_a_command_that_the_system_kills_is_said_to_be_killed(tmp_path: Path, program: tuple[str, ...]) -> None:
    folder = jobs.start(tmp_path, "big", [step("die")], program=program)
    wait()
    assert "SIGKILL" in jobs.read(folder).message
    assert "too much memory" in jobs.read(folder).message


def test_what_no_earlier_command_made_is_not_passed_on(tmp_path: Path, program: tuple[str, ...]) -> None:
    folder = jobs.start(tmp_path, "x", [step("say", watcher.VARIANTS)], program=program)
    wait()
    assert (jobs.read(folder).state, jobs.read(folder).message) == ("failed", "no earlier command made @variants")


def test_a_running_job_says_how_far_it_is_and_keeps_every_other_from_this_machine(
    tmp_path: Path, program: tuple[str, ...]
) -> None:
    job, _ = hanging(tmp_path, program)
    now = jobs.read(job.folder)
    assert (now.state, now.what, now.fraction) == ("running", "half way", 0.25)  # half of the first of two
    assert jobs.busy_with() == (job.folder, "profile x")
    with pytest.raises(jobs.Busy, match="busy with 'profile x'"):
        jobs.start(tmp_path / "elsewhere", "second", [step("say")], program=program)
    assert [j.title for j in jobs.jobs(tmp_path)] == ["profile x"]
    assert jobs.jobs(tmp_path / "elsewhere") == []


def test_a_cancelled_job_ends_in_order_and_keeps_what_it_finished(tmp_path: Path, program: tuple[str, ...]) -> None:
    job, _ = hanging(tmp_path, program)
    jobs.cancel(job)
    wait()
    assert jobs.read(job.folder).state == "cancelled"
    assert not (job.folder / "step-2.json").exists()
    assert (tmp_path / "ready.measured").read_text() == "a finished point"
    assert jobs.busy_with() is None


def test_a_job_that_does_not_listen_can_be_ended_at_once(tmp_path: Path, program: tuple[str, ...]) -> None:
    job, _ = hanging(tmp_path, program, "stubborn")
    jobs.cancel(job)
    assert jobs.read(job.folder).state == "stopping"
    jobs.cancel(job, at_once=True)
    wait()
    assert jobs.read(job.folder).state == "cancelled"


def test_a_job_killed_with_its_watcher_is_called_lost_and_the_machine_is_free(
    tmp_path: Path, program: tuple[str, ...]
) -> None:
    job, _ = hanging(tmp_path, program)
    os.killpg(int((job.folder / "pid").read_text()), signal.SIGKILL)
    wait()
    assert jobs.read(job.folder).state == "lost"
    again = jobs.start(tmp_path, "again", [step("say")], program=program)
    wait()
    assert jobs.read(again).state == "done"
    assert [j.title for j in jobs.jobs(tmp_path)] == ["again", "profile x"]


def test_a_command_whose_watcher_was_killed_still_holds_the_machine_and_can_be_cancelled(
    tmp_path: Path, program: tuple[str, ...]
) -> None:
    job, _ = hanging(tmp_path, program)
    os.kill(int((job.folder / "pid").read_text()), signal.SIGKILL)
    assert jobs.read(job.folder).state == "running"
    jobs.cancel(job)
    wait()
    assert jobs.read(job.folder).state == "cancelled"


def test_a_job_outlives_the_server_that_started_it_and_another_server_sees_it(
    tmp_path: Path, program: tuple[str, ...]
) -> None:
    pipe = tmp_path / "ready"
    os.mkfifo(pipe)
    server = (
        f"import sys, os; sys.path.insert(0, {str(DASHBOARDS)!r}); "
        f"from pathlib import Path; from measuring import jobs; "
        f"jobs.start(Path({str(tmp_path)!r}), 'long', [jobs.Step(title='t', arguments=('hang', {str(pipe)!r}))], "
        f"program={program!r}); os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", server], check=False, timeout=600)
    assert ended.returncode == -signal.SIGKILL
    assert pipe.read_text()
    (job,) = jobs.jobs(tmp_path)
    assert (job.state, job.title) == ("running", "long")
    jobs.cancel(job)
    wait()
    assert jobs.read(job.folder).state == "cancelled"


def test_a_job_that_ended_is_not_signalled_again(tmp_path: Path, program: tuple[str, ...]) -> None:
    folder = jobs.start(tmp_path, "x", [step("say")], program=program)
    wait()
    (folder / "pid").write_text(str(os.getpid()))  # the number may be anybody's by now
    jobs.cancel(jobs.read(folder), at_once=True)
    assert jobs.read(folder).state == "done"


def test_torn_and_foreign_files_are_no_jobs_and_break_nothing(tmp_path: Path) -> None:
    for name, content in {"a": "{", "b": "[1]", "c": '{"steps": []}'}.items():
        (tmp_path / "jobs" / name).mkdir(parents=True)
        (tmp_path / "jobs" / name / "job.json").write_text(content)
    (tmp_path / "jobs" / "d").mkdir()
    (tmp_path / "jobs" / "e").symlink_to(tmp_path / "jobs" / "a")
    assert [job.state for job in jobs.jobs(tmp_path)] == ["lost"] * 3


def test_where_no_job_can_be_kept_it_is_said(tmp_path: Path, program: tuple[str, ...]) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(jobs.InputError, match="no job can be kept here"):
        jobs.start(file, "x", [step("say")], program=program)
    with pytest.raises(jobs.InputError, match="zero byte"):
        jobs.start(tmp_path, "x", [step("say", "a\0b")], program=program)
    assert jobs.busy_with() is None
