"""A sweep over many independent tasks on a process pool or on Ray: the same results as one after the other.

A result is plain JSON and comes back through JSON whether it was computed here, in another process or on another day,
so no path can round it differently. Each finished task is one line on disk, synced: an interrupted sweep resumes with
what is missing. A worker that dies takes nothing with it: what it was doing is done again, each suspect alone, and a
task that kills its worker every time is named. On Ray a lost node is lost workers; its machines need this package in
the same version, and give the same bits where their processors compute alike.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import re
import signal
import socket
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from llmsizer.errors import InputError, LlmSizerError
from llmsizer.installed import optional
from llmsizer.progress import Progress, silent

Argument = TypeVar("Argument")
Json = Mapping[str, Any]
DEFAULT_ATTEMPTS = 3
_KNOCK_SECONDS = 3.0
# How long Ray waits for who listens but does not answer as Ray does, at each of its tries; a user's own setting wins.
_CONNECTION_SECONDS = {
    "RAY_CLIENT_INITIAL_CONNECTION_TIMEOUT_S": "3",
    "RAY_CLIENT_MAX_CONNECTION_TIMEOUT_S": "3",
    "RAY_gcs_server_request_timeout_seconds": "10",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(Generic[Argument]):
    """One piece of work. ``key`` names everything that its result depends on; equal keys mean equal results."""

    key: str
    label: str  # for people
    argument: Argument


def key_of(*parts: object) -> str:
    """A key from parts whose text tells them apart; bytes count whole."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part if isinstance(part, bytes) else repr(part).encode()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()


def sweep(
    work: Callable[[Argument], Json],
    tasks: Sequence[Task[Argument]],
    *,
    store: Path | None = None,
    workers: int = 1,
    cluster: str | None = None,
    attempts: int = DEFAULT_ATTEMPTS,
    needs: Mapping[str, float] | None = None,
    progress: Progress = silent,
) -> list[Json]:
    """The results in the order of the tasks. ``work`` is a module's own function, so that a process can find it.

    ``cluster``: the address of a running Ray cluster ("auto", "ray://host:10001"), used instead of ``workers``.
    ``needs``: what Ray sets aside for each task, e.g. ``{"GPU": 1}``; left out: one CPU.
    Raises LlmSizerError as ``work`` does, and where a task loses its worker ``attempts`` times.
    """
    if workers < 1 or attempts < 1:
        raise InputError(f"{workers} workers and {attempts} attempts; give 1 or more of both")
    done = _read(store) if store else {}
    unique = {task.key: task for task in tasks}
    todo = [task for key, task in unique.items() if key not in done]
    if cluster is not None:
        results = _on_ray(work, todo, cluster, attempts, needs or {})
    else:
        results = _one_by_one(work, todo) if workers == 1 else _pooled(work, todo, workers, attempts)
    progress("sweeping", (len(unique) - len(todo)) / max(1, len(unique)))
    with contextlib.closing(results):
        for task, text in results:
            done[task.key] = json.loads(text)
            if store:
                _append(store, task, text)
            finished = sum(key in done for key in unique)
            progress(f"sweeping: {task.label}", finished / len(unique))
    return [done[task.key] for task in tasks]


Results = Generator[tuple[Task[Argument], str], None, None]


def _one_by_one(work: Callable[[Argument], Json], todo: Sequence[Task[Argument]]) -> Results[Argument]:
    for task in todo:
        yield task, _believed(task, _guarded(work, task.argument))


def _guarded(work: Callable[[Argument], Json], argument: Argument) -> tuple[str, str]:
    """The result, or the one line of a mistake: an exception of ours need not survive the way between processes."""
    try:
        return json.dumps(work(argument), sort_keys=True, allow_nan=False), ""
    except LlmSizerError as error:
        return "", str(error) or type(error).__name__


def _believed(task: Task[Argument], outcome: tuple[str, str]) -> str:
    text, mistake = outcome
    if mistake:
        raise LlmSizerError(f"{task.label}: {mistake}")
    return text


def _start_worker() -> None:
    # Ctrl-C reaches the whole terminal: the parent decides what becomes of the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Fresh processes: a fork would copy whatever threads and compiled code this process holds."""
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _pooled(
    work: Callable[[Argument], Json], todo: Sequence[Task[Argument]], workers: int, attempts: int
) -> Results[Argument]:
    """Results as they come. A broken pool is replaced; what was running in it is tried again alone."""
    queue, suspects = list(reversed(todo)), list[Task[Argument]]()
    losses: dict[str, int] = {}
    while queue or suspects:
        alone = bool(suspects)
        source = suspects if alone else queue
        running: dict[Future[tuple[str, str]], Task[Argument]] = {}
        with _pool(1 if alone else min(workers, len(source))) as pool:
            try:
                while source or running:
                    # No more than run at once: those in flight when a worker dies are the only suspects.
                    while source and len(running) < (1 if alone else workers):
                        running[pool.submit(_guarded, work, source[-1].argument)] = source[-1]
                        source.pop()  # only now: a pool that broke meanwhile takes no task
                    finished, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        outcome = future.result()
                        task = running.pop(future)
                        yield task, _believed(task, outcome)
            except BrokenProcessPool:
                lost = list(running.values())
                if alone and lost:
                    _count_loss(lost[0], losses, attempts)
                suspects.extend(lost)


