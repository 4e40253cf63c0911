"""Recipes, calibration text, stored formats read in numpy, and what survives a kill."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsizer.errors import CatalogError, InputError, QuantizationError
from llmsizer.facts.precision import get_precision
from llmsizer.progress import silent
from llmsizer.quantize import RECIPES, Job, quantize
from llmsizer.quantize.calibration import (
    check_leakage,
    fingerprint,
    leaked_documents,
    read_fingerprint,
    read_texts,
    texts_sha256,
)
from llmsizer.quantize.formats.environments import Environment, ensure, python_of
from llmsizer.quantize.formats.gguf_file import uses_more_bits
from llmsizer.quantize.formats.gptqmodel import ENVIRONMENT, run_worker
from llmsizer.quantize.formats.readers import stored_weights
from llmsizer.quantize.recipes import read_recipe
from llmsizer.quantize.round_trip import divergence
from llmsizer.quantize.stored.numbers import fp4, fp8, unpacked
from llmsizer.quantize.work import work_folder
from tiny_models import TEXT, needs, write_checkpoint

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the toolkits' own imports
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
LLM_COMPRESSOR = needs("llmcompressor", "torch", "transformers")
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
WORDS = " ".join(f"word{i}" for i in range(400))


@pytest.fixture(autouse=True)
def little_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight sequences of 32 tokens are too few to quantize well, and enough to see that everything fits together."""
    for name, recipe in RECIPES.items():
        monkeypatch.setitem(RECIPES, name, dataclasses.replace(recipe, calibration_sequences=8, sequence_tokens=32))


# Recipes


def test_every_recipe_names_a_known_precision_and_says_what_it_does() -> None:
    assert len(RECIPES) > 20
    for recipe in RECIPES.values():
        get_precision(recipe.precision)
        assert recipe.description and recipe.is_quantized == (recipe.algorithm != "none")


@pytest.mark.parametrize(
    ("line", "named"),
    [("bitts = 4", "bitts"), ('format = "ggml"', "ggml"), ('algorithm = "magic"', "magic"), ("=", "TOML")],
)
def test_a_recipe_that_says_something_unknown_is_refused(tmp_path: Path, line: str, named: str) -> None:
    file = tmp_path / "own.toml"
    base = 'description = "d"\nvariant = "v"\nprecision = "int4"\ntoolkit = "gguf"\nbits = 4\n'
    file.write_text(base + ("" if "format" in line else 'format = "gguf"\n') + line + "\n")
    with pytest.raises(CatalogError, match=named):
        read_recipe(file)


# Calibration text


def test_text_is_read_from_lines_json_lines_folders_and_tables(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    (tmp_path / "b.jsonl").write_text('{"text": "three"}\n{"prompt": "four"}\n{"request": {"prompt": "five"}}\n{oops\n')
    assert read_texts(tmp_path / "a.txt") == ["one", "two"]
    assert read_texts(tmp_path / "b.jsonl") == ["three", "four", "five", "{oops"]
    assert read_texts(tmp_path) == ["one\n\ntwo\n", "three", "four", "five", "{oops"]  # a plain file is one document


@needs("pyarrow")
def test_text_is_read_from_parquet_and_arrow(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"text": ["one", "two"]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pyarrow.OSFile(str(tmp_path / "b.arrow"), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    assert read_texts(tmp_path / "a.parquet") == read_texts(tmp_path / "b.arrow") == ["one", "two"]
    (tmp_path / "c.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="not readable"):
        read_texts(tmp_path / "c.parquet")


def test_a_json_array_is_a_document_an_entry_however_it_is_laid_out(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"text": "one"}, "two"], indent=2))
    (tmp_path / "b.txt").write_text("[1] A note.\nmore\n")
    assert read_texts(tmp_path) == ["one", "two", "[1] A note.\nmore\n"]


@needs("transformers")
def test_a_request_log_becomes_text_by_the_chat_template(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "model")
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps({"body": {"messages": [{"role": "user", "content": "hello"}]}}) + "\n")
    with pytest.raises(InputError, match="no chat template"):
        read_texts(log, checkpoint=checkpoint)
    other = write_checkpoint(tmp_path / "chat")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}",
    }
    (other / "tokenizer_config.json").write_text(json.dumps(settings))
    assert read_texts(log, checkpoint=other) == ["<user>hello"]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\x00"])
def test_a_file_without_text_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "empty.txt").write_bytes(content)
    with pytest.raises(InputError, match=r"holds no text|not readable"):
        read_texts(tmp_path / "empty.txt")


def test_the_hash_of_texts_sees_their_order_and_their_borders() -> None:
    assert texts_sha256(["ab", "c"]) != texts_sha256(["a", "bc"]) != texts_sha256(["bc", "a"])
    assert texts_sha256([]) == ""


