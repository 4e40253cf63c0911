"""llama.cpp for GGUF files: a ``llama-server`` on the PATH (built for this machine), else the one in a wheel.

Sized to the point: as many slots as sequences, and no more context than they need. Prompts are token numbers, so that
both sides count the same, and no prompt is served from an earlier one.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmsizer.errors import MeasurementError, MissingExtraError
from llmsizer.facts.record_parts import MemoryUse
from llmsizer.facts.variant import Variant
from llmsizer.profile.device import available_cores
from llmsizer.profile.engines.served import HOST, Chunk, Server, start_server, stream_steps, token_lists
from llmsizer.profile.measure import Tokens

CONTEXT_STEP = 256  # llama.cpp pads a sequence's context to it
FIRST_CONTEXT = 512
MEBI = 2.0**20


class LlamaCpp:
    """One GGUF file in a server that is started anew whenever a point needs another number of slots or context."""

    def __init__(self, variant: Variant) -> None:
        self._file = gguf_file(variant.path)
        self._program, program_version = server_program()
        self._server = self._start(slots=1, context=FIRST_CONTEXT)
        self._shape = (1, FIRST_CONTEXT)
        model = self._server.get("/v1/models")["data"][0].get("meta") or {}
        size: Any = variant.config.get("vocab_size") or model["n_vocab"]
        self.vocabulary = int(size)
        self.version = program_version
        self.options = {"threads": str(available_cores()), **options_in_log(self._server.log())}

    def steps(self, prompts: Tokens, output_tokens: int) -> Iterator[None]:
        batch, prompt_tokens = prompts.shape
        self._fit(batch, prompt_tokens + output_tokens)
        settings = {
            "stream": True,
            "n_predict": output_tokens,
            "ignore_eos": True,
            "temperature": 0.0,
            "cache_prompt": False,
            "return_tokens": True,
            "timings_per_token": True,
        }
        bodies = [{**settings, "prompt": tokens} for tokens in token_lists(prompts)]
        return stream_steps(self._server.port, "/completion", bodies, output_tokens, tokens_made)

    def peak_memory_bytes(self) -> float | None:
        return None  # the log names its buffers (memory_use); the process is watched from outside

    def memory_use(self) -> MemoryUse:
        return memory_in_log(self._server.log())

    def process_ids(self) -> tuple[int, ...]:
        return self._server.process_ids()

    def close(self) -> None:
        self._server.close()

    def _fit(self, slots: int, tokens: int) -> None:
        """A server for exactly this point; the warm-up pays for the restart, no timed run does."""
        context = slots * (-(-tokens // CONTEXT_STEP) * CONTEXT_STEP)
        if (slots, context) != self._shape:
            self._server.close()
            self._server = self._start(slots=slots, context=context)
            self._shape = (slots, context)

    def _start(self, *, slots: int, context: int) -> Server:
        settings = {
            "--model": self._file,
            "--host": HOST,
            "--parallel": slots,
            "--ctx-size": context,
            "--threads": available_cores(),
            "--n-gpu-layers": 999,  # as many as there are, where there is a GPU build
        }
        flags = [str(part) for pair in settings.items() for part in pair]
        return start_server(lambda port: [*self._program, *flags, "--port", str(port)], what="llama.cpp's server")


def gguf_file(path: Path) -> Path:
    """The one GGUF file of a variant's folder. Raises MeasurementError."""
    files = [path] if path.is_file() else sorted(path.glob("*.gguf"))
    if len(files) != 1:
        raise MeasurementError(f"{path}: {len(files)} GGUF files; the llama.cpp engine wants one")
    return files[0]


def server_program() -> tuple[list[str], str]:
    """The command that starts a server, and its version. Raises MissingExtraError."""
    binary = shutil.which("llama-server")
    if binary:
        done = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=30, check=False)
        lines = (done.stdout + done.stderr).strip().splitlines()
        return [binary], next((line for line in lines if "version" in line), "llama-server")
    if find_spec("xllamacpp") is None:
        raise MissingExtraError("the llama.cpp engine (or a llama-server on the PATH)", "llama-cpp")
    return [sys.executable, "-m", "llmsizer.profile.engines.xllamacpp_server"], f"xllamacpp {version('xllamacpp')}"


def tokens_made(chunk: Chunk) -> int | None:
    """Tokens so far. A server holds back a token that ends inside a character: counted when it comes."""
    timings: dict[str, Any] = chunk.get("timings") or {}
    if timings.get("cache_n"):
        raise MeasurementError(f"the server took {timings['cache_n']} prompt tokens from its cache; not a measurement")
    made = chunk.get("tokens_predicted")
    return None if made is None else int(made)


def options_in_log(log: str) -> dict[str, str]:
    """What the build can do and what the context chose."""
    options: dict[str, str] = {}
    if found := re.search(r"system_info:.*?CPU : (.*?)\s*\|?\s*$", log, re.MULTILINE):
        options["instruction_sets"] = ",".join(re.findall(r"(\w+) = 1", found.group(1)))
    if found := re.search(r"llama_context: flash_attn\s*= (\S+)", log):
        options["flash_attention"] = found.group(1)
    if found := re.search(r"K \((\w+)\):.*?V \((\w+)\):", log):
        options["kv_cache"] = found.group(1) if found.group(1) == found.group(2) else "/".join(found.groups())
    return options


def memory_in_log(log: str) -> MemoryUse:
    """The buffers that the last start named, over all devices."""

    def total(what: str) -> float | None:
        sizes = [float(size) for size in re.findall(rf"{what} buffer size =\s*([\d.]+) MiB", log)]
        return sum(sizes) * MEBI if sizes else None

    return MemoryUse(weights_bytes=total("model"), kv_pool_bytes=total("KV"))