def _on_ray(
    work: Callable[[Argument], Json],
    todo: Sequence[Task[Argument]],
    address: str,
    attempts: int,
    needs: Mapping[str, float],
) -> Results[Argument]:
    """Results as they come. Each task has a worker of its own: who is lost with it is no question."""
    with _ray(address) as ray:
        # Retries are counted here, so that a task that kills its workers is named and not tried for ever.
        own = {name: amount for name, amount in needs.items() if name not in ("CPU", "GPU")}
        remote = ray.remote(_guarded).options(
            max_retries=0, num_cpus=needs.get("CPU", 1), num_gpus=needs.get("GPU", 0), resources=own
        )
        at_once = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))  # the next ones wait on their nodes
        queue, running = list(reversed(todo)), dict[Any, Task[Argument]]()
        losses: dict[str, int] = {}
        while queue or running:
            while queue and len(running) < at_once:
                task = queue.pop()
                running[remote.remote(work, task.argument)] = task
            (finished, *_), _ = ray.wait(list(running), num_returns=1)
            task = running.pop(finished)
            try:
                outcome = ray.get(finished)
            except ray.exceptions.RayTaskError:
                raise  # a mistake of ours in the work, with its traceback
            except ray.exceptions.RayError:
                _count_loss(task, losses, attempts)
                queue.append(task)
            else:
                yield task, _believed(task, outcome)


@contextlib.contextmanager
def _ray(address: str) -> Iterator[Any]:
    """Ray, connected to a running cluster; a connection made here ends here. Raises InputError, MissingExtraError."""
    for name, seconds in _CONNECTION_SECONDS.items():
        os.environ.setdefault(name, seconds)  # read where ray is imported
    ray = optional("ray", what="a sweep on a cluster", extra="cluster")
    ours = not ray.is_initialized()
    if ours:
        check_address(address)
    try:
        if ours:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise _no_cluster(address, (str(error).strip() or type(error).__name__).splitlines()[0]) from None
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


def check_address(address: str) -> None:
    """Refuse an address where nobody listens in seconds: Ray itself would try for half a minute. Raises InputError."""
    found = re.fullmatch(r"(ray://)?(\[[^\]]+\]|[^:/\s]+)(?::(\d{1,5}))?", address)
    if found is None:
        raise InputError(f"--cluster {address!r} is no address; give auto, ray://host:10001 or host:6379")
    scheme, host, port = found.groups()
    if port is None and scheme is None:
        return  # "auto", "local", or a name that Ray may know
    try:
        with socket.create_connection((host.strip("[]"), int(port or 10001)), timeout=_KNOCK_SECONDS):
            return
    except (OSError, OverflowError, UnicodeError) as error:
        raise _no_cluster(address, getattr(error, "strerror", None) or str(error) or type(error).__name__) from None


def _no_cluster(address: str, said: str) -> InputError:
    return InputError(
        f"no Ray cluster at {address!r} ({said}); start one with: ray start --head, or leave out --cluster"
    )


def _count_loss(task: Task[Any], losses: dict[str, int], attempts: int) -> None:
    """One more worker that died of this task, or with it."""
    losses[task.key] = losses.get(task.key, 0) + 1
    if losses[task.key] >= attempts:
        raise LlmSizerError(
            f"{task.label}: its process died {attempts} times (out of memory, or a script without a main guard?); "
            "leave it out or run it alone"
        )


def _read(store: Path) -> dict[str, Json]:
    """Whole lines of earlier sweeps; a torn one is computed again."""
    try:
        lines = store.read_text(encoding="utf-8", errors="replace").splitlines() if store.exists() else []
    except OSError as error:
        raise InputError(f"{store}: cannot be read ({error.strerror}); give another file") from None
    done: dict[str, Json] = {}
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, KeyError):
            entry = json.loads(line)
            if isinstance(entry["result"], dict):
                done[str(entry["key"])] = entry["result"]
    return done


def _append(store: Path, task: Task[Any], text: str) -> None:
    """One line, on the disk before the sweep goes on."""
    line = f'{{"key": {json.dumps(task.key)}, "label": {json.dumps(task.label)}, "result": {text}}}\n'
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        with store.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                torn = file.read(1) != b"\n"
                line = "\n" + line if torn else line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f"{store}: cannot be written ({error.strerror}); give another file") from None