def test_a_document_copied_into_calibration_is_found_and_others_are_not() -> None:
    other = " ".join(f"other{i}" for i in range(400))
    seen = fingerprint([WORDS])
    assert leaked_documents(seen, [other, WORDS, other + " " + WORDS]) == [1, 2]
    with pytest.raises(InputError, match="1 of 2 documents were seen in calibration"):
        check_leakage(seen, [other, WORDS], where="held out")
    check_leakage(seen, [other], where="held out")


def test_leaked_text_stops_before_any_work_unless_forced(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "model")
    with pytest.raises(InputError, match="seen in calibration"):
        quantize(checkpoint, "int4-gptq", tmp_path / "out", job=Job(calibration=[WORDS], held_out=[WORDS]))
    assert not (tmp_path / "out").exists()


# Stored formats by hand


def test_packed_words_by_hand() -> None:
    # 0x87654321: eight 4-bit values, the lowest first; as bytes: 0x21, 0x43, 0x65, 0x87
    word = np.array([[0x87654321]], dtype=np.uint32).view(np.int32)
    assert unpacked(word, 4, 8).tolist() == [[1, 2, 3, 4, 5, 6, 7, 8]]
    assert unpacked(word, 8, 4).tolist() == [[0x21, 0x43, 0x65, 0x87]]


def test_eight_and_four_bit_floats_by_hand() -> None:
    # E4M3: 0 0111 000 = 1; 1 1000 100 = -(1.5 × 2); the least 0 0000 001 = 2⁻⁹; the largest 0 1111 110 = 448
    assert fp8(np.array([0x38, 0xC4, 0x01, 0x7E], np.uint8)).tolist() == [1.0, -3.0, 2.0**-9, 448.0]
    # E2M1: all sixteen
    every = fp4(np.array([0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE], np.uint8)).tolist()
    assert every == [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6]


@given(st.lists(st.integers(0, 255), min_size=1, max_size=64))
def test_eight_bit_floats_are_those_of_torch(values: list[int]) -> None:
    torch = pytest.importorskip("torch")
    bits = np.array([v for v in values if v & 0x7F != 0x7F], np.uint8)  # without the two that are no number
    expected = torch.from_numpy(bits.copy()).view(torch.float8_e4m3fn).float().numpy()
    assert fp8(bits).tolist() == expected.tolist()


def test_divergence_by_hand() -> None:
    even, skewed = np.log(np.array([[0.5, 0.5]], np.float32)), np.log(np.array([[0.75, 0.25]], np.float32))
    # ½ ln(½ / ¾) + ½ ln(½ / ¼) = ½ ln(4/3)
    assert divergence(even, skewed) == pytest.approx(0.5 * np.log(4 / 3))
    assert divergence(even, even + 5) == pytest.approx(0, abs=1e-12)
    assert divergence(even, np.full_like(even, np.nan)) == float("inf")


# Methods on a tiny model


@LLM_COMPRESSOR
@pytest.mark.parametrize("method", ["int4-rtn", "int4-awq", "w8a8-smoothquant", "fp8-static-kv", "nvfp4-wo"])
def test_a_variant_is_read_alike_by_its_engine_and_by_our_reader(tmp_path: Path, method: str) -> None:
    checkpoint = write_checkpoint(tmp_path / "tiny")
    variant = quantize(checkpoint, method, tmp_path / method, calibration=[TEXT] * 3 + [WORDS])
    assert variant.round_trip is not None and variant.round_trip.holds
    payload = sum(t.nbytes for t in _tensors(variant.path).values())
    assert variant.weights_bytes == payload  # the bits a weight are the bytes on disk, to the byte
    assert variant.params == sum(w.size for w in stored_weights(variant).values())
    assert bool(variant.calibration_sha256) == RECIPES[method].is_calibrated == bool(read_fingerprint(variant.path))
    assert "Read back" in (variant.path / "README.md").read_text().replace("read back", "Read back")


