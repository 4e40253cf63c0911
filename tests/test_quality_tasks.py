"""Tasks paired by item, code in a sandbox, long contexts by retrieval or divergence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from llmsizer.errors import InputError, MeasurementError
from llmsizer.facts.quality_parts import LongContext
from llmsizer.quality.cached_logits import open_tail_reader
from llmsizer.quality.code_tasks import read_problems, run_code_task
from llmsizer.quality.logits import Logits, Tokens
from llmsizer.quality.long_context import Grid, TailReader, examine
from llmsizer.quality.sandbox import isolation, run_sandboxed
from llmsizer.quality.task_model import TextModel
from llmsizer.quality.tasks import TaskChoice, evaluate_tasks, mcnemar_p, paired_score
from llmsizer.quantize import original
from tiny_models import TEXT, needs, write_checkpoint

PROBLEM = {"prompt": "def two():\n", "test": "def check(f):\n    assert f() == 2", "entry_point": "two"}


def test_scores_and_pairs_by_hand() -> None:
    # right on 3 of 4, the reference on 2 of 4; one item lost, two won
    own, other = {"a": 1.0, "b": 1.0, "c": 1.0, "d": 0.0}, {"a": 0.0, "b": 0.0, "c": 1.0, "d": 1.0}
    score = paired_score(own, other, metric="acc")
    assert (score.score, score.reference_score, score.difference, score.recovery) == (0.75, 0.5, 0.25, 1.5)
    assert (score.only_variant_right, score.only_reference_right) == (2, 1)
    assert score.mcnemar_p == 1.0  # of three discordant items, two against one is the most even split
    assert score.is_distinguishable is False


def test_mcnemar_counts_discordant_items_only() -> None:
    assert mcnemar_p(0, 0) == 1.0
    assert mcnemar_p(0, 10) == pytest.approx(2 / 1024)


def test_models_that_answered_alike_may_still_differ() -> None:
    same = {str(i): float(i % 2) for i in range(60)}
    score = paired_score(same, same, metric="acc")
    # half an item more in each cell: error = √(1) / 62
    assert score.difference_high == pytest.approx(1.645 / 62, rel=1e-3)
    assert score.difference_low == pytest.approx(-1.645 / 62, rel=1e-3)


def test_a_reference_that_scores_nothing_gives_no_recovery() -> None:
    score = paired_score({"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 0.0}, metric="acc")
    assert score.recovery is None and score.recovery_low is None and score.score == 0.5


def test_other_items_are_not_paired() -> None:
    with pytest.raises(MeasurementError, match="2 items were answered by one model only"):
        paired_score({"a": 1.0}, {"b": 1.0}, metric="acc")


def test_the_sandbox_tells_good_code_from_bad() -> None:
    assert run_sandboxed("assert 1 + 1 == 2").passed
    assert run_sandboxed("assert 1 + 1 == 3").reason == "AssertionError"


def test_code_that_ends_itself_before_its_tests_has_not_passed() -> None:
    for ending in ("raise SystemExit(0)", "import os\nos._exit(0)"):
        assert "ended itself" in run_sandboxed(f"{ending}\nassert False").reason
    assert run_sandboxed("print('no end of line', end='')").passed


def test_code_that_prints_without_end_takes_no_more_than_the_limit_on_files() -> None:
    assert not run_sandboxed("while True: print('x' * 10_000)").passed


def test_the_sandbox_limits_memory_files_and_time(tmp_path: Path) -> None:
    assert not run_sandboxed("x = bytearray(4 << 30)").passed
    assert not run_sandboxed("open('big', 'wb').write(b'x' * (8 << 20))").passed
    assert "longer" in run_sandboxed("while True: pass", timeout_seconds=0.3).reason


@pytest.mark.skipif(not isolation(), reason="this system allows no network namespace of one's own")
def test_the_sandbox_has_no_network() -> None:
    code = "import socket\nsocket.create_connection(('127.0.0.1', 9), timeout=1)"
    assert "unreachable" in run_sandboxed(code).reason


class Writes:
    """A model that always answers the same."""

    def __init__(self, answer: str) -> None:
        self.answer = answer

    def generate(self, context: str, until: tuple[str, ...], most_tokens: int = 0) -> str:
        return self.answer


def test_a_code_task_passes_where_the_tests_do(tmp_path: Path) -> None:
    file = tmp_path / "mine.code.jsonl"
    file.write_text(json.dumps(PROBLEM) + "\n")
    assert run_code_task(Writes("    return 2\n"), file)["items"] == {"0": 1.0}
    assert run_code_task(Writes("    return 3\n"), file)["items"] == {"0": 0.0}


def test_problems_that_lack_a_field_name_the_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.code.jsonl"
    file.write_text(json.dumps(PROBLEM) + "\n{}\n")
    with pytest.raises(InputError, match="line 2"):
        read_problems(file)


@needs("tokenizers")
def test_tasks_that_run_code_are_refused_until_allowed(tmp_path: Path) -> None:
    variant = original(write_checkpoint(tmp_path / "model"))
    (tmp_path / "mine.code.jsonl").write_text(json.dumps(PROBLEM))
    for name in ("humaneval", "mine"):
        with pytest.raises(InputError, match="--allow-code-execution"):
            evaluate_tasks([variant], variant, TaskChoice(names=(name,), folder=tmp_path))
    with pytest.raises(InputError, match=r"humaneval\.code\.jsonl .* never downloaded"):
        evaluate_tasks([variant], variant, TaskChoice(names=("humaneval",), allow_code=True))


@needs("tokenizers")
def test_a_likelihood_is_that_of_the_continuation_alone(tmp_path: Path) -> None:
    def even(tokens: Tokens) -> Logits:
        return np.zeros((tokens.size, 320), dtype=np.float32)

    model = TextModel(even, write_checkpoint(tmp_path / "model"), context_tokens=64)
    whole, context = (len(model._encode(text)) for text in ("The fox jumps", "The fox"))
    nats, greedy = model.log_likelihood("The fox", " jumps")
    assert nats == pytest.approx(-(whole - context) * np.log(320))
    assert not greedy


@needs("torch", "transformers")
def test_on_a_cpu_a_16_bit_cache_is_rounded_and_nothing_else(tmp_path: Path) -> None:
    variant = original(write_checkpoint(tmp_path / "model"))
    tokens = np.arange(3, 43)
    with open_tail_reader(variant, "fp32") as exact, open_tail_reader(variant, "fp16") as rounded:
        off = np.abs(exact(tokens, 4) - rounded(tokens, 4)).max()
    assert 0 < off < 1e-2


def test_long_contexts_without_room_or_text_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    folder = write_checkpoint(tmp_path / "model")
    with pytest.raises(InputError, match="give more text"):
        examine(
            _reads(0.0),
            _reads(0.0),
            folder,
            ["short"],
            Grid(context_tokens=(256,)),
            kv_format="int8",
            reference_kv_format="fp16",
        )
    with pytest.raises(InputError, match="no room for a needle"):
        examine(
            _reads(0.0),
            _reads(0.0),
            folder,
            [TEXT] * 4,
            Grid(context_tokens=(8,)),
            kv_format="int8",
            reference_kv_format="fp16",
        )


def _reads(noise: float) -> TailReader:
    generator = np.random.default_rng(0)
    base = generator.normal(0, 1, 320)

    def read(tokens: Tokens, tail: int) -> Logits:
        rows = base + noise * generator.normal(0, 1, (tail, 320))
        return rows.astype(np.float32)

    return read


def _copies(tokens: Tokens, tail: int) -> Logits:
    """Knows every token that comes: finds each needle."""
    rows = np.zeros((tail, 320), dtype=np.float32)
    following = np.append(tokens[1 - tail :], 0) if tail > 1 else np.array([0])
    rows[np.arange(tail), following] = 10.0
    return rows


def _examine(
    folder: Path, texts: list[str], grid: Grid, *, own: float = 0.0, reference: TailReader | None = None
) -> LongContext:
    return examine(
        _reads(own), reference or _reads(0.0), folder, texts, grid, kv_format="int8", reference_kv_format="fp16"
    )


@needs("tokenizers")
def test_a_model_that_retrieves_is_measured_by_retrieval_and_one_that_cannot_by_divergence(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model")
    grid = Grid(context_tokens=(96, 128), depths=(0.5,), trials=2)
    able = _examine(folder, [TEXT] * 4, grid, reference=_copies)
    assert able.measure == "retrieval"
    assert [(c.retrieved, c.reference_retrieved, c.trials) for c in able.cells] == [(0, 2, 2), (0, 2, 2)]
    unable = _examine(folder, [TEXT] * 4, grid, own=0.1)
    assert unable.measure == "divergence" and "0%" in unable.why
    assert all((c.kl_nats_per_token or 0) > 0 and c.retrieved is None for c in unable.cells)


@needs("lm_eval", "torch", "transformers", "tokenizers")
def test_a_local_lm_eval_task_runs_offline_and_is_paired_with_itself(tmp_path: Path) -> None:
    variant = original(write_checkpoint(tmp_path / "model"))
    rows = [{"q": f"The quick brown {w}", "c": [" fox", " jumps"], "a": i % 2} for i, w in enumerate("abcd")]
    data = tmp_path / "tiny.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "tiny.yaml").write_text(
        "task: tiny\ndataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {data}}}}}\n"
        "output_type: multiple_choice\ntest_split: test\ndoc_to_text: '{{q}}'\ndoc_to_target: '{{a}}'\n"
        "doc_to_choice: '{{c}}'\nmetric_list:\n  - metric: acc\n    aggregation: mean\n    higher_is_better: true\n"
    )
    kept = tmp_path / "kept"
    (scores,) = evaluate_tasks([variant], variant, TaskChoice(names=("tiny",), folder=tmp_path), kept_in=kept)
    score = scores["tiny"]
    assert (score.items, score.difference, score.only_reference_right, score.metric) == (4, 0.0, 0, "acc")
    assert len(list(kept.iterdir())) == 1  # the variant is the reference: one file, read twice
