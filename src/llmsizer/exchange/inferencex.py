"""Rows of InferenceX (InferenceMAX before): seconds, closed loops, throughput a GPU. One row, or a list of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from llmsizer.exchange.point import Point, spread
from llmsizer.exchange.values import Refused, at, number_at, text_at, whole
from llmsizer.facts.record_parts import Distribution, Load, Throughput

METRICS = {"ttft": "ttft", "tpot": "tpot", "itl": "itl", "e2e": "e2el"}
OPTIONS = ("tp", "pp", "ep", "spec_decoding", "image", "dp_attention")
NAMED = {"hw", "conc", "model", "framework", "precision", "isl", "osl"}


def matches(document: Any) -> bool:
    """Whether a document is a row, or a list that begins with one."""
    row = document[0] if isinstance(document, list) and document else document
    return isinstance(row, Mapping) and set(row) >= NAMED


def points(document: Any) -> list[Point]:
    """One point a row. Raises Refused."""
    rows = document if isinstance(document, list) else [document]
    return [_point(row, f"rows[{i}]" if isinstance(document, list) else "") for i, row in enumerate(rows)]


def _point(row: Any, where: str) -> Point:
    if not isinstance(row, Mapping) or not set(row) >= NAMED:
        raise Refused(f"{where} is no InferenceX row: it needs {', '.join(sorted(NAMED))}")
    concurrency = whole(row["conc"], f"{where}.conc")
    if not concurrency:
        raise Refused(f"{where}.conc is {row['conc']!r}; a closed loop has 1 user or more")
    gpus, decode_gpus = _gpus(row)
    per_gpu, requests_in = number_at(row, "output_tput_per_gpu"), number_at(row, "input_tput_per_gpu")
    found: dict[str, Distribution] = {}
    for name, theirs in METRICS.items():
        keys = {"mean": f"mean_{theirs}", "std": f"std_{theirs}", "p50": f"median_{theirs}"}
        keys |= {f"p{p}": f"p{p}_{theirs}" for p in ("75", "90", "95", "99", "99.9")}
        made = spread({o: row[k] for o, k in keys.items() if row.get(k) is not None}, name, f"{where}.{theirs}")
        if made is not None:
            found[name] = made
    total = per_gpu * decode_gpus if per_gpu is not None and decode_gpus else None
    return Point(
        position=where,
        model=text_at(row, "model"),
        device=re.split("[-_]", text_at(row, "hw"))[0],  # what follows names the place: h200-cw
        device_kind="gpu",
        engine=text_at(row, "framework"),
        engine_version=match[1] if (match := re.search(r":v?([\w.]+)", text_at(row, "image"))) else "",
        engine_options={key: value for key in OPTIONS if (value := text_at(row, key))},
        precision=text_at(row, "precision"),
        accelerators=gpus,
        load=Load(pattern="single" if concurrency == 1 else "closed", concurrency=concurrency, output_forced=True),
        batch=concurrency,
        prompt_tokens=whole(row["isl"], f"{where}.isl"),
        output_tokens=whole(row["osl"], f"{where}.osl"),
        distributions=found,
        output_tokens_per_second=total,
        throughput=Throughput(
            output_tokens_per_second_per_accelerator=total / gpus if total is not None and gpus else None,
            input_tokens_per_second=requests_in * (gpus or 0) if requests_in and gpus == decode_gpus else None,
        ),
        tool="InferenceX",
        converted={"output_tokens_per_second": f"output_tput_per_gpu × {decode_gpus} GPUs"} if decode_gpus else {},
        unknown={} if decode_gpus else {"output_tokens_per_second": "the row does not say how many GPUs"},
    )


def _gpus(row: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """GPUs in all, and those that its output rate is divided by: of a split system those that decode."""
    if row.get("is_multinode") is True:
        prefill, decode = (whole(at(row, f"num_{role}_gpu"), f"num_{role}_gpu") for role in ("prefill", "decode"))
        if prefill is None or decode is None:
            return None, None
        return prefill + decode, decode or prefill
    sizes = [whole(row.get(key), key) for key in ("tp", "pp", "pcp_size")]
    if sizes[0] is None:
        return None, None
    found = sizes[0] * (sizes[1] or 1) * (sizes[2] or 1)
    return found or None, found or None
