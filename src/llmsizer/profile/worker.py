"""The child that holds one variant in one engine: reads a JSON line, does it, answers with a JSON line.

A process of its own keeps one variant's memory out of another's figure, and turns a crash into a row. An answer may
carry ``parts``: fields of the record by their names (``memory``, ``phases``, ``energy``, ``hardware``, ``kernels``,
``verdict``, ``unknown``) that the row takes over.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from llmsizer.errors import MeasurementError
from llmsizer.facts.variant import Variant
from llmsizer.profile.engines import load_engine
from llmsizer.profile.measure import Backend, Point, prompts_of, take_sample
from llmsizer.profile.memory import PeakMemory, current_memory
from llmsizer.profile.row_parts import merged
from llmsizer.profile.trackers.rapl import Rapl
from llmsizer.profile.trackers.sensor import Sensor, find_sensor
from llmsizer.profile.trackers.watch import idle_watts
from llmsizer.profile.trackers.window import processor_window, visible_device, watched_window

Message = dict[str, Any]
# As torch, the C++ library under OpenVINO and llama.cpp, and the system say it.
OUT_OF_MEMORY = (
    "out of memory",
    "bad_alloc",
    "bad alloc",
    "t allocate memory",
    "cannot allocate",
    "failed to allocate",
)
TELLING = {"memory": "memory_use", "phases": "phases", "hardware": "hardware_state"}  # part → the engine's method
LEAST_USED_BYTES = 64e6  # a context alone takes more
FIRST_WATCHED_RUN = 1_000_000  # no timed run has such a number, so none shares its prompts


class Worker:
    """One loaded engine and what it can be asked."""

    def __init__(self) -> None:
        self._backend: Backend | None = None
        self._sensor: Sensor | None = None
        self._idle_watts: float | None = None
        self._used_before: float | None = None
        self.actions: dict[str, Callable[..., Message]] = {
            "load": self.load,
            "warm": self.warm,
            "measure": self.measure,
        }

    def load(self, engine: str, variant: Message) -> Message:
        self._sensor = find_sensor(visible_device())
        if self._sensor is not None:
            self._idle_watts, self._used_before = idle_watts(self._sensor), self._sensor.used_bytes()
        start = time.perf_counter()
        self._backend = load_engine(engine, Variant.model_validate(variant))
        memory = current_memory()
        return {
            "load_seconds": time.perf_counter() - start,
            "version": self._backend.version,
            "options": self._backend.options,
            "resident_bytes": memory.resident_bytes,
        }

    def warm(self, point: Message, seed: int) -> Message:
        """The whole shape once, untimed: kernels are chosen, buffers grow, and memory is watched meanwhile."""
        backend = self._loaded()
        shape = Point(**point)
        start = time.perf_counter()
        with PeakMemory(getattr(backend, "process_ids", tuple)) as memory:
            take_sample(backend, _prompts(backend, shape, seed, run=0), shape.output_tokens, time.perf_counter)
        seconds = time.perf_counter() - start
        if getattr(backend, "outputs_finite", lambda: True)() is False:
            raise MeasurementError(
                "the engine's output is not finite (NaN or infinite logits); its speed means nothing"
            )
        return {
            "warm_seconds": seconds,
            "parts": merged(told(backend), self._watched(backend, shape, seed)),
            "options": backend.options,  # a shape may have changed them
            "resident_bytes": memory.peak.resident_bytes,
            "anonymous_bytes": memory.peak.anonymous_bytes,
            "allocator_bytes": backend.peak_memory_bytes(),
        }

    def measure(self, point: Message, seed: int, run: int) -> Message:
        backend = self._loaded()
        shape = Point(**point)
        prompts = _prompts(backend, shape, seed, run=run)
        own, others = time.process_time(), busy_seconds()
        started = time.perf_counter()
        sample = take_sample(backend, prompts, shape.output_tokens, time.perf_counter)
        own, others = time.process_time() - own, busy_seconds() - others
        phases = part_of(backend, "phases")  # of this run: those of the warm-up hold its first calls
        return {
            "parts": {"hardware": load_average(), **({"phases": phases} if phases else {})},
            "started_seconds": started,
            "ttft_seconds": sample.ttft_seconds,
            "gaps_seconds": sample.gaps_seconds,
            "foreign_cpu_seconds": max(0.0, others - own),
        }

    def _watched(self, backend: Backend, shape: Point, seed: int) -> Message:
        """Energy, clocks and memory as the device's driver shows them, over a window of its own."""
        sensor, before = self._sensor, self._used_before
        made, all_tokens = shape.batch * shape.output_tokens, shape.work_tokens

        def run(number: int) -> None:
            prompts = _prompts(backend, shape, seed, run=FIRST_WATCHED_RUN + number)
            take_sample(backend, prompts, shape.output_tokens, time.perf_counter)

        used = sensor.used_bytes() if sensor is not None else None
        if sensor is None or (used is not None and before is not None and used - before < LEAST_USED_BYTES):
            return processor_window(Rapl(), run, output_tokens=made, all_tokens=all_tokens)  # nothing else was used
        own = (os.getpid(), *getattr(backend, "process_ids", tuple)())
        parts = watched_window(
            sensor,
            run,
            output_tokens=made,
            all_tokens=all_tokens,
            idle_watts=self._idle_watts,
            own_processes=own,
        )
        memory = {
            "device_used_delta_bytes": None if used is None or before is None else used - before,
            "device_process_bytes": sensor.process_bytes(own),
        }
        return {**parts, "memory": {name: value for name, value in memory.items() if value is not None}}

    def _loaded(self) -> Backend:
        assert self._backend is not None, "load comes first"
        return self._backend


