"""transformers in this process: modes that agree with each other, packed layers, random weights, batching."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tiny_models
from llmsizer.errors import MeasurementError
from llmsizer.facts.variant import Variant
from llmsizer.profile.measure import Point, prompts_of, take_sample
from tiny_models import needs

torch = pytest.importorskip("torch")
pytestmark = needs("torch", "transformers")
POINT = Point(batch=2, prompt_tokens=12, output_tokens=4)


def ticks() -> Iterator[float]:
    now = 0.0
    while True:
        now += 1.0
        yield now


def variant(path: Path, precision: str = "fp16", **changes: Any) -> Variant:
    values: dict[str, Any] = {"format": "huggingface", "config": dict(tiny_models.CONFIG)} | changes
    return Variant(path=path, model="m", name=precision, precision=precision, method="m", **values)


@pytest.fixture(scope="module", autouse=True)
def little_waiting() -> Iterator[None]:
    """Models of two small layers wait longer for a second thread than it saves; nothing here needs scikit-learn."""
    utils = pytest.importorskip("transformers").utils
    utils.is_sklearn_available = lambda: False  # else generation imports it, and SciPy, for one metric
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.write_checkpoint(tmp_path_factory.mktemp("model") / "tiny", tokenizer=False)


def tokens_of(engine: Any, run: int = 1) -> list[list[int]]:
    """What the engine generates, read from the model it drives."""
    prompts = prompts_of(POINT, vocabulary=engine.vocabulary, seed=0, run=run)
    take_sample(engine, prompts, POINT.output_tokens, ticks().__next__)  # a second run starts from an empty cache
    made: list[list[int]] = []
    forward = engine._forward

    def spy(tokens: Any, cache: Any) -> Any:
        output = forward(tokens, cache)
        made.append(output.logits[:, -1].argmax(-1).tolist())
        return output

    engine._forward = spy
    take_sample(engine, prompts, POINT.output_tokens, ticks().__next__)
    engine._forward = forward
    return made


def test_static_and_compiled_modes_generate_what_the_growing_cache_does(checkpoint: Path) -> None:
    from llmsizer.profile.engines.transformers import Transformers

    dynamic = Transformers(variant(checkpoint), mode="dynamic")
    static = Transformers(variant(checkpoint), mode="static")
    compiled = Transformers(variant(checkpoint), mode="compiled", compile_backend="eager")
    assert tokens_of(dynamic, run=2) == tokens_of(static, run=2) == tokens_of(compiled, run=2)
    assert static.options["max_cache_len"] == "16"  # 12 + 4, no more
    assert compiled.options["mode"] == "compiled, without a graph: no CUDA device"
    assert dynamic.outputs_finite() and static.outputs_finite()


def test_weights_are_counted_exactly_and_unknown_device_figures_stay_unknown(checkpoint: Path) -> None:
    from llmsizer.profile.engines.transformers import Transformers

    engine = Transformers(variant(checkpoint))
    memory = engine.memory_use()
    size = 2 if engine.options["arithmetic"] == "bfloat16" else 4
    parameters = (tiny_models.MATRIX_PARAMS + tiny_models.NORM_PARAMS) * size
    assert memory.weights_bytes is not None
    assert 0 <= memory.weights_bytes - parameters <= 1024  # rotary frequencies are buffers
    assert engine.peak_memory_bytes() is None
    assert memory.device_used_delta_bytes is None and memory.graph_pool_bytes is None


def test_the_devices_clock_stands_beside_ours_and_is_of_the_last_run(checkpoint: Path) -> None:
    from llmsizer.profile.engines.device_events import StepClock
    from llmsizer.profile.engines.transformers import Transformers

    class Event:
        """As torch's: a moment on the stream, told apart in milliseconds; the n-th step takes n of them."""

        def __init__(self, enable_timing: bool) -> None:
            self.records = 0

        def record(self) -> None:
            self.records += 1

        def elapsed_time(self, end: Event) -> float:
            assert self.records == end.records
            return float(end.records)

    engine = Transformers(variant(checkpoint))
    assert engine.phases() is None  # a CPU has one clock
    engine._clock = StepClock(SimpleNamespace(Event=Event))
    prompts = prompts_of(POINT, vocabulary=engine.vocabulary, seed=0, run=1)
    for first, median in ((1, 3), (5, 7)):  # four steps a run: 1 | 2 3 4, then 5 | 6 7 8
        take_sample(engine, prompts, POINT.output_tokens, ticks().__next__)
        phases = engine.phases()
        assert phases is not None
        assert (phases.prefill_device_seconds, phases.decode_step_device_seconds) == (first / 1e3, median / 1e3)


def test_a_config_alone_is_measured_with_random_weights(tmp_path: Path) -> None:
    from llmsizer.profile.engines.transformers import Transformers

    engine = Transformers(variant(tmp_path))
    assert engine.options["weights"] == "random"
    assert len(tokens_of(engine)) == POINT.output_tokens


