"""A full KV pool is seen in the server's own counters, and only there."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from llmsizer.profile.load import pool
from llmsizer.profile.load.pool import Look, PoolWatch, look_of, why_full
from llmsizer.profile.load.wire import endpoint_of

VLLM = """\
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_running{engine="0",model_name="m"} 8.0
vllm:num_requests_waiting{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting{engine="1",model_name="m"} 1.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.991
vllm:num_preemptions_total{engine="0",model_name="m"} 12.0
"""


def test_counters_are_read_over_all_engines_of_a_server() -> None:
    assert look_of(VLLM) == Look(usage_share=0.991, waiting=4.0, preempted=12.0)
    assert look_of("python_gc_objects_collected_total 5") is None


def test_a_sequence_put_out_of_the_pool_says_that_it_was_full() -> None:
    assert (
        why_full([Look(preempted=12.0), Look(preempted=15.0)]) == "the server put 3 sequences out of its full KV pool"
    )
    assert why_full([Look(preempted=12.0), Look(preempted=12.0)]) is None


def test_requests_that_wait_beside_free_room_do_not_wait_for_it() -> None:
    full, free = Look(usage_share=0.97, waiting=2.0), Look(usage_share=0.5, waiting=2.0)
    assert why_full([full, full, free, free]) == "requests waited with the KV pool full in 50% of the looks"
    assert why_full([free, free]) is None
    assert why_full([full]) is None  # one look is no observation


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that put one sequence out of its pool between the first look and the second."""
    monkeypatch.setattr(pool, "PERIOD_SECONDS", 3600.0)  # no looks but the first and the last, on any machine
    monkeypatch.setattr(pool, "TIMEOUT_SECONDS", 60.0)
    pages = iter((VLLM, VLLM.replace("12.0", "13.0")))

    class Metrics(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/metrics" else 404)
            self.end_headers()
            self.wfile.write(next(pages).encode())

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Metrics)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_point_is_watched_from_its_beginning_to_its_end(served: str) -> None:
    with PoolWatch(endpoint_of(served)) as watch:
        pass
    assert watch.why_full() == "the server put 1 sequences out of its full KV pool"


def test_the_last_look_is_taken_however_soon_the_watching_thread_ends(served: str) -> None:
    with PoolWatch(endpoint_of(served)) as watch:
        watch._stop.set()
        watch._thread.join()
    assert len(watch.looks) == 2


def test_a_server_without_counters_is_no_fault() -> None:
    with PoolWatch(endpoint_of("http://127.0.0.1:9")) as watch:
        pass
    assert watch.looks == [] and watch.why_full() is None