def _tensors(folder: Path) -> dict[str, object]:
    from safetensors import safe_open

    found = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as stored:
            found |= {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    return found


@needs("gguf", "xllamacpp", "torch", "transformers")
def test_k_quants_are_llama_cpps_own(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "tiny", hidden_size=256, num_attention_heads=4)
    variant = quantize(checkpoint, "gguf-q4_k_m", tmp_path / "k")
    parts = {part.format: part.bits_per_weight for part in variant.parts}
    # Q4_K: 256 weights in 144 bytes; Q6_K: in 210
    assert parts["int4"] == pytest.approx(8 * 144 / 256) and parts["int6"] == pytest.approx(8 * 210 / 256)
    assert variant.round_trip is not None and variant.round_trip.reader == "llama.cpp"


def test_llama_cpps_mixes_favour_the_first_and_last_eighth_and_every_third_layer() -> None:
    # 16 layers: 0, 1 and 14, 15; between them every third after the first eighth: 4, 7, 10, 13
    assert [layer for layer in range(16) if uses_more_bits(layer, 16)] == [0, 1, 4, 7, 10, 13, 14, 15]


@pytest.mark.skipif(
    not (os.environ.get("LLMSIZER_TOOLKIT_TESTS") and python_of(ENVIRONMENT).is_file()),
    reason="a minute each: set LLMSIZER_TOOLKIT_TESTS where GPTQModel's own environment has been made",
)
@pytest.mark.parametrize("method", ["gptq-int4", "awq-int4"])
def test_gptqmodels_format_is_read_alike(tmp_path: Path, method: str) -> None:
    checkpoint = write_checkpoint(tmp_path / "tiny")
    variant = quantize(checkpoint, method, tmp_path / method, calibration=[TEXT] * 3)
    assert variant.round_trip is not None and variant.round_trip.holds


def test_gptqmodel_runs_in_a_folder_of_its_own_where_its_logs_are_nobodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def logs(command: list[str], *, cwd: str, **_: object) -> subprocess.CompletedProcess[str]:
        (Path(cwd) / "logs").mkdir()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", logs)
    run_worker(Path("python"), "quantize", {})
    assert list(tmp_path.iterdir()) == []


def test_another_version_is_another_environment() -> None:
    first, second = (Environment(name="x", requirements=(f"a=={v}",)) for v in (1, 2))
    assert python_of(first) != python_of(second)


def test_an_environment_that_cannot_be_made_says_why_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_index(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        (Path(command[-1]) / "lib" / PYTHON / "site-packages").mkdir(parents=True) if "venv" in command else None
        code = 1 if "pip" in command else 0
        return subprocess.CompletedProcess(command, code, "", "note\nERROR: No matching distribution found for x\nmore")

    monkeypatch.setenv("LLMSIZER_ENVS", str(tmp_path / "envs"))
    monkeypatch.setattr(subprocess, "run", no_index)
    with pytest.raises(QuantizationError, match="ERROR: No matching distribution found for x") as caught:
        ensure(Environment(name="x", requirements=("x==1",)), silent)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "envs").iterdir()) == []


# Kills, full disks, two runs at once


@LLM_COMPRESSOR
def test_an_interrupted_run_goes_on_from_its_last_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmsizer.quantize.layers import layered

    checkpoint = write_checkpoint(tmp_path / "tiny")
    texts = [TEXT] * 3
    whole = quantize(checkpoint, "int4-gptq", tmp_path / "whole", calibration=texts)
    made: list[int] = []
    save = layered._save

    def counted(*arguments: object) -> object:
        made.append(int(str(arguments[2])))
        if made == [0, 1]:
            raise KeyboardInterrupt
        return save(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(layered, "_save", counted)
    with pytest.raises(KeyboardInterrupt):
        quantize(checkpoint, "int4-gptq", tmp_path / "out", calibration=texts)
    assert not (tmp_path / "out").exists()
    again = quantize(checkpoint, "int4-gptq", tmp_path / "out", calibration=texts)
    assert made == [0, 1, 1]  # the first layer was not made again
    for file in whole.path.glob("*.safetensors"):
        assert (again.path / file.name).read_bytes() == file.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "tiny", "whole"]


@LLM_COMPRESSOR
def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmsizer.quantize.layers import layered

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    checkpoint = write_checkpoint(tmp_path / "tiny")
    monkeypatch.setattr(layered, "_save", full)
    with pytest.raises(InputError, match="disk is full"):
        quantize(checkpoint, "int4-rtn", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_two_runs_do_not_make_the_same_folder_at_once(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match="another run"),
        work_folder(tmp_path / "out", "key"),
        work_folder(tmp_path / "out", "key"),
    ):
        pass


def test_a_folder_that_another_run_took_away_meanwhile_is_not_written_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmsizer.quantize.work.fcntl.flock", lambda *_: next(tmp_path.glob(".out*")).rmdir())
    with pytest.raises(InputError, match="has just ended"), work_folder(tmp_path / "out", "key"):
        pass
    assert not list(tmp_path.iterdir())


def test_calibration_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "tiny", tokenizer=False)
    for method in ("int4-gptq", "int4-awq", "gptq-int4", "fp8-static"):
        with pytest.raises((QuantizationError, InputError), match="tokenizer"):
            quantize(checkpoint, method, tmp_path / "out", calibration=[TEXT])
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