@pytest.mark.parametrize(
    ("precision", "low", "high"), [("int8-wo", 0.5, 0.75), ("int8", 0.5, 0.75), ("int4", 0.25, 0.6)]
)
def test_variants_in_fewer_bits_run_in_fewer_bits(tmp_path: Path, precision: str, low: float, high: float) -> None:
    from llmsizer.profile.engines.transformers import Transformers

    full = Transformers(variant(tmp_path)).memory_use().weights_bytes
    engine = Transformers(variant(tmp_path, precision))
    packed = engine.memory_use().weights_bytes
    assert full is not None and packed is not None
    if engine.options["arithmetic"] == "bfloat16":  # embeddings and output keep 16 bit
        assert low < packed / full < high
    assert "repacked at load" in engine.options["kernels"]
    assert len(tokens_of(engine)) == POINT.output_tokens


def test_a_config_of_no_language_model_is_one_line(tmp_path: Path) -> None:
    from llmsizer.profile.engines.transformers import Transformers

    with pytest.raises(MeasurementError, match="no language model known here"):
        Transformers(variant(tmp_path, config={"model_type": "resnet"}))
    with pytest.raises(MeasurementError, match="no language model known here"):
        Transformers(variant(tmp_path, config={"vocab_size": 3}))


@pytest.mark.parametrize("scheme", ["int8-wo", "int8-w8a8", "int4-wo"])
def test_packed_layers_compute_what_their_codes_say(scheme: Any) -> None:
    from llmsizer.profile.engines.weight_only import packed_linear

    torch.manual_seed(0)
    layer = torch.nn.Linear(256, 32, bias=True, dtype=torch.bfloat16)
    x = torch.randn(3, 5, 256, dtype=torch.bfloat16)
    with torch.no_grad():
        wanted, got = layer(x).float(), packed_linear("l", layer, scheme)(x).float()
    assert got.shape == wanted.shape
    error = float((got - wanted).norm() / wanted.norm())
    assert error < (0.02 if scheme.startswith("int8") else 0.2)


def test_int4_codes_by_hand() -> None:
    from llmsizer.profile.engines.weight_only import int4_codes

    weight = torch.arange(16, dtype=torch.float32).repeat(8)[None]  # 0 … 15: step 1, so every code is its value
    codes, scales, zeros = int4_codes(weight)
    assert codes[0, :16].tolist() == list(range(16))
    assert (float(scales[0, 0]), float(zeros[0, 0])) == (1.0, 8.0)  # (code − 8) × 1 + 8


def test_int8_codes_by_hand() -> None:
    from llmsizer.profile.engines.weight_only import int8_codes

    codes, scales = int8_codes(torch.tensor([[1.27, -0.635, 0.01]]))
    assert codes.tolist() == [[127, -64, 1]]  # −63.5 rounds to even
    assert float(scales[0]) == pytest.approx(0.01)


def test_a_layer_that_fills_no_groups_is_refused_by_name() -> None:
    from llmsizer.profile.engines.weight_only import packed_linear

    with pytest.raises(MeasurementError, match=r"mlp\.up: \(32, 100\)"):
        packed_linear("mlp.up", torch.nn.Linear(100, 32), "int4-wo")


def test_grouped_attention_is_attention() -> None:
    from llmsizer.profile.engines.grouped_attention import grouped_attention

    torch.manual_seed(0)
    query, key, value = torch.randn(2, 6, 1, 8), torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8)
    mask = torch.tensor([True, True, True, False, False]).expand(2, 1, 1, 5)
    got, _ = grouped_attention(None, query, key, value, mask)
    wanted = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True)
    assert torch.allclose(got, wanted.transpose(1, 2), atol=1e-5)


def test_graph_pools_are_the_segments_that_belong_to_a_graph() -> None:
    from llmsizer.profile.engines.transformers import graph_pool_bytes

    segments = [
        {"total_size": 100, "segment_pool_id": (0, 0)},
        {"total_size": 30, "segment_pool_id": (0, 1)},
        {"total_size": 7},
    ]
    assert graph_pool_bytes(segments) == 30.0


def test_continuous_batching_streams_all_requests_and_ends(tmp_path: Path) -> None:
    from llmsizer.profile.engines.transformers_batching import TransformersBatching

    engine = TransformersBatching(variant(tmp_path))
    try:
        for run in range(2):
            prompts = prompts_of(POINT, vocabulary=engine.vocabulary, seed=0, run=run)
            assert len(take_sample(engine, prompts, 4, ticks().__next__).gaps_seconds) == 3
        assert engine.memory_use().kv_blocks == 2 * (1 + 1)  # 16 tokens fill one block of 32, one to spare
    finally:
        engine.close()
