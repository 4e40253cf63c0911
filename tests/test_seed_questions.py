"""The questions the project began with, answered for both readings of the name, with the shape of each answer."""

from __future__ import annotations

import datetime
import json

import pytest

from llmsizer.cli import main
from llmsizer.decide import press_claims
from llmsizer.decide.answer import Recommendation
from llmsizer.decide.press_claims import READINGS, VOLUMES, Claim, Finding
from llmsizer.decide.recommend import recommend
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.hub import load_model
from llmsizer.facts.scenario import load_scenario

TODAY = datetime.date(2026, 11, 20)


def answered(name: str) -> Recommendation:
    catalog = default_catalog()
    scenario = load_scenario(catalog.root / "scenarios" / f"{name}.toml")
    return recommend(load_model(scenario.model, catalog), scenario, catalog, today=TODAY)


def formats(found: Recommendation, gpu: str = "") -> set[str]:
    return {plan.deployment.weights.name for plan in found.plans if not gpu or plan.deployment.gpu.id == gpu}


@pytest.fixture(scope="module")
def claims() -> dict[str, Claim]:
    return {claim.text: claim for claim in press_claims.press_claims(default_catalog(), TODAY)}


def of(claims: dict[str, Claim], words: str) -> tuple[Finding, Finding]:
    claim = next(claim for text, claim in claims.items() if words in text)
    press, real = claim.findings
    return press, real


def test_22b_at_full_precision_takes_44_gb_and_stays_below_50_for_short_contexts_only(
    claims: dict[str, Claim],
) -> None:
    press, real = of(claims, "40 to 50 GB")
    # 22,247,282,688 parameters of 2 bytes; 56 layers × 8 heads × 128 × 2 tensors × 2 bytes a token.
    assert press.figures["weight_bytes"] == 2 * 22_247_282_688
    assert press.figures["kv_bytes_per_token"] == 229_376
    assert press.figures["tokens_within_50_gb"] == (50_000_000_000 - 44_494_565_376) // 229_376
    assert press.verdict == "holds in part" and press.basis == "assumed"
    assert real.verdict == "does not hold" and real.figures["weight_bytes"] == pytest.approx(238.8e9, rel=0.001)


def test_one_a100_of_80_gb_holds_22b_at_16_bit_and_one_of_40_gb_does_not(claims: dict[str, Claim]) -> None:
    press, real = of(claims, "one A100")
    assert press.figures["80 GB: bf16"] == "True" and press.figures["40 GB: bf16"] == "False"
    assert press.figures["40 GB: int8"] == press.figures["40 GB: int4"] == "True"
    assert real.figures["80 GB: bf16"] == real.figures["80 GB: int8"] == "False"
    assert real.figures["80 GB: int4"] == "True" and real.figures["40 GB: int4"] == "False"
    assert press.verdict == real.verdict == "holds in part"
    assert "bf16" in formats(answered("one-a100-22b"), "a100-sxm-80")
    assert not formats(answered("one-a100-22b"), "a100-sxm-40")
    assert formats(answered("one-a100")) == {"int4"}


def test_a_card_of_ten_thousand_dollars_holds_22b_quantized_and_the_released_model_not_at_all(
    claims: dict[str, Claim],
) -> None:
    press, real = of(claims, "$10,000")
    assert press.verdict == "holds in part" and "none at 16 bit" in press.text
    assert real.verdict == "does not hold" and not real.figures
    assert formats(answered("card-for-10000-22b")) <= {"fp8", "int8", "int4"} and answered("card-for-10000-22b").plans
    assert not answered("card-for-10000").plans
    assert {p.deployment.gpu.memory_bytes or 0 > 44.5e9 for p in answered("full-precision-22b").plans}
    assert formats(answered("full-precision-22b")) == {"bf16"}


def test_consumer_cards_hold_22b_in_int4_on_one_and_int8_on_two(claims: dict[str, Claim]) -> None:
    press, real = of(claims, "Consumer cards")
    assert press.figures["GeForce RTX 4090: int4"] == 1 and press.figures["GeForce RTX 4090: int8"] == 2
    assert press.figures["GeForce RTX 5090: int8"] == 1
    assert all(count is None or count >= 4 for count in real.figures.values())  # type: ignore[operator]
    widths = {plan.deployment.parallelism.gpus for plan in answered("consumer-cards").plans}
    assert min(widths) >= 4


def test_the_cost_of_every_path_stands_at_every_volume(claims: dict[str, Claim]) -> None:
    for finding in of(claims, "European company"):
        assert len(VOLUMES) == 4
        for maker in ("mistral", "openai", "anthropic", "google"):
            values = [v for key, v in finding.figures.items() if key.endswith(f" at {maker}")]
            assert len(values) >= len(VOLUMES) and all(isinstance(v, float) and v > 0 for v in values), maker
        own = [v for key, v in finding.figures.items() if key.endswith(": own")]
        assert own == sorted(own) and len(own) == len(VOLUMES)  # type: ignore[type-var]
        api = [v for key, v in finding.figures.items() if "Claude Opus" in key]
        assert api[-1] == pytest.approx(api[0] * 1000)  # type: ignore[operator]
        assert finding.verdict == "does not hold", "at a billion tokens a month every API costs less than machines"


def test_what_fine_tuning_takes_is_answered_for_both(claims: dict[str, Claim]) -> None:
    press, real = of(claims, "fine-tuned")
    assert press.figures["full: H100 80 GB"] == 5 and press.figures["qlora: RTX 4090"] == 1
    assert real.figures["full: H100 80 GB"] == 31 and real.figures["lora: H100 80 GB"] == 4
    assert press.verdict == real.verdict == "holds in part"


def test_every_claim_is_answered_for_both_readings_with_figures_and_basis(claims: dict[str, Claim]) -> None:
    assert len(claims) == 6
    for claim in claims.values():
        assert len(claim.findings) == len(READINGS)
        for finding in claim.findings:
            assert finding.text and finding.basis in ("assumed", "published")


def test_the_command_prints_both_readings_side_by_side(
    claims: dict[str, Claim], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(press_claims, "press_claims", lambda *_: tuple(claims.values()))
    assert main(["answer", "press-claims"]) == 0
    shown = capsys.readouterr().out
    for reading in READINGS:
        assert reading in shown
    assert "✗ does not hold" in shown and "Claude" in shown
    assert main(["answer", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["claims"]) == 6
