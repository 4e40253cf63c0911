"""Perplexity, divergence, agreement and their intervals, by hand and by simulation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from llmsizer.errors import InputError, MeasurementError
from llmsizer.quality.evaluate import compare, evaluate
from llmsizer.quality.logits import Logits, Reader, Tokens
from llmsizer.quality.losses import log_sum_exp
from llmsizer.quality.statistics import mean_by_document
from llmsizer.quality.text import tokenize
from llmsizer.quantize import original, quantize_all
from llmsizer.student import student_quantile
from tiny_models import TEXT, needs, write_checkpoint


def constant(*row: float) -> Reader:
    """An engine that says the same at every position."""

    def read(tokens: Tokens) -> Logits:
        return np.tile(np.array(row, dtype=np.float32), (tokens.size, 1))

    return read


def test_perplexity_kl_and_agreement_by_hand() -> None:
    # the reference gives ½ ½, the variant ¾ ¼; the tokens to predict are 0, 1, 1
    tokens = np.array([0, 0, 1, 1])
    loss = compare([constant(math.log(3), 0)], constant(0, 0), [tokens])[0][0]
    assert loss.tokens == 3
    assert loss.nll == pytest.approx(-(math.log(3 / 4) + 2 * math.log(1 / 4)))
    assert loss.reference_nll == pytest.approx(3 * math.log(2))
    # ½ ln(½ ÷ ¾) + ½ ln(½ ÷ ¼) = ½ ln(4/3) nats at each position
    assert loss.kl_per_token == pytest.approx([0.5 * math.log(4 / 3)] * 3)
    assert loss.agreed == 3.0


def test_agreement_counts_the_same_first_choice_only() -> None:
    loss = compare([constant(0, 1, 0)], constant(2, 1, 0), [np.array([0, 1, 2])])[0][0]
    assert loss.agreed == 0.0


def test_a_variant_that_is_the_reference_loses_exactly_nothing() -> None:
    reader = constant(0.3, -1.7, 12.5)
    loss = compare([reader], reader, [np.array([0, 1, 2, 1])])[0][0]
    assert loss.kl == 0.0
    assert loss.nll == loss.reference_nll


def test_a_shift_of_all_logits_changes_nothing() -> None:
    loss = compare([constant(100.5, 101.5)], constant(0.5, 1.5), [np.array([0, 1, 1])])[0][0]
    assert abs(loss.kl) < 1e-5


def test_divergences_of_1e6_survive_single_precision() -> None:
    # two near coins: KL of ½ against ½ + e is 2 e² for small e
    e = 1e-3
    near = constant(math.log(0.5 + e), math.log(0.5 - e))
    loss = compare([near], constant(math.log(0.5), math.log(0.5)), [np.array([0, 1])])[0][0]
    assert loss.kl == pytest.approx(2 * e**2, rel=0.05)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_an_error(bad: float) -> None:
    with pytest.raises(MeasurementError, match="not finite"):
        log_sum_exp(np.array([[0.0, bad]], dtype=np.float32))


def test_mean_and_standard_error_by_document_by_hand() -> None:
    # sums 2 and 8 of 2 and 4 tokens: mean 10/6; residuals 2 − 20/6 = −4/3 and 8 − 40/6 = 4/3;
    # error = √(2 × 16/9 × 2/1) / 6
    mean = mean_by_document(np.array([2.0, 8.0]), np.array([2.0, 4.0]))
    assert mean.value == pytest.approx(10 / 6)
    assert mean.standard_error == pytest.approx(math.sqrt(64 / 9) / 6)
    assert mean.low == pytest.approx(mean.value - 6.314 * mean.standard_error, rel=1e-3)  # t(0.95, 1 degree)


def test_one_document_has_no_interval() -> None:
    assert math.isnan(mean_by_document(np.array([2.0]), np.array([2.0])).standard_error)


@pytest.mark.parametrize(
    ("degrees", "quantile"), [(1, 6.314), (2, 2.920), (3, 2.353), (5, 2.015), (10, 1.812), (30, 1.697), (60, 1.671)]
)
def test_student_t_is_that_of_the_table(degrees: int, quantile: float) -> None:
    assert student_quantile(0.95, degrees) == pytest.approx(quantile, rel=0.01)


def test_intervals_by_document_cover_in_85_to_95_percent_of_500_simulations() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(500):
        tokens = generator.integers(50, 256, 40).astype(float)
        per_token = generator.normal(0.01, 0.004, 40)  # documents differ, tokens inside one do not average it out
        mean = mean_by_document(per_token * tokens, tokens)
        covered += mean.low <= 0.01 <= mean.high
    assert 0.85 <= covered / 500 <= 0.95


@needs("tokenizers")
def test_documents_are_cut_and_short_ones_left_out(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "model")
    rows = tokenize(checkpoint, [TEXT, "short", TEXT], 100)
    assert [row.size for row in rows] == [100, 100]
    with pytest.raises(InputError, match="two or more"):
        tokenize(checkpoint, [TEXT, "short"], 100)


def test_a_model_without_a_tokenizer_cannot_be_examined(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        pytest.importorskip("tokenizers")
        tokenize(write_checkpoint(tmp_path / "model", tokenizer=False), [TEXT], 100)


@needs("openvino_genai", "nncf", "gguf", "tokenizers", "torch", "transformers")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_order_fp16_int8_int4_shows_through_the_engine(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "model")
    variants = quantize_all(checkpoint, ["openvino-fp16", "openvino-int8", "openvino-int4"], tmp_path / "out")
    texts = [TEXT[i * 37 :] for i in range(6)]
    records = evaluate(variants, original(checkpoint), texts, dataset="fox", max_document_tokens=64)
    kl = [record.kl_nats_per_token for record in records]
    assert kl[0] is not None and kl[1] is not None and kl[2] is not None
    assert kl[0] < kl[1] < kl[2]
    assert [record.variant for record in records] == ["fp16", "int8", "int4"]
    assert all(record.tokens == 6 * 63 and record.documents == 6 for record in records)
    assert all(r.perplexity_ratio_low <= r.perplexity_ratio <= r.perplexity_ratio_high for r in records)  # type: ignore[operator]
