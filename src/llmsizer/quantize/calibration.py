"""Calibration text: from files on disk, never from the network, and never from the text that quality is judged on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import InputError, QuantizationError
from llmsizer.installed import optional, quiet_transformers
from llmsizer.quantize.recipes import Recipe
from llmsizer.quantize.stored.checkpoint import Checkpoint

MINIMUM_SEQUENCES = 8  # GPTQ's Hessian of fewer tokens than this is noise
GRAM_WORDS = 13  # at this length a shared run of words is a copy rather than chance (Brown et al. 2020, appendix C)
LEAKED_SHARE = 0.2  # of a document's runs of words that calibration has seen
KEPT_GRAMS = 16  # one in so many is kept in a fingerprint
FINGERPRINT = "calibration_fingerprint.json"
TEXT_KEYS = ("text", "content", "prompt")
SUFFIXES = (".txt", ".md", ".jsonl", ".json", ".parquet", ".arrow")


def read_texts(path: Path, *, checkpoint: Path | None = None) -> list[str]:
    """The documents of a file, a folder or a dataset on disk; chats of a request log by the checkpoint's chat template.

    A line of plain text is a document; in a folder a plain file is one. JSON lines, a JSON array, Parquet and Arrow
    hold "text", "prompt" or "messages". Raises InputError.
    """
    files = sorted(f for f in path.rglob("*") if f.suffix in SUFFIXES) if path.is_dir() else [path]
    files = [file for file in files if file.name not in ("dataset_info.json", "state.json", "dataset_dict.json")]
    texts = [text for file in files for text in _of_file(file, path.is_dir(), checkpoint) if text.strip()]
    if not texts:
        raise InputError(f"{path}: holds no text; give a document a line, or files of {', '.join(SUFFIXES)}")
    return texts


def _of_file(file: Path, whole: bool, checkpoint: Path | None) -> Iterator[str]:
    if file.suffix in (".parquet", ".arrow"):
        for row in _table_rows(file):
            yield _text_of(row, file, checkpoint)
        return
    try:
        content = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not readable as text ({error}); give a UTF-8 file, a document a line") from None
    if whole and file.suffix in (".txt", ".md"):
        yield content
        return
    if content.lstrip().startswith("[") and (rows := _array(content)) is not None:
        for row in rows:
            yield _text_of(row, file, checkpoint) if isinstance(row, dict) else str(row)
        return
    for line in content.splitlines():
        entry = _object(line)
        yield line if entry is None else _text_of(entry, file, checkpoint)


def _array(content: str) -> list[Any] | None:
    """A file that is one JSON array, as data sets are often exported; None for any other text in brackets."""
    try:
        rows = json.loads(content)
    except (json.JSONDecodeError, RecursionError):
        return None
    return rows if isinstance(rows, list) else None


def _object(line: str) -> dict[str, Any] | None:
    if not line.lstrip().startswith("{"):
        return None
    try:
        entry = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _table_rows(file: Path) -> Iterator[dict[str, Any]]:
    reading = f"reading {file.name}"
    try:
        if file.suffix == ".parquet":
            table = optional("pyarrow.parquet", what=reading, extra="store").read_table(file)
        else:
            ipc = optional("pyarrow.ipc", what=reading, extra="store")
            with file.open("rb") as stream:
                table = (ipc.open_file if stream.read(6) == b"ARROW1" else ipc.open_stream)(str(file)).read_all()
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: not readable ({str(error).splitlines()[0]})") from None
    for batch in table.to_batches():
        yield from batch.to_pylist()


def _text_of(entry: Mapping[str, Any], file: Path, checkpoint: Path | None) -> str:
    """The text of one record: its own, or that of the request which it logs."""
    for key in ("request", "body"):
        inner = entry.get(key)
        if isinstance(inner, Mapping):
            return _text_of(inner, file, checkpoint)
    messages = entry.get("messages")
    if isinstance(messages, list) and messages:
        return _chat(messages, file, checkpoint)
    for key in TEXT_KEYS:
        if isinstance(entry.get(key), str):
            return str(entry[key])
    return ""


def _chat(messages: list[Any], file: Path, checkpoint: Path | None) -> str:
    if checkpoint is None:
        raise InputError(f"{file}: holds chats, whose template lies beside a checkpoint's tokenizer; name one")
    tokenizer = _tokenizer(checkpoint)
    if not tokenizer.chat_template:
        raise InputError(f"{checkpoint}: its tokenizer has no chat template, which {file.name} with its messages needs")
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False))
    except Exception as error:  # a template is a program of its maker's and raises what it likes
        raise InputError(f"{file}: the chat template of {checkpoint.name} refuses a chat ({error})") from None


_TOKENIZERS: dict[Path, Any] = {}


def _tokenizer(checkpoint: Path) -> Any:
    if not (checkpoint / "tokenizer.json").is_file():
        raise QuantizationError(f"{checkpoint}: no tokenizer.json, which calibration needs; use a method without it")
    if checkpoint not in _TOKENIZERS:
        transformers = quiet_transformers(what="calibration")
        _TOKENIZERS[checkpoint] = transformers.AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
    return _TOKENIZERS[checkpoint]


def token_rows(checkpoint: Checkpoint, texts: Sequence[str], recipe: Recipe) -> NDArray[np.int64]:
    """The texts as sequences of equal length; too few are refused, since what they show would be noise."""
    if not (checkpoint.path / "tokenizer.json").is_file():
        raise QuantizationError(f"{checkpoint.path}: no tokenizer.json, which calibration needs; use int4-rtn")
    length, most = recipe.sequence_tokens, recipe.calibration_sequences
    tokens: list[int] = []
    tokenizer = optional("tokenizers", what="calibration", extra="quantize").Tokenizer.from_file(
        str(checkpoint.path / "tokenizer.json")
    )
    for text in texts:
        tokens += tokenizer.encode(text).ids
        if len(tokens) >= length * most:
            break
    count = min(len(tokens) // length, most)
    if count < MINIMUM_SEQUENCES:
        raise QuantizationError(
            f"too little calibration text: {len(tokens)} tokens, at least {MINIMUM_SEQUENCES * length} "
            f"are needed by {recipe.name}; give more with --calibration, or use int4-rtn, which needs none"
        )
    return np.array(tokens[: count * length], dtype=np.int64).reshape(count, length)


def texts_sha256(texts: Sequence[str]) -> str:
    """A hash of the texts in their order; empty for none."""
    if not texts:
        return ""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(hashlib.sha256(text.encode()).digest())
    return digest.hexdigest()


def grams(text: str) -> set[int]:
    """Hashes of every run of 13 words; a shorter text is one run."""
    words = text.split()
    runs = max(1, len(words) - GRAM_WORDS + 1)
    parts = (" ".join(words[i : i + GRAM_WORDS]) for i in range(runs)) if words else ()
    return {int.from_bytes(hashlib.blake2b(part.encode(), digest_size=8).digest(), "big") for part in parts}


def fingerprint(texts: Iterable[str]) -> list[int]:
    """One run of words in sixteen, chosen by its hash: enough to find a copied document, too little to rebuild one."""
    return sorted({gram for text in texts for gram in grams(text) if gram % KEPT_GRAMS == 0})


def leaked_documents(seen: Iterable[int], documents: Sequence[str]) -> list[int]:
    """The numbers of the documents of which calibration saw a fifth or more, by a fingerprint of its texts."""
    known = set(seen)
    found = []
    for index, document in enumerate(documents):
        own = [gram for gram in grams(document) if gram % KEPT_GRAMS == 0]
        if own and sum(gram in known for gram in own) / len(own) >= LEAKED_SHARE:
            found.append(index)
    return found


def check_leakage(seen: Iterable[int], documents: Sequence[str], *, where: str) -> None:
    """Raises InputError where a document that quality is judged on was part of the calibration text."""
    leaked = leaked_documents(seen, documents)
    if leaked:
        raise InputError(
            f"{where}: {len(leaked)} of {len(documents)} documents were seen in calibration (first: number "
            f"{leaked[0] + 1}), so that quality on them would flatter; give other text, or --force to do it anyway"
        )


def read_fingerprint(folder: Path) -> list[int]:
    """The fingerprint of the calibration text beside a variant; empty where it was made without."""
    file = folder / FINGERPRINT
    if not file.is_file():
        return []
    try:
        return [int(gram) for gram in json.loads(file.read_text(encoding="utf-8"))["grams"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: not a fingerprint of ours ({error})") from None


def write_fingerprint(folder: Path, texts: Sequence[str]) -> None:
    (folder / FINGERPRINT).write_text(json.dumps({"grams": fingerprint(texts)}) + "\n", encoding="utf-8")
