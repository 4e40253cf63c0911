"""Traces of other tools are read as they are written, and a broken one is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmsizer.errors import InputError
from llmsizer.traffic.demand.traces import Field, read_trace, summarise


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_azure_as_published(tmp_path: Path) -> None:
    requests = read_trace(
        written(
            tmp_path / "conv.csv",
            "TIMESTAMP,ContextTokens,GeneratedTokens",
            "2023-11-16 18:15:46.6805900,374,44",
            "2023-11-16 18:15:50.9951690,396,109",
        )
    )
    assert requests.arrival_seconds.tolist() == pytest.approx([0.0, 4.314579])
    assert requests.prompt_tokens.tolist() == [374, 396]
    assert requests.output_tokens.tolist() == [44, 109]


def test_azure_as_vidur_repackages_it(tmp_path: Path) -> None:
    requests = read_trace(
        written(tmp_path / "t.csv", "arrived_at,num_prefill_tokens,num_decode_tokens", "0.5,374,44", "4.3,396,109")
    )
    assert requests.arrival_seconds.tolist() == [0.5, 4.3]


def test_mooncake_tells_what_a_prefix_cache_would_hold(tmp_path: Path) -> None:
    rows = [
        {"timestamp": 0, "input_length": 1200, "output_length": 10, "hash_ids": [1, 2, 3]},
        {"timestamp": 2000, "input_length": 1100, "output_length": 20, "hash_ids": [1, 2, 4]},
        {"timestamp": 3000, "input_length": 900, "output_length": 20, "hash_ids": [7, 2]},
    ]
    requests = read_trace(written(tmp_path / "m.jsonl", *map(json.dumps, rows)))
    assert requests.arrival_seconds.tolist() == [0.0, 2.0, 3.0]
    # Two whole leading blocks of 512 are known; block 2 behind an unknown one is not reused.
    assert requests.cached_tokens.tolist() == [0, 1024, 0]


GATEWAY: dict[Field, str] = {
    "arrival": "ts",
    "prompt_tokens": "in",
    "output_tokens": "out",
    "cached_tokens": "hit",
    "group": "session",
}


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_gateway_log_with_a_column_map(tmp_path: Path, suffix: str) -> None:
    rows = [["2026-05-01T10:00:00Z", 100, 5, 0, "a"], ["2026-05-01T10:00:02.5Z", 200, 6, 64, ""]]
    names = ["ts", "in", "out", "hit", "session"]
    lines = (
        [",".join(names), *(",".join(map(str, row)) for row in rows)]
        if suffix == "csv"
        else [json.dumps(dict(zip(names, row, strict=True))) for row in rows]
    )
    requests = read_trace(written(tmp_path / f"log.{suffix}", *lines), columns=GATEWAY)
    assert requests.arrival_seconds.tolist() == [0.0, 2.5]
    assert requests.cached_tokens.tolist() == [0, 64]
    assert requests.groups.tolist() == [0, -1]


HEADER = "arrived_at,num_prefill_tokens,num_decode_tokens"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([HEADER], "holds no requests"),
        ([HEADER, "1,10,5", "0.5,10,5"], "request 2 arrives at 0.5 s, before the one above it"),
        ([HEADER, "-1,10,5"], "request 1 arrives at -1 s"),
        ([HEADER, "nan,10,5"], "request 1 arrives at nan s"),
        ([HEADER, "soon,10,5"], "'soon', which is no time"),
        ([HEADER, "0,ten,5"], "num_prefill_tokens = 'ten'"),
        ([HEADER, "0,1.5,5"], "num_prefill_tokens = '1.5'"),
        ([HEADER, "0,0,5"], "a prompt of 0 tokens"),
        ([HEADER, "0,10,0"], "an output of 0 tokens"),
        ([HEADER, "0,10"], "num_decode_tokens = None"),
        ([HEADER, "0,9000,5"], "request 1 needs 9005 tokens of context; the context is 8192"),
        (["when,size", "0,10"], "no known trace; give a column map"),
    ],
)
def test_a_broken_trace_is_refused_in_one_line(tmp_path: Path, lines: list[str], says: str) -> None:
    with pytest.raises(InputError) as caught:
        read_trace(written(tmp_path / "t.csv", *lines), context_tokens=8192)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_broken_json_and_missing_files_name_the_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"t\.jsonl:2 is not JSON"):
        read_trace(written(tmp_path / "t.jsonl", "{}", "{"))
    with pytest.raises(InputError, match="cannot read"):
        read_trace(tmp_path / "nowhere.csv")
    with pytest.raises(InputError, match="no column 'ts'; it has a"):
        read_trace(written(tmp_path / "a.csv", "a", "1"), columns=GATEWAY)


def test_a_trace_is_summarised(tmp_path: Path) -> None:
    lines = [f"{i * 60},100,{10 + i % 2}" for i in range(48 * 60 + 1)]
    summary = summarise(read_trace(written(tmp_path / "t.csv", HEADER, *lines)))
    assert summary.requests == 2881
    assert summary.requests_per_second == pytest.approx(1 / 60)
    assert summary.gap_cv == pytest.approx(0.0, abs=1e-9)
    assert summary.output_tokens_mean == pytest.approx(10.5, abs=0.01)
    assert summary.hourly_weights == (60.0,) * 24
    assert summary.peak_hour_to_average == 1.0
    assert summary.cached_prompt_fraction is None


def test_our_own_names_need_no_map(tmp_path: Path) -> None:
    lines = ("arrival,prompt_tokens,output_tokens,cached_tokens,group", "0,100,10,0,a", "1.5,120,10,100,a")
    requests = read_trace(written(tmp_path / "ours.csv", *lines))
    assert requests.arrival_seconds.tolist() == [0.0, 1.5]
    assert (requests.cached_tokens.tolist(), requests.groups.tolist()) == ([0, 100], [0, 0])


def test_a_time_before_the_beginning_is_refused_and_not_shifted(tmp_path: Path) -> None:
    path = written(tmp_path / "early.csv", "arrival,prompt_tokens,output_tokens", "-3,100,10", "1,100,10")
    with pytest.raises(InputError, match="request 1 arrives at -3 s"):
        read_trace(path)
