"""vLLM's engine stepped in this process, with a stand-in that makes tokens as vLLM's own engine reports them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmsizer.errors import MeasurementError
from llmsizer.facts.variant import Variant
from llmsizer.profile.engines.vllm import VllmOffline
from llmsizer.profile.measure import Point, prompts_of, take_sample

POINT = Point(batch=2, prompt_tokens=3, output_tokens=4)


class Engine:
    """Gives each request its tokens: the second one a step late, and two at once to catch up."""

    def __init__(self, short: bool = False) -> None:
        self.asked: list[tuple[str, list[int], Any]] = []
        self._made: dict[str, int] = {}
        self._short = short
        self._steps = 0

    def add_request(self, name: str, prompt: dict[str, list[int]], sampling: Any) -> None:
        self.asked.append((name, prompt["prompt_token_ids"], sampling))
        self._made[name] = 0

    def _wanted(self, name: str) -> int:
        return next(s.max_tokens for n, _, s in self.asked if n == name) - self._short

    def has_unfinished_requests(self) -> bool:
        return any(made < self._wanted(name) for name, made in self._made.items())

    def step(self) -> list[Any]:
        self._steps += 1
        outputs = []
        for index, name in enumerate(self._made):
            made = 0 if index and self._steps == 1 else min(self._wanted(name), self._steps)
            if made > self._made[name]:
                self._made[name] = made
                outputs.append(SimpleNamespace(request_id=name, outputs=[SimpleNamespace(token_ids=[7] * made)]))
        return outputs


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(engine: Engine) -> VllmOffline:
        asked: dict[str, Any] = {}

        def llm(**settings: Any) -> Any:
            asked.update(settings)
            return SimpleNamespace(llm_engine=engine)

        module = SimpleNamespace(LLM=llm, SamplingParams=lambda **s: SimpleNamespace(**s), __version__="0.99")
        monkeypatch.setitem(sys.modules, "vllm", module)
        monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        config: dict[str, object] = {"vocab_size": 100}
        found = VllmOffline(
            Variant(
                path=tmp_path, model="m", name="int4", precision="int4", method="m", format="compressed-tensors",
                config=config,
            )
        )  # fmt: skip
        assert asked["load_format"] == "dummy" and asked["skip_tokenizer_init"]  # an empty folder
        assert asked["enable_prefix_caching"] is False
        return found

    return make


def test_a_batch_advances_with_its_slowest_request(loaded: Any) -> None:
    engine = Engine()
    backend = loaded(engine)
    ticks = iter(range(100))
    sample = take_sample(backend, prompts_of(POINT, vocabulary=100, seed=0, run=1), 4, lambda: float(next(ticks)))
    assert len(sample.gaps_seconds) == 3
    assert [len(prompt) for _, prompt, _ in engine.asked] == [3, 3]
    assert all(s.ignore_eos and s.min_tokens == s.max_tokens == 4 for _, _, s in engine.asked)
    take_sample(backend, prompts_of(POINT, vocabulary=100, seed=0, run=2), 4, lambda: float(next(ticks)))
    assert len({name for name, _, _ in engine.asked}) == 4  # no two requests share a name


def test_an_engine_that_makes_fewer_tokens_is_no_measurement(loaded: Any) -> None:
    with pytest.raises(MeasurementError, match="3 tokens a request, not the 4"):
        take_sample(loaded(Engine(short=True)), prompts_of(POINT, vocabulary=100, seed=0, run=1), 4, lambda: 0.0)
