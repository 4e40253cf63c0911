"""Whether sequences waited for room in a server's KV pool, from the counters it shows at ``/metrics``.

A client sees only that first tokens come late. vLLM, SGLang and llama.cpp's server tell why, in Prometheus' format: how
full the pool is, how many requests wait, and vLLM how many it put out of the pool again.
"""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from llmsizer.profile.load.wire import Endpoint, key_from

USAGE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage", "llamacpp:kv_cache_usage_ratio")
WAITING = ("vllm:num_requests_waiting", "sglang:num_queue_reqs", "llamacpp:requests_deferred")
PREEMPTED = ("vllm:num_preemptions_total",)
PERIOD_SECONDS = 2.0
TIMEOUT_SECONDS = 2.0
FULL = 0.95  # the rest is too small for most sequences
WAITED_SHARE = 0.1  # of the looks
_LINE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{[^}]*\})?\s+([-+]?[\d.]+(?:[eE][-+]?\d+)?)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One answer of ``/metrics``, over all engines behind the address; None: not among its counters."""

    usage_share: float | None = None
    waiting: float | None = None
    preempted: float | None = None

    @property
    def is_waiting_for_room(self) -> bool:
        return bool(self.waiting) and (self.usage_share or 0.0) >= FULL


def look_of(text: str) -> Look | None:
    """The counters in a page; None where it has none of them.

    >>> look_of('vllm:num_requests_waiting{engine="0"} 3.0')
    Look(usage_share=None, waiting=3.0, preempted=None)
    """
    found: dict[str, list[float]] = {}
    for name, value in _LINE.findall(text):
        found.setdefault(name, []).append(float(value))

    def values(names: Sequence[str]) -> list[float]:
        return next((found[name] for name in names if name in found), [])

    usage, waiting, preempted = values(USAGE), values(WAITING), values(PREEMPTED)
    if not (usage or waiting or preempted):
        return None
    return Look(
        usage_share=max(usage, default=None),
        waiting=sum(waiting) if waiting else None,
        preempted=sum(preempted) if preempted else None,
    )


def why_full(looks: Sequence[Look]) -> str | None:
    """That the pool held requests back, in words; None where nothing says so."""
    if len(looks) < 2:
        return None
    first, last = looks[0].preempted, looks[-1].preempted
    if first is not None and last is not None and last > first:
        return f"the server put {last - first:.0f} sequences out of its full KV pool"
    share = sum(look.is_waiting_for_room for look in looks) / len(looks)
    return f"requests waited with the KV pool full in {share:.0%} of the looks" if share > WAITED_SHARE else None


class PoolWatch:
    """``with PoolWatch(endpoint) as watch: load()``; afterwards ``watch.why_full()``. Looks are few, as each costs."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.looks: list[Look] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_until_stopped, daemon=True)

    def __enter__(self) -> Self:
        if self._look():
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        if self._thread.ident is not None:  # started; it may have ended since the line above
            self._thread.join()
            self._look()

    def why_full(self) -> str | None:
        return why_full(self.looks)

    def _look_until_stopped(self) -> None:
        while not self._stop.wait(PERIOD_SECONDS):
            self._look()

    def _look(self) -> bool:
        text = page(self._endpoint)
        look = None if text is None else look_of(text)
        if look is not None:
            self.looks.append(look)
        return look is not None


def page(endpoint: Endpoint) -> str | None:
    """What ``/metrics`` says; None where a server has none: that is no fault."""
    host, port = endpoint.host, endpoint.port
    connection = (
        http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
        if endpoint.scheme == "http"
        else http.client.HTTPSConnection(host, port, timeout=TIMEOUT_SECONDS, context=endpoint.tls())
    )
    key = endpoint.key_variable
    try:
        connection.request(
            "GET", f"{endpoint.path}/metrics", headers={"Authorization": f"Bearer {key_from(key)}"} if key else {}
        )
        with connection.getresponse() as answer:  # where the server closes, the socket is the answer's to close
            return answer.read().decode(errors="replace") if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
