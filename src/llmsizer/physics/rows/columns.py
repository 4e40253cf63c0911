"""Columns of other people's tables, read as the ones that are meant.

``isl``, ``prompt_len`` and ``Input Length`` are one thing, and such a column is read where none is called as here.
What could mean two things (``throughput``, ``requests_per_second``) is named and not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from llmsizer.physics.rows.labels import says_nothing
from llmsizer.physics.rows.reading import INPUT_COLUMNS, Row, number

# Column here → names elsewhere, the surest first; of a row's several the first that says something is taken.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "model": ("model_name", "model_id", "hf_model", "llm", "checkpoint"),
    "gpu": ("gpu_name", "gpu_type", "gpu_model", "accelerator", "accelerator_type", "hardware", "hw", "device_name"),
    "n_params_b": ("params_b", "model_size_b", "num_params_b", "parameters_b", "size_b"),
    "weight_dtype": (
        "quantization", "quant", "weight_precision", "weight_format", "precision", "model_dtype", "dtype",
    ),
    "kv_dtype": ("kv_cache_dtype", "kv_cache_precision", "kv_precision", "kv_format"),
    "engine": ("framework", "backend", "inference_engine", "serving_engine", "runtime", "serving_framework"),
    "engine_version": ("framework_version", "backend_version", "runtime_version", "vllm_version"),
    "n_gpus": ("num_gpus", "gpu_count", "n_gpu", "ngpus", "gpus", "num_accelerators", "n_accelerators", "world_size"),
    "tp": ("tensor_parallel_size", "tp_size", "tensor_parallel", "tensor_parallelism", "tp_degree"),
    "pp": ("pipeline_parallel_size", "pp_size", "pipeline_parallel", "pipeline_parallelism", "pp_degree"),
    "ep": ("expert_parallel_size", "ep_size", "expert_parallel", "expert_parallelism", "ep_degree"),
    "dp": ("data_parallel_size", "dp_size", "data_parallel", "data_parallelism", "dp_degree"),
    "input_len": (
        "isl", "input_length", "prompt_len", "prompt_length", "prompt_tokens", "input_tokens", "random_input_len",
        "input_sequence_length", "avg_input_tokens", "mean_input_tokens", "n_prompt",
    ),
    "output_len": (
        "osl", "output_length", "output_tokens", "generation_len", "gen_len", "completion_tokens", "random_output_len",
        "output_sequence_length", "avg_output_tokens", "mean_output_tokens", "max_new_tokens", "n_gen",
    ),
    "batch_size": ("batch", "bs", "n_batch_size"),
    "date": ("run_date", "benchmark_date"),
}  # fmt: skip
# Columns that say both which load there was and how much of it.
LOADS: Mapping[str, tuple[str, ...]] = {
    "concurrency": (
        "max_concurrency", "concurrency", "conc", "num_users", "users", "concurrent_users", "concurrent_requests",
        "num_concurrent_requests", "concurrency_level",
    ),
    "request_rate": ("request_rate", "target_qps", "target_rps", "offered_rps", "arrival_rate"),
}  # fmt: skip
# Measured figures → names elsewhere and what a cell is multiplied by.
MEASURED: Mapping[str, tuple[tuple[str, float], ...]] = {
    "ttft_ms_mean": (("mean_ttft_ms", 1.0), ("ttft_mean_ms", 1.0), ("ttft_ms", 1.0), ("ttft_s", 1e3)),
    "ttft_ms_p50": (("median_ttft_ms", 1.0), ("p50_ttft_ms", 1.0), ("ttft_p50_ms", 1.0)),
    "tpot_ms_mean": (("mean_tpot_ms", 1.0), ("tpot_mean_ms", 1.0), ("tpot_ms", 1.0), ("tpot_s", 1e3)),
    "tpot_ms_p50": (("median_tpot_ms", 1.0), ("p50_tpot_ms", 1.0), ("tpot_p50_ms", 1.0)),
    "e2e_ms_mean": (("mean_e2el_ms", 1.0), ("mean_e2e_ms", 1.0), ("e2e_latency_ms", 1.0), ("e2e_latency_s", 1e3)),
    "output_tok_s": (
        ("output_throughput", 1.0), ("output_tokens_per_second", 1.0), ("output_token_throughput", 1.0),
        ("output_tps", 1.0), ("tps_output", 1.0), ("output_tokens_s", 1.0), ("output_throughput_tok_s", 1.0),
    ),
}  # fmt: skip
# … of one GPU, to be multiplied by how many there are.
PER_GPU = (
    "output_tok_s_per_gpu",
    "output_tput_per_gpu",
    "output_throughput_per_gpu",
    "output_tokens_per_second_per_gpu",
)

# Could be what was asked for or what was reached, of a request or of all, so they are named and not read.
TWO_MEANINGS: Mapping[str, str] = {
    **dict.fromkeys(("qps", "rps", "requests_per_second"), "request_rate if offered"),
    **dict.fromkeys(("throughput", "tokens_per_second", "tok_s", "tps"), "output_tok_s if of outputs, over all GPUs"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """How the columns of one table are read. ``read_as`` says it: the table's column → column here."""

    same: Mapping[str, str]  # column here → the table's column, where only the spelling differs
    meant: Mapping[str, tuple[str, ...]]  # column here → the table's columns that mean it
    loads: Mapping[str, str]  # the table's column → kind of load
    measured: Mapping[str, tuple[tuple[str, float], ...]]
    per_gpu: str
    unread: Mapping[str, str]  # the table's column that has two meanings → how to call it

    @property
    def inputs_read_as(self) -> dict[str, str]:
        """What a prediction reads under another name."""
        found = {column: here for here, column in self.same.items() if column != here and here in INPUT_COLUMNS}
        found |= {column: here for here, columns in self.meant.items() for column in columns}
        return found | {column: f"load_value with load_kind = {kind}" for column, kind in self.loads.items()}

    @property
    def read_as(self) -> dict[str, str]:
        """… and what it is held against."""
        found = self.inputs_read_as
        found |= {column: here for here, column in self.same.items() if column != here}
        found |= {
            column: here + ("" if factor == 1.0 else f" × {factor:g}")
            for here, columns in self.measured.items()
            for column, factor in columns
        }
        return found | ({self.per_gpu: "output_tok_s, × n_gpus"} if self.per_gpu else {})

    @property
    def is_plain(self) -> bool:
        return not self.read_as

    def read(self, row: Row) -> Row:
        """The row with the columns that this package knows filled from those that mean the same."""
        if self.is_plain:
            return row
        out = {**row, **{here: row.get(column) or "" for here, column in self.same.items()}}
        out |= {here: _first_said(row, columns) for here, columns in self.meant.items()}
        for column, kind in self.loads.items():
            if not says_nothing(row.get(column) or "") and says_nothing(out.get("load_value") or ""):
                out |= {"load_value": row[column], "load_kind": out.get("load_kind") or kind}
        for here, scaled in self.measured.items():
            values = (value * factor for column, factor in scaled if (value := number(row, column)) is not None)
            out[here] = next((repr(value) for value in values), "")
        if self.per_gpu and (each := number(row, self.per_gpu)) is not None:
            gpus = number(out, "n_gpus")
            out["output_tok_s"] = "" if gpus is None else repr(each * gpus)
        return out


