"""Numba behind one typed decorator; only the kernel modules import this one, so the planner starts without numba."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from llmsizer.errors import MissingExtraError

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """The function compiled on first use and kept on disk; it runs without the GIL. Raises MissingExtraError.

    ``_nrt=False``: no counting of references inside. The arrays live as long as the call, none is made inside, and
    counting (an atomic addition at every mention of an array) took more than half of the time.
    """
    try:
        njit = import_module("numba").njit
    except ModuleNotFoundError as error:
        raise MissingExtraError("the event simulator", "simulate") from error
    options = {"nogil": True, "error_model": "numpy", "_nrt": False}
    try:
        dispatcher = njit(cache=True, **options)(function)
    except RuntimeError:  # nowhere to keep it: neither beside the source nor in the user's cache
        return cast("Callable[P, R]", njit(**options)(function))
    _stamp(dispatcher)
    return cast("Callable[P, R]", dispatcher)


def _stamp(dispatcher: Any) -> None:
    """Tie the compiled code on disk to the text of the whole kernel.

    Numba ties it to the function's own file, but inlines functions of other files: after a change there it would run
    old code. There is no public hook for this, so a test watches that the private one still takes the stamp.
    """
    kept = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if kept is not None:
        kept._source_stamp = kernel_digest()


@cache
def kernel_digest() -> str:
    """A digest of every module that compiled code comes from."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.name.startswith(("kernel", "layout", "percentiles", "compiled")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