def told(backend: Backend) -> Message:
    """What an engine tells of itself beyond its steps, where it has these methods: parts of the record."""
    parts: Message = {name: part for name in TELLING if (part := part_of(backend, name)) is not None}
    if getattr(backend, "kernels", ()):
        parts["kernels"] = list(getattr(backend, "kernels"))  # noqa: B009 (the protocol does not ask for it)
    return parts


def part_of(backend: Backend, name: str) -> Message | None:
    """One of these parts; None where the engine does not tell."""
    part = getattr(backend, TELLING[name], lambda: None)()
    found: Message | None = None if part is None else part.model_dump(mode="json", exclude_none=True)
    return found


def load_average() -> Message:
    """Of the host over the last minute, where it counts one."""
    return {"load_average": os.getloadavg()[0]} if hasattr(os, "getloadavg") else {}


def _prompts(backend: Backend, point: Point, seed: int, *, run: int) -> Any:
    return prompts_of(point, vocabulary=backend.vocabulary, seed=seed, run=run)


def busy_seconds(stat: str | None = None) -> float:
    """CPU seconds that the whole machine has worked, idle and waiting left out; 0 where nobody counts them."""
    file = Path("/proc/stat")
    if stat is None:
        stat = file.read_text() if file.exists() else ""
    fields = stat.split("\n", 1)[0].split()[1:]
    busy = [int(value) for index, value in enumerate(fields[:8]) if index not in (3, 4)]
    return sum(busy) / float(os.sysconf("SC_CLK_TCK")) if busy else 0.0


def answer(worker: Worker, request: Message) -> Message:
    """Do what a line asks; an error is an answer too."""
    try:
        return {"ok": True, **worker.actions[request.pop("do")](**request)}
    except Exception as error:  # whatever an engine throws becomes the row's reason
        return {"ok": False, "reason": reason_of(error)}


def reason_of(error: Exception) -> str:
    """An engine's complaint in one line: what went wrong, not the line of its source, and memory by its name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith("Exception from ")]
    said = f"{type(error).__name__}: {(telling or lines or [''])[0]}"
    lacks_memory = isinstance(error, MemoryError) or any(word in str(error).lower() for word in OUT_OF_MEMORY)
    return f"{'out of memory: ' if lacks_memory else ''}{said}"[:300]


def serve(requests: TextIO, answers: TextIO) -> None:
    worker = Worker()
    for line in requests:
        answers.write(json.dumps(answer(worker, json.loads(line))) + "\n")
        answers.flush()


def end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, however that one dies; Linux only.

    Elsewhere the end of standard input ends it, but only once the engine's step is over.
    """
    if not sys.platform.startswith("linux"):
        return
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def main() -> None:
    end_with(int(sys.argv[1]))
    # Engines print to standard output as they like; the protocol keeps the real one to itself.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
