"""vLLM's serving client from the Python part of its wheel alone, where no GPU and no CUDA library is.

    pip download vllm --no-deps && unzip vllm-*.whl 'vllm/benchmarks/*' -d WHEEL
    python benchmarks/vllm_client.py WHEEL --backend openai --base-url … (as `vllm bench serve`)

What the client imports from the rest of vLLM and does not need to send requests and count is replaced by stand-ins; the
sending, the stamps and the arithmetic are vLLM's own. Needs aiohttp, numpy, tqdm, pybase64, datasets, transformers.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.abc
import importlib.machinery
import logging
import sys
import types
from typing import Any
from unittest.mock import MagicMock


class Anything(types.ModuleType):
    """A module that has whatever is asked of it."""

    __path__: list[str] = []  # noqa: RUF012

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = type(name, (), {}) if name[0].isupper() else MagicMock()
        setattr(self, name, found)
        return found


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds every module of vLLM but those of its benchmarks."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name.startswith("vllm.") and not name.startswith("vllm.benchmarks"):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return Anything(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def tokenizer(name: str, **options: Any) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(name)


class Placeholder:
    """For optional toolkits that are not there."""

    def __init__(self, name: str) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return MagicMock()


def main() -> None:
    package = types.ModuleType("vllm")
    package.__path__ = [f"{sys.argv.pop(1)}/vllm"]
    sys.modules["vllm"] = package
    sys.meta_path.insert(0, StandIns())
    wanted: dict[str, dict[str, Any]] = {
        "vllm.utils.argparse_utils": {"FlexibleArgumentParser": argparse.ArgumentParser},
        "vllm.tokenizers": {"get_tokenizer": tokenizer},
        "vllm.utils.network_utils": {"join_host_port": lambda host, port: f"{host}:{port}"},
        "vllm.logger": {"init_logger": logging.getLogger},
        "vllm.utils.import_utils": {"PlaceholderModule": Placeholder},
    }
    for name, values in wanted.items():
        module = importlib.import_module(name)
        for key, value in values.items():
            setattr(module, key, value)
    serve = importlib.import_module("vllm.benchmarks.serve")
    serve.save_to_pytorch_benchmark_format = lambda *given, **options: None  # type: ignore[attr-defined]
    parser = argparse.ArgumentParser()
    serve.add_cli_args(parser)
    asyncio.run(serve.main_async(parser.parse_args()))


if __name__ == "__main__":
    main()
