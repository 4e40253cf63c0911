"""One pass over the same tokens: what is refused, what is kept, what the pairs and the gate say."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsizer.cli import main
from llmsizer.cli.measure.quality import join_records
from llmsizer.errors import InputError, MeasurementError
from llmsizer.facts.quality_parts import TaskScore
from llmsizer.facts.records import QualityRecord
from llmsizer.facts.variant import Variant
from llmsizer.quality.evaluate import compare, labels_of, record_of
from llmsizer.quality.logits import Logits, Reader, Tokens
from llmsizer.quality.losses import DocumentLoss
from llmsizer.quality.pairs import check_comparable, differences, sentences
from llmsizer.quality.partial import Kept
from llmsizer.quality.statistics import mean_by_document, quantile_by_document
from llmsizer.quality.text import check_same_tokens, hash_of
from llmsizer.quality.verdict import Limits, gate, judge
from tiny_models import needs, write_checkpoint

ROWS = [np.array([0, 1, 1, 0]), np.array([1, 0, 1])]


TASK = TaskScore(metric="acc", items=50, score=0.48, reference_score=0.5, recovery=0.96, recovery_low=0.95)


def coin(share: float) -> Reader:
    """An engine that gives token 1 so much of the probability, everywhere."""

    def read(tokens: Tokens) -> Logits:
        row = np.log(np.array([1 - share, share], dtype=np.float32))
        return np.tile(row, (tokens.size, 1))

    return read


def loss(kl: float, tokens: int = 10) -> DocumentLoss:
    return DocumentLoss(nll=20.0, reference_nll=20.0, agreed=tokens, kl_per_token=np.full(tokens, kl))


def variant(name: str, path: Path = Path("x"), **config: object) -> Variant:
    return Variant(path=path, model="m", name=name, precision="int4", method="rtn", format="huggingface", config=config)


def record(name: str = "int4", **changes: object) -> QualityRecord:
    made = record_of(variant(name), variant("fp16"), [loss(0.01), loss(0.03)], dataset="d", text_sha256="a")
    return made.model_copy(update=changes)


def test_an_interrupted_evaluation_goes_on_where_it_stopped(tmp_path: Path) -> None:
    kept, asked = Kept(tmp_path / "unfinished"), []

    def dies(tokens: Tokens) -> Logits:
        asked.append(tokens.size)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return coin(0.7)(tokens)

    with pytest.raises(KeyboardInterrupt):
        compare([dies], coin(0.5), ROWS, keys=["a"], kept=kept)
    (resumed,) = compare([dies], coin(0.5), ROWS, keys=["a"], kept=kept)
    (whole,) = compare([coin(0.7)], coin(0.5), ROWS)
    assert asked == [4, 3, 3]  # the first document was not read again
    assert [d.nll for d in resumed] == [d.nll for d in whole]
    assert all((a.kl_per_token == b.kl_per_token).all() for a, b in zip(resumed, whole, strict=True))


def test_a_line_cut_off_by_an_interruption_costs_only_itself(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "unfinished")
    kept.add("a", 0, loss(0.5))
    file = tmp_path / "unfinished"
    file.write_text(file.read_text() + '{"variant": "a", "docum')
    kept.add("a", 1, loss(0.25))
    assert {key: d.kl for key, d in kept.read().items()} == {("a", 0): 5.0, ("a", 1): 2.5}


def test_the_reference_is_not_asked_for_what_is_finished(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "unfinished")
    compare([coin(0.7)], coin(0.5), ROWS, keys=["a"], kept=kept)

    def never(tokens: Tokens) -> Logits:
        raise AssertionError("read again")

    assert len(compare([never], never, ROWS, keys=["a"], kept=kept)[0]) == 2


def test_logits_that_are_not_finite_name_the_variant_and_the_document() -> None:
    def broken(tokens: Tokens) -> Logits:
        return np.full((tokens.size, 2), math.nan, dtype=np.float32)

    with pytest.raises(MeasurementError, match=r"int4, document 1: .*not finite"):
        compare([broken], coin(0.5), ROWS, keys=["int4#abc"])


def test_logits_over_another_vocabulary_are_refused() -> None:
    def wide(tokens: Tokens) -> Logits:
        return np.zeros((tokens.size, 3), dtype=np.float32)

    with pytest.raises(MeasurementError, match="over 3 tokens, the reference gives 2"):
        compare([wide], coin(0.5), ROWS)


def test_a_config_with_another_vocabulary_is_refused_before_anything_runs() -> None:
    with pytest.raises(InputError, match="a vocabulary of 5 tokens, the reference has 4"):
        check_same_tokens(variant("fp16", vocab_size=4), [variant("int4", vocab_size=5)])


@needs("tokenizers")
def test_another_tokenizer_of_the_same_size_is_refused(tmp_path: Path) -> None:
    first, second = write_checkpoint(tmp_path / "a"), write_checkpoint(tmp_path / "b")
    file = second / "tokenizer.json"
    data = json.loads(file.read_text())
    vocabulary = data["model"]["vocab"]
    one, other = sorted(vocabulary, key=vocabulary.get)[-2:]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    file.write_text(json.dumps(data))
    with pytest.raises(InputError, match="another tokenizer"):
        check_same_tokens(variant("fp16", first), [variant("int4", second)])


def test_text_that_calibrated_a_variant_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"w{i}" for i in range(400)]
    text = tmp_path / "text.txt"
    text.write_text("all new\n" + " ".join(words))
    assert main(["quality", str(tmp_path), str(tmp_path), "--text", str(text), "--calibration", str(text)]) == 1
    assert "seen in calibration" in capsys.readouterr().err


def test_the_hash_knows_where_documents_end() -> None:
    one, two = np.array([1, 2, 3]), np.array([4])
    assert hash_of([one, two]) != hash_of([np.array([1, 2]), np.array([3, 4])])
    assert hash_of([one, two]) == hash_of([one.copy(), two])


def test_a_paired_difference_is_told_although_the_single_intervals_overlap() -> None:
    # documents differ tenfold, the variants by a steady tenth: only the pairs can see it
    base = [0.01, 0.02, 0.05, 0.1, 0.04, 0.03]
    by_name = {"a": [loss(kl) for kl in base], "b": [loss(kl + 0.001) for kl in base]}
    (pair,) = differences("b", by_name)
    assert pair.kl_nats_per_token == pytest.approx(0.001)
    assert pair.is_distinguishable
    tokens = np.full(6, 10.0)
    a, b = (mean_by_document(np.array([d.kl for d in by_name[name]]), tokens) for name in "ab")
    assert a.high > b.low


def test_overlapping_pairs_are_called_indistinguishable_in_words() -> None:
    by_name = {"a": [loss(0.01), loss(0.03), loss(0.02)], "b": [loss(0.03), loss(0.01), loss(0.021)]}
    records = [
        record_of(variant(name), variant("fp16"), losses, dataset="d").model_copy(
            update={"differences": differences(name, by_name)}
        )
        for name, losses in by_name.items()
    ]
    assert "indistinguishable" in sentences(records)[0]


def test_two_variants_of_one_name_are_told_apart_by_their_methods() -> None:
    first, second = variant("int4"), variant("int4").model_copy(update={"method": "gptq"})
    assert labels_of([first, second, variant("fp16")]) == ["rtn", "gptq", "fp16"]
    with pytest.raises(InputError, match="give each once"):
        labels_of([first, first])


def test_records_of_other_text_are_not_compared() -> None:
    with pytest.raises(InputError, match="other text"):
        check_comparable([record(), record("int8", text_sha256="b")])
    with pytest.raises(InputError, match="of other, int4 of m"):
        check_comparable([record(), record("int8", model="other")])


@given(st.lists(st.floats(0, 10), min_size=2, max_size=20))
def test_a_quantile_lies_within_its_values_and_its_interval_too(values: list[float]) -> None:
    found = quantile_by_document([np.array([v]) for v in values], 0.99)
    assert min(values) <= found.low <= found.high <= max(values)


def test_divergence_rejects_whatever_the_tasks_say() -> None:
    good = TaskScore(metric="acc", items=100, score=0.9, difference=0.1, difference_low=0.05, difference_high=0.15,
                     recovery=1.1, recovery_low=1.05)  # fmt: skip
    bad = record(kl_nats_per_token=0.5, kl_nats_per_token_high=0.6, tasks={"x": good})
    (verdict,) = judge([bad])
    assert verdict.judgement == "rejected" and "KL" in verdict.why


@pytest.mark.parametrize(
    ("low", "high", "judgement"), [(-0.01, 0.02, "indistinguishable"), (-0.03, -0.01, "acceptable")]
)
def test_among_the_sound_tasks_choose(low: float, high: float, judgement: str) -> None:
    score = TaskScore(metric="acc", items=100, score=0.5, difference=(low + high) / 2, difference_low=low,
                      difference_high=high, recovery=1.0, recovery_low=0.995)  # fmt: skip
    assert judge([record(tasks={"x": score})])[0].judgement == judgement


def test_a_variant_without_figures_is_unknown_and_not_accepted() -> None:
    assert judge([record(kl_nats_per_token=None)])[0].judgement == "unknown"


def test_the_gate_holds_limits_against_the_unfavourable_end() -> None:
    one = record(kl_nats_per_token=0.02, kl_nats_per_token_high=0.04)
    assert gate([one], Limits(max_kl_nats=0.05))[0].passed
    assert not gate([one], Limits(max_kl_nats=0.03))[0].passed


def test_an_unknown_figure_fails_the_gate_and_says_so() -> None:
    (line,) = gate([record(top1_agreement=None)], Limits(min_agreement=0.5))
    assert not line.passed and "unknown" in line.text and "fails" in line.text


def test_tasks_join_the_text_record_and_the_gate_sees_both(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text(record(tasks={"old": TASK}).model_dump_json() + "\n")
    joined = join_records(file, {("m", "rtn"): {"tasks": {"new": TASK}}, ("m", "gptq"): {"tasks": {"new": TASK}}})
    assert len(joined) == 1
    assert main(["quality", "gate", str(file), "--max-kl", "1", "--min-recovery", "0.9"]) == 0
    assert main(["quality", "gate", str(file), "--min-recovery", "0.97"]) == 1
    last = QualityRecord.model_validate_json(file.read_text().splitlines()[-1])
    assert set(last.tasks) == {"old", "new"} and last.kl_nats_per_token == pytest.approx(0.02)


def test_the_gate_of_the_command_line_exits_1_with_the_failing_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text(record().model_dump_json() + "\n")
    assert main(["quality", "gate", str(file), "--max-kl", "0.001"]) == 1
    assert "FAIL int4: mean KL divergence" in capsys.readouterr().out
    assert main(["quality", "gate", str(file), "--max-kl", "1", "--min-agreement", "0.9"]) == 0
    assert main(["quality", "gate", str(file)]) == 1
    assert "no limit" in capsys.readouterr().err
    assert main(["quality", "gate", str(file), "--max-kl", "1", "--variant", "int9"]) == 1
