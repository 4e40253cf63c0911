"""llama-bench's JSON, JSON lines, SQL and CSV: each row is one test of one sequence.

A prompt test (n_gen 0) is the time to the logits of the first token: TTFT without tokenising and sampling. A generation
test (n_prompt 0) is n steps after n_depth tokens of cache: their mean is a TPOT whose context begins there. A test of
both tells the whole only. A prompt on top of a filled cache is no request and is refused.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from llmsizer.exchange.point import Point, spread_of
from llmsizer.exchange.values import Refused, items_at, seconds, text_at, whole
from llmsizer.facts.record_parts import Distribution, Load

NAMED = {"model_filename", "n_prompt", "n_gen", "avg_ns", "build_commit"}
INSERT = re.compile(r"^INSERT INTO \w+ \(([^)]*)\) VALUES \('(.*)'\);\s*$")
OPTIONS = (
    "n_batch",
    "n_ubatch",
    "n_threads",
    "type_k",
    "type_v",
    "n_gpu_layers",
    "flash_attn",
    "backends",
    "split_mode",
)


def matches(document: Any) -> bool:
    """Whether a document is a row, or a list that begins with one."""
    row = document[0] if isinstance(document, list) and document else document
    return isinstance(row, Mapping) and set(row) >= NAMED


def rows_of_sql(text: str) -> list[dict[str, str]] | None:
    """The rows of ``-o sql``; None where the text is nothing of the kind. No statement is ever executed."""
    if "INSERT INTO llama_bench" not in text:
        return None
    rows: list[dict[str, str]] = []
    for line in text.splitlines():
        if not line.startswith("INSERT INTO"):
            continue
        found = INSERT.match(line)
        if found is None:
            raise Refused(f"row {len(rows) + 1} is no whole INSERT; the file is damaged")
        fields, cells = [name.strip() for name in found[1].split(",")], found[2].split("', '")
        if len(fields) != len(cells):
            raise Refused(f"row {len(rows) + 1} has {len(cells)} values for {len(fields)} fields")
        rows.append(dict(zip(fields, cells, strict=True)))
    return rows


def rows_of_csv(text: str) -> list[dict[str, str]] | None:
    """The rows of ``-o csv``; None where the text is no such table."""
    if not text.startswith("build_commit,"):
        return None
    try:
        return [{k: v for k, v in row.items() if k} for row in csv.DictReader(io.StringIO(text))]
    except csv.Error as error:
        raise Refused(f"a CSV that cannot be read ({error})") from None


def points(document: Any) -> list[Point]:
    """One point a row. Raises Refused."""
    rows = document if isinstance(document, list) else [document]
    return [_point(row, f"rows[{i}]") for i, row in enumerate(rows)]


def _point(row: Any, where: str) -> Point:
    if not isinstance(row, Mapping) or not set(row) >= NAMED:
        raise Refused(f"{where} is no llama-bench row: it needs {', '.join(sorted(NAMED))}")
    prompt, output, depth = (whole(row.get(key), f"{where}.{key}") or 0 for key in ("n_prompt", "n_gen", "n_depth"))
    times = _times(row, where)
    if not prompt and not output:
        raise Refused(f"{where} tests nothing: n_prompt and n_gen are both 0")
    if depth and prompt:
        raise Refused(
            f"{where} processes a prompt after {depth} tokens of cache; only generation is imported at a depth"
        )
    name, each = (
        ("e2e", times)
        if prompt and output
        else ("ttft", times)
        if prompt
        else ("tpot", [time / output for time in times])
    )
    found = spread_of(each, name)
    assert found is not None
    gpu = text_at(row, "gpu_info")
    on_gpu = bool(gpu) and text_at(row, "backends") not in ("CPU", "BLAS") and text_at(row, "n_gpu_layers") != "0"
    mean = sum(times) / len(times)
    return Point(
        position=where,
        model=_model(row),
        device=(gpu if on_gpu else text_at(row, "cpu_info")).strip(),
        device_kind="gpu" if on_gpu else "cpu",
        engine="llama.cpp",
        engine_version=f"b{text_at(row, 'build_number')}",
        engine_options={key: value for key in OPTIONS if (value := text_at(row, key))},
        precision=_precision(row),
        accelerators=len(gpu.split(",")) if on_gpu else None,
        load=Load(pattern="batch", output_forced=True, streaming=False),
        batch=1,
        prompt_tokens=prompt or max(1, depth),
        output_tokens=output or 1,
        distributions={name: found.model_copy(update={"weighting": "run"})},
        output_tokens_per_second=output / mean if output else None,
        prefill_tokens_per_second=prompt / mean if prompt and not output else None,
        ttft_samples=tuple(each) if name == "ttft" else (),
        tpot_samples=tuple(each) if name == "tpot" else (),
        repeats=len(times),
        measured_at=text_at(row, "test_time"),
        tool="llama-bench",
        tool_version=text_at(row, "build_commit"),
        converted=_converted(name, output, found),
        unknown={other: "not of this test" for other in ("ttft_seconds", "tpot_seconds") if not other.startswith(name)},
    )


def _converted(name: str, output: int, found: Distribution) -> dict[str, str]:
    how = {
        "ttft": "the prompt's processing, ns → s; tokenising and sampling are not in it",
        "tpot": f"generation, ns ÷ {output} steps; sampling is not in it",
        "e2e": "prompt and generation together, ns → s",
    }[name]
    return {name: how + ("" if found.n > 1 else "; the average of the repetitions")}


def _times(row: Mapping[str, Any], where: str) -> list[float]:
    samples = items_at(row, "samples_ns") or [row.get("avg_ns")]
    times = [time for value in samples if (time := seconds(value, f"{where}.samples_ns", "ns"))]
    if not times:
        raise Refused(f"{where} has no time: avg_ns is {str(row.get('avg_ns'))[:20]}")
    return times


def _model(row: Mapping[str, Any]) -> str:
    file = text_at(row, "model_filename")
    stem = (PureWindowsPath(file) if "\\" in file else PurePosixPath(file)).name.removesuffix(".gguf")
    return stem or text_at(row, "model_type")


def _precision(row: Mapping[str, Any]) -> str:
    """``qwen2 7B Q4_K - Medium`` → ``q4_k_m``: how llama.cpp itself calls the mixture."""
    found = re.search(r"\b((?:I?Q\d[\w.]*|F16|BF16|F32|MXFP4\w*))(?: - (\w+))?", text_at(row, "model_type"))
    if found is None:
        return ""
    size = {"Small": "_s", "Medium": "_m", "Large": "_l"}.get(found[2] or "", "")
    return (found[1] + size).lower()