def plain_column(name: str) -> str:
    """``Input Length`` → ``input_length``; ``TTFT (ms)`` → ``ttft_ms``."""
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def header_of(columns: Iterable[str]) -> Header:
    """How to read a table with these columns. A column that is called as it is here goes before all that mean it."""
    listed = list(dict.fromkeys(columns))
    known = {*INPUT_COLUMNS, *MEASURED}
    plain: dict[str, str] = {}
    for column in sorted(listed, key=lambda name: name not in known):
        plain.setdefault(plain_column(column), column)
    same = {here: plain[here] for here in known if here in plain}

    def others(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(plain[name] for name in names if name in plain)

    meant = {here: found for here, names in SYNONYMS.items() if here not in same and (found := others(names))}
    loads = {} if "load_value" in same else {c: kind for kind, names in LOADS.items() for c in others(names)}
    measured = {
        here: pairs
        for here, scaled in MEASURED.items()
        if here not in same and (pairs := tuple((plain[name], factor) for name, factor in scaled if name in plain))
    }
    per_gpu = "" if {"output_tok_s"} & {*same, *measured} else next(iter(others(PER_GPU)), "")
    answered = {"request_rate"} if "load_value" in same or loads else set()
    answered |= {"output_tok_s"} if per_gpu or {"output_tok_s"} & {*same, *measured} else set()
    unread = {plain[n]: use for n, use in TWO_MEANINGS.items() if n in plain and use.split(" ")[0] not in answered}
    return Header(same=same, meant=meant, loads=loads, measured=measured, per_gpu=per_gpu, unread=unread)


def _first_said(row: Row, columns: Sequence[str]) -> str:
    cells = [row.get(column) or "" for column in columns]
    return next((cell for cell in cells if not says_nothing(cell)), next((cell for cell in cells if cell), ""))
