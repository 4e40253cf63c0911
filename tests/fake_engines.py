"""Engines for the profiler's tests: they answer at once, or break in the ways that engines break."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from llmsizer.facts.record_parts import MemoryUse
from llmsizer.facts.variant import Variant
from llmsizer.profile.measure import Tokens


class Quick:
    """Answers as many tokens as asked."""

    version = "1"
    vocabulary = 100

    def __init__(self, variant: Variant) -> None:
        sys.stdout.write("engines print to standard output as they like\n")
        self.options = {"arithmetic": "none"}

    def steps(self, prompts: Tokens, output_tokens: int) -> Iterator[None]:
        yield from [None] * output_tokens

    def peak_memory_bytes(self) -> float | None:
        return 123.0


class DiesAtBatch2(Quick):
    def steps(self, prompts: Tokens, output_tokens: int) -> Iterator[None]:
        if prompts.shape[0] == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().steps(prompts, output_tokens)


class DiesOnceInRun3(Quick):
    """The first of its lives ends in the third run after the warm-up."""

    def __init__(self, variant: Variant) -> None:
        super().__init__(variant)
        file = Path(os.environ["LIFETIMES"])
        self.is_first, self.calls = not file.exists(), 0
        file.touch()

    def steps(self, prompts: Tokens, output_tokens: int) -> Iterator[None]:
        self.calls += 1
        if self.is_first and self.calls == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().steps(prompts, output_tokens)


class RefusesBatch2(Quick):
    def steps(self, prompts: Tokens, output_tokens: int) -> Iterator[None]:
        if prompts.shape[0] == 2:
            raise MemoryError("cannot allocate\nlong story")
        return super().steps(prompts, output_tokens)


class ExitsAtLoad(Quick):
    def __init__(self, variant: Variant) -> None:
        sys.stderr.write("library not found\n")
        sys.exit(3)


class Hangs(Quick):
    def steps(self, prompts: Tokens, output_tokens: int) -> Iterator[None]:
        time.sleep(3600)  # ended by the parent's time limit
        yield


class StopsEarly(Quick):
    def steps(self, prompts: Tokens, output_tokens: int) -> Iterator[None]:
        yield from [None] * (output_tokens - 1)


class NotFinite(Quick):
    """Answers in time, with logits that are no numbers."""

    def outputs_finite(self) -> bool:
        return False


class OutOfMemory(Quick):
    """Asks for more than its process may have, as a cache does at the largest point."""

    def steps(self, prompts: Tokens, output_tokens: int) -> Iterator[None]:
        if prompts.shape[0] == 2:
            resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
            np.ones(2**33, dtype=np.uint8)
        return super().steps(prompts, output_tokens)


class WritesToTheProtocol(Quick):
    """A library that finds the parent's pipe and writes into it."""

    def steps(self, prompts: Tokens, output_tokens: int) -> Iterator[None]:
        for number in range(3, 20):
            with contextlib.suppress(OSError):
                if stat.S_ISFIFO(os.fstat(number).st_mode):
                    os.write(number, b"[warning] no JSON\n")
        return super().steps(prompts, output_tokens)


class LeavesAChild(Quick):
    """Starts a process of its own, notes its number, and dies."""

    def steps(self, prompts: Tokens, output_tokens: int) -> Iterator[None]:
        server = subprocess.Popen(["sleep", "3600"])
        Path(os.environ["LEFT_CHILD"]).write_text(str(server.pid))
        os.kill(os.getpid(), signal.SIGKILL)
        return super().steps(prompts, output_tokens)


class Talks(Quick):
    """Tells of itself what the record has fields for."""

    kernels = ("MarlinLinearKernel",)

    def memory_use(self) -> MemoryUse:
        return MemoryUse(weights_bytes=5.0, kv_pool_bytes=7.0)
