"""The toolkits on a tiny model: sizes by hand, logits near the original, and the same logits from two readers."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from llmsizer.errors import QuantizationError
from llmsizer.quality.logits import open_reader
from llmsizer.quantize import MANIFEST, Variant, original, quantize, quantize_all, read_variant
from tiny_models import CONFIG, MATRIX_PARAMS, NORM_PARAMS, TEXT, needs, write_checkpoint

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the toolkits' own imports
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
OPENVINO = ("openvino-fp16", "openvino-int8", "openvino-int4")
EMBEDDING_PARAMS = 2 * 320 * 128
LAYER_PARAMS = MATRIX_PARAMS - EMBEDDING_PARAMS
TOKENS = np.arange(5, 69, dtype=np.int64)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("source") / "tiny")


@pytest.fixture(scope="module")
def variants(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Variant]:
    made = quantize_all(checkpoint, OPENVINO, tmp_path_factory.mktemp("variants"))
    return {variant.name: variant for variant in made}


def logits(variant: Variant, compute: str | None = "f32") -> np.ndarray:
    with open_reader(variant, compute=compute) as read:
        return read(TOKENS)


@needs("openvino_genai", "nncf", "gguf")
def test_bytes_of_the_openvino_variants_by_hand(variants: dict[str, Variant]) -> None:
    parts = {name: {p.format: (p.params, p.bytes) for p in v.parts} for name, v in variants.items()}
    assert sum(p.params for p in variants["fp16"].parts) == MATRIX_PARAMS + NORM_PARAMS
    # one byte a weight and one FP16 scale a row: embeddings and output 2 × 320 rows, a layer 128 + 64 + 64 + 128
    # of attention, 256 + 256 + 128 of the feed-forward part
    rows = 2 * 320 + 2 * (384 + 640)
    assert parts["int8"]["int8"] == (MATRIX_PARAMS, MATRIX_PARAMS + 2 * rows)
    # half a byte a weight and one FP16 scale in 128 weights
    assert parts["int4"]["int4"] == (LAYER_PARAMS, LAYER_PARAMS // 2 + 2 * LAYER_PARAMS // 128)


@needs("openvino_genai", "nncf", "gguf")
def test_the_quantized_layers_are_as_small_as_promised(variants: dict[str, Variant]) -> None:
    int8, int4 = variants["int8"].quantized_bytes_ratio, variants["int4"].quantized_bytes_ratio
    assert int8 is not None and int8 < 0.6
    assert int4 is not None and int4 < 0.4
    assert variants["fp16"].quantized_bytes_ratio is None


@needs("openvino_genai", "nncf", "gguf")
def test_graph_and_constants_add_up_to_the_bytes_on_disk(variants: dict[str, Variant]) -> None:
    for variant in variants.values():
        on_disk = sum(f.stat().st_size for f in variant.path.iterdir() if f.suffix in (".bin", ".xml"))
        parts = {part.name: part.bytes for part in variant.file_parts}
        assert variant.file_bytes == on_disk
        assert sum(part.bytes for part in variant.file_parts if part.is_weights) == variant.weights_bytes
        assert {"graph", "tokenizer"} <= parts.keys() and parts.get("padding", 0) < 1_000


@needs("openvino_genai", "nncf", "gguf", "torch", "transformers")
def test_openvino_gives_the_logits_of_transformers(checkpoint: Path, variants: dict[str, Variant]) -> None:
    expected = logits(original(checkpoint))
    # both in single precision; GenAI's rotary frequencies rounded to FP16 would be a hundred times worse
    assert np.abs(logits(variants["fp16"]) - expected).max() < 2e-5 * np.abs(expected).max()


@needs("openvino_genai", "nncf", "gguf")
def test_fewer_bits_lose_more(variants: dict[str, Variant]) -> None:
    expected = logits(variants["fp16"])
    errors = [float(np.abs(logits(variants[name]) - expected).mean()) for name in ("int8", "int4")]
    assert 0 < 4 * errors[0] < errors[1]


@needs("openvino_genai", "nncf", "gguf")
def test_a_finished_variant_is_kept_and_read_back(checkpoint: Path, variants: dict[str, Variant]) -> None:
    variant = variants["int4"]
    stamp = (variant.path / MANIFEST).stat().st_mtime_ns
    again = quantize(checkpoint, "openvino-int4", variant.path)
    assert again == variant == read_variant(variant.path)
    assert (variant.path / MANIFEST).stat().st_mtime_ns == stamp
    with pytest.raises(QuantizationError, match="another variant"):
        quantize(checkpoint, "openvino-int8", variant.path)


@needs("openvino_genai", "nncf", "gguf")
def test_the_manifest_says_how_it_was_made(variants: dict[str, Variant]) -> None:
    variant = variants["int4"]
    assert variant.recipe["group_size"] == 128
    assert {"openvino", "nncf"} <= variant.versions.keys()
    assert len(variant.source_sha256) == 64
    assert sorted(p.name for p in variant.path.iterdir() if "gguf" in p.name or "partial" in p.name) == []


@needs("openvino_genai", "nncf", "gguf")
def test_a_base_of_other_weights_is_refused(variants: dict[str, Variant], tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path / "other", intermediate_size=384)
    with pytest.raises(QuantizationError, match="other weights"):
        quantize(other, "openvino-int8", tmp_path / "out", base=variants["fp16"].path)


@needs("openvino_genai", "nncf", "gguf")
def test_the_toolkit_is_told_not_to_report_usage(variants: dict[str, Variant]) -> None:
    assert variants and os.environ["NNCF_CI"]


@needs("openvino_genai", "gguf")
@pytest.mark.parametrize(("method", "bits", "bound"), [("gguf-q8_0", 8.5, 0.05), ("gguf-q4_0", 4.5, 0.5)])
def test_gguf_variants_by_hand(checkpoint: Path, tmp_path: Path, method: str, bits: float, bound: float) -> None:
    variant = quantize(checkpoint, method, tmp_path / method)
    # 32 weights share one FP16 scale: 32 × 8 + 16 bits, or 32 × 4 + 16
    part = next(p for p in variant.parts if p.format == variant.quantized_format)
    assert part.bits_per_weight == bits
    expected = logits(quantize(checkpoint, "gguf-f16", tmp_path / "f16"))
    error = np.abs(logits(variant) - expected).mean() / np.abs(expected).mean()
    assert 0 < error < bound


@needs("openvino_genai", "gguf", "tokenizers", "transformers")
def test_genai_speaks_the_tokens_of_the_checkpoint(variants: dict[str, Variant]) -> None:
    import openvino_genai
    import tokenizers

    own = tokenizers.Tokenizer.from_file(str(variants["fp16"].path / "tokenizer.json"))
    theirs = openvino_genai.Tokenizer(str(variants["fp16"].path))
    text = "the other thing — été\n  x = 1"
    assert list(theirs.encode(text, add_special_tokens=False).input_ids.data[0]) == own.encode(text).ids


@needs("llmcompressor", "torch", "transformers")
def test_compressed_tensors_by_hand(checkpoint: Path, tmp_path: Path) -> None:
    int8 = quantize(checkpoint, "int8", tmp_path / "int8")
    int4 = quantize(checkpoint, "int4-gptq", tmp_path / "int4", calibration=[TEXT] * 4)
    assert {p.format for p in int8.parts} == {"int8", "fp16"}
    assert next(p.params for p in int4.parts if p.format == "int4") == LAYER_PARAMS
    assert (int8.quantized_bytes_ratio or 1) < 0.6
    assert (int4.quantized_bytes_ratio or 1) < 0.4
    expected = logits(original(checkpoint))
    errors = [float(np.abs(logits(v) - expected).mean()) for v in (int8, int4)]
    assert 0 < errors[0] < errors[1]


@needs("llmcompressor", "torch", "transformers")
def test_too_little_calibration_text_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(QuantizationError, match="too little calibration text"):
        quantize(checkpoint, "int4-gptq", tmp_path / "out", calibration=["short"])
    assert list(tmp_path.iterdir()) == []


@needs("openvino_genai", "nncf", "gguf", "torch", "transformers")
def test_each_engine_runs_its_format_for_as_many_tokens_as_asked(
    checkpoint: Path, variants: dict[str, Variant], tmp_path: Path
) -> None:
    from llmsizer.profile.engines import load_engine
    from llmsizer.profile.measure import Point, prompts_of, take_sample

    point = Point(batch=2, prompt_tokens=9, output_tokens=4)
    gguf = quantize(checkpoint, "gguf-q8_0", tmp_path / "gguf")
    for engine, variant in (("openvino", variants["int4"]), ("openvino", gguf), ("transformers", original(checkpoint))):
        backend = load_engine(engine, variant)
        assert backend.vocabulary == 320
        assert "arithmetic" in backend.options
        prompts = prompts_of(point, vocabulary=320, seed=0, run=0)
        for _ in range(2):  # the second run must not see the first one's cache
            assert len(take_sample(backend, prompts, 4, clock=lambda: 0.0).gaps_seconds) == 3
        assert (backend.peak_memory_bytes() is None) == (backend.options.get("device") != "cuda")


@needs("openvino_genai", "nncf", "gguf", "torch", "transformers")
def test_both_engines_choose_the_same_tokens(checkpoint: Path, variants: dict[str, Variant]) -> None:
    """Greedy decoding with the cache, in step, against the whole sequence read at once."""
    from llmsizer.profile.engines.openvino import OpenVino

    engine = OpenVino(variants["fp16"])
    prompts = np.stack([TOKENS[:20], TOKENS[20:40]])
    chosen: list[np.ndarray] = []
    steps = engine.steps(prompts, 3)
    for _ in steps:
        chosen.append(engine._request.get_output_tensor(0).data[:, -1].argmax(axis=-1))
        assert engine._request.get_output_tensor(0).data.shape[1] == 1  # only the last token's logits are computed
    with open_reader(original(checkpoint), compute="f32") as read:
        for row in range(2):
            sequence = np.concatenate([prompts[row], [tokens[row] for tokens in chosen]])
            expected = read(sequence)[19:22]
            for position in range(3):
                # 16-bit arithmetic may turn a near tie round, so the choice must be among the best
                best, own = expected[position].max(), expected[position][chosen[position][row]]
                assert best - own < 0.05 * abs(best)


@needs("openvino_genai", "nncf", "gguf", "torch", "transformers")
def test_a_model_whose_output_matrix_is_its_embedding_keeps_its_logits(tmp_path: Path) -> None:
    from llmsizer.reference_model import random_checkpoint

    checkpoint = random_checkpoint(CONFIG | {"tie_word_embeddings": True}, tmp_path / "tied")
    expected = logits(original(checkpoint))
    variant = quantize(checkpoint, "openvino-fp16", tmp_path / "out")
    assert np.abs(logits(variant) - expected).max() < 2e-5 * np.abs(expected).max()
    assert variant.params == MATRIX_PARAMS - 320 * 128  # norms of all ones are folded away; the matrix is stored once
