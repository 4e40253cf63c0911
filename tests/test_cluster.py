"""A sweep on processes: in order, bit for bit, resumed, and not stopped by a worker that dies."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from llmsizer.cluster import Task, check_address, key_of, sweep
from llmsizer.errors import InputError, LlmSizerError

# --- work, found by name in the workers ----------------------------------------------------------------------------


def third(number: int) -> dict[str, Any]:
    return {"third": number / 3}


def dies_once(argument: tuple[int, str]) -> dict[str, Any]:
    number, marker = argument
    if number == 2 and not Path(marker).exists():
        Path(marker).touch()
        os._exit(9)
    return third(number)


def always_dies(number: int) -> dict[str, Any]:
    if number == 1:
        os._exit(9)
    return third(number)


def refuses(number: int) -> dict[str, Any]:
    raise InputError(f"{number} is not for me")


def numbers(count: int) -> list[Task[int]]:
    return [Task(key=key_of(n), label=f"task {n}", argument=n) for n in range(count)]


# --------------------------------------------------------------------------------------------------------------------


def test_processes_give_what_one_after_the_other_gives_bit_for_bit_and_in_order() -> None:
    serial = sweep(third, numbers(7))
    assert serial == [{"third": n / 3} for n in range(7)]
    assert json.dumps(sweep(third, numbers(7), workers=2)) == json.dumps(serial)


def test_progress_comes_to_the_end() -> None:
    seen: list[tuple[str, float]] = []
    sweep(third, numbers(4), progress=lambda what, fraction: seen.append((what, fraction)))
    assert [fraction for _, fraction in seen] == [0, 0.25, 0.5, 0.75, 1.0]
    assert seen[1][0] == "sweeping: task 0"


def test_what_a_lost_worker_was_doing_is_done_again(tmp_path: Path) -> None:
    marker = str(tmp_path / "died")
    tasks = [Task(key=key_of(n), label=str(n), argument=(n, marker)) for n in range(5)]
    assert sweep(dies_once, tasks, workers=2) == [{"third": n / 3} for n in range(5)]
    assert Path(marker).exists()


def test_a_task_that_always_kills_its_worker_is_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    store = tmp_path / "results.jsonl"
    with pytest.raises(LlmSizerError, match="task 1: its process died 2 times"):
        sweep(always_dies, numbers(3), workers=2, attempts=2, store=store)
    assert sweep(third, [numbers(1)[0]], store=store) == [{"third": 0.0}]


def test_a_mistake_is_one_line_that_names_the_task_serially_and_on_processes() -> None:
    for workers in (1, 2):
        with pytest.raises(LlmSizerError, match="task 0: 0 is not for me"):
            sweep(refuses, numbers(1), workers=workers)


def test_an_interrupted_sweep_computes_only_what_is_missing(tmp_path: Path) -> None:
    store = tmp_path / "deep" / "results.jsonl"
    calls: list[int] = []

    def counted(number: int) -> dict[str, Any]:
        calls.append(number)
        if number == 3 and len(calls) == 4:
            raise KeyboardInterrupt
        return third(number)

    with pytest.raises(KeyboardInterrupt):
        sweep(counted, numbers(5), store=store)
    assert len(store.read_text().splitlines()) == 3
    assert sweep(counted, numbers(5), store=store) == sweep(third, numbers(5))
    assert calls == [0, 1, 2, 3, 3, 4]


def test_a_torn_line_is_computed_again_and_swallows_no_other(tmp_path: Path) -> None:
    store = tmp_path / "results.jsonl"
    sweep(third, numbers(2), store=store)
    store.write_text(store.read_text()[:-10])
    assert sweep(third, numbers(3), store=store) == sweep(third, numbers(3))
    reread = sweep(refuses, numbers(3), store=store)  # nothing is left to do
    assert reread == sweep(third, numbers(3))


def test_equal_keys_are_computed_once() -> None:
    calls: list[int] = []

    def counted(number: int) -> dict[str, Any]:
        calls.append(number)
        return third(number)

    assert sweep(counted, [*numbers(1), *numbers(1)]) == [{"third": 0.0}] * 2
    assert calls == [0]


def test_keys_tell_parts_apart() -> None:
    assert len({key_of("ab", "c"), key_of("a", "bc"), key_of(b"ab", "c"), key_of("abc")}) == 4
    assert key_of("a", 1.5) == key_of("a", 1.5)


def test_bad_numbers_and_bad_places_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give 1 or more of both"):
        sweep(third, numbers(1), workers=0)
    with pytest.raises(InputError, match="cannot be read"):
        sweep(third, numbers(1), store=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be"):
        sweep(third, numbers(1), store=tmp_path / "file" / "results.jsonl")


def test_nothing_to_do_is_nothing_done() -> None:
    assert sweep(third, [], workers=2) == []


def test_an_address_where_nobody_listens_is_refused_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections to it are refused
        port = taken.getsockname()[1]
        for address in (f"ray://127.0.0.1:{port}", f"127.0.0.1:{port}"):
            with pytest.raises(InputError, match=r"no Ray cluster at '.*refused\); start one with") as refused:
                check_address(address)
            assert "\n" not in str(refused.value)


@pytest.mark.parametrize("address", ["http://127.0.0.1:80", "", "ray://", "a b", "host:port", "ray://host:123456"])
def test_what_is_no_address_is_said_to_be_none(address: str) -> None:
    with pytest.raises(InputError, match="is no address; give auto"):
        check_address(address)


def test_a_listener_and_a_name_that_ray_may_know_are_left_to_ray() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        check_address(f"ray://127.0.0.1:{listening.getsockname()[1]}")
    check_address("auto")


def test_a_port_beyond_the_last_is_one_line() -> None:
    with pytest.raises(InputError, match="no Ray cluster"):
        check_address("127.0.0.1:99999")
