"""What a row's words mean where they are written otherwise, or where a cell is empty and another cell says it.

People write ``4-bit``, ``GPTQ-Int4`` and ``W4A16`` for one format, put it into the model's name (``…-AWQ``,
``….Q4_K_M.gguf``), and count GPUs in the GPU's name (``8xH100``).
"""

from __future__ import annotations

import re

from llmsizer.physics.steps.formats import SAYS_NOTHING, UNSTATED, weight_format

LOAD_KINDS = ("single-stream", "single-batch-static", "concurrency", "request_rate", "offline-max-throughput")

_LOAD_WORDS = (
    (r"single-?(stream|request|user)?|latency|one-at-a-time|batch-?1|bs-?1", "single-stream"),
    (r"(single-)?(fixed-|static-)?batch(-static|ed)?|static|batch-latency", "single-batch-static"),
    (
        r"(fixed-|max-)?concurren(cy|t)(-(users|requests|level))?|closed(-loop)?(-concurrency)?|users|streams|multi-user"
        r"|sweep-concurrency",
        "concurrency",
    ),
    (r"(request-?)?rate|qps|rps|poisson|open(-loop)?|arrival-rate|server", "request_rate"),
    (r"offline(-.*)?|(max-)?throughput|all-at-once|inf", "offline-max-throughput"),
)

# A format as model names carry it: pattern in the name with dashes for blanks and underscores → label.
_NAMED_FORMATS = (
    (r"(?:^|[-.])((?:ud-)?i?q\d(?:-[0-9kxsml]+)*)(?=[-.]|$)", "gguf"),
    (r"mxfp4", "mxfp4"),
    (r"nvfp4|[-.]fp4(?![0-9])", "nvfp4"),
    (r"w8a8-fp8|fp8|e4m3|float8", "fp8"),
    (r"w4a16|w4a8|awq|nf4|bnb-4bit|int4|4-?bits?(?![a-z0-9])|gptq-?4", "int4"),
    (r"gptq-?(int)?8|w8a16|(?<!w8a8-)8-?bits?(?![a-z0-9])", "int8-gptq"),
    (r"w8a8|int8", "int8"),
    (r"(\d(?:\.\d+)?)-?bpw", "exl2"),
    (r"gptq", "int4-gptq"),
    (r"[-.](bf16|fp16|f16)(?![a-z0-9])", "bf16"),
)
# What engines run unless told otherwise: their registries and tools hand out these files.
_USUAL_FORMATS = {"llama.cpp": "gguf-q4_k_m", "exllama": "int4", "autoawq": "int4-awq", "mlc": "int4", "qserve": "int4"}
_COUNT = re.compile(
    r"^\s*(\d{1,3})\s*[x×*]\s*(?=[a-z])|(?<=[a-z0-9)])\s+[x×*]\s*(\d{1,3})\s*$|\s\((\d{1,3})[x×]\)\s*$", re.IGNORECASE
)


def plain_words(text: str) -> str:
    """Lower case with dashes for blanks and underscores."""
    return re.sub(r"[\s_]+", "-", text.strip().lower())


def load_kind(text: str) -> str:
    """One of ``LOAD_KINDS``; empty where the word is none of theirs."""
    plain = plain_words(text)
    exact = next((kind for kind in LOAD_KINDS if plain_words(kind) == plain), "")
    return exact or next((kind for pattern, kind in _LOAD_WORDS if re.fullmatch(pattern, plain)), "")


def format_in_name(model: str) -> str:
    """The weight format in a model's name, as a label that ``weight_format`` knows; empty where there is none."""
    last = model.replace("\\", "/").rstrip("/").rpartition("/")[2].replace(":", "-")
    plain = re.sub(r"\.gguf$", "", plain_words(last))
    for pattern, label in _NAMED_FORMATS:
        if match := re.search(pattern, plain):
            if label == "gguf":
                return f"gguf-{match[1].replace('-', '_')}"
            return f"exl2-{match[1]}" if label == "exl2" else label
    return ""


def weight_label(dtype: str, model: str, engine: str, architecture: str) -> tuple[str, str]:
    """The label to read a row's weights by, and a note where it stands elsewhere than in ``weight_dtype``.

    A name says more than the format an architecture was published in: ``DeepSeek-R1-AWQ`` is no FP8.
    """
    stated = plain_words(dtype)
    if stated not in SAYS_NOTHING | _VAGUE:
        return dtype, ""
    if named := format_in_name(model):
        return named, f"weight_dtype read from the model's name: {named}"
    if stated not in _VAGUE and weight_format("", architecture).weight_class != UNSTATED:
        return "", ""
    is_file = stated == "gguf" or "gguf" in model.lower()
    usual = "gguf-q4_k_m" if is_file else _USUAL_FORMATS.get(engine, "")
    return (usual, f"weight_dtype assumed: {usual}") if usual else (dtype, "")


NOTHING = frozenset({"", "nan", "none", "null", "n/a", "-", "unknown"})


def says_nothing(cell: str) -> bool:
    """Whether a cell is empty or says that it is: nan, none, n/a …"""
    return cell.strip().lower() in NOTHING


_VAGUE = frozenset({"gguf", "quantized", "compressed-tensors", "mixed"})


def gpus_in_name(gpu: str) -> float | None:
    """How many GPUs a name counts: ``8xH100`` → 8, ``RTX 3090 x2`` and ``RTX 3090 + RTX 3090`` → 2."""
    match = _COUNT.search(gpu)
    listed = [part.strip().lower() for part in gpu.split("+")]
    if len(listed) > 1 and len(set(listed)) == 1:  # RTX 3090 + RTX 3090
        return float(len(listed))
    return float(next(part for part in match.groups() if part)) if match else None
