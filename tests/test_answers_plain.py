"""Sentences of answers that a buyer read twice: what they name first, what they leave out, what they admit."""

from __future__ import annotations

import pytest

from deciding import CATALOG, TODAY, RooflinePhysics, answer, scenario
from llmsizer.decide.candidates.fixes import nearest_fit
from llmsizer.decide.pricing.study import formats_of, study
from llmsizer.decide.recommend import recommend
from llmsizer.facts.deployment import deployment
from llmsizer.facts.precision import PRECISIONS
from llmsizer.physics.steps.cases import rates_of
from llmsizer.physics.steps.formats import peak_flops

EU = "[constraints]\neu_only = true\n"


@pytest.mark.parametrize(
    ("model", "formats"),
    [
        ("gpt-oss-120b", ["mxfp4", "int4"]),  # published in MXFP4: nobody serves it blown up to 8 or 16 bit
        ("deepseek-v3", ["fp8", "int8", "int4"]),
        ("qwen3-235b-a22b", ["bf16", "fp8", "int8", "int4"]),
    ],
)
def test_a_model_that_is_published_quantized_is_planned_in_that_format_and_no_wider(
    model: str, formats: list[str]
) -> None:
    found = formats_of(CATALOG.model(model), scenario(model=model))
    assert [precision.name for precision in found] == formats


def test_formats_that_are_asked_for_stay_whatever_was_published() -> None:
    asked = scenario('[constraints]\nprecisions = ["bf16"]\n', model="deepseek-v3")
    assert [precision.name for precision in formats_of(CATALOG.model("deepseek-v3"), asked)] == ["bf16"]


def test_the_memory_of_a_model_that_is_published_quantized_is_said_as_published_first() -> None:
    note = answer(scenario('[constraints]\ngpus = ["h200-sxm-141"]\n', model="deepseek-v3")).memory_note
    assert note.startswith("As its maker publishes it, in fp8, deepseek-v3 takes 673.6 GB. At 16 bit")


def test_every_format_has_a_rate_on_every_device_that_has_one() -> None:
    for gpu in CATALOG.gpus():
        for name in ("mxfp4", "fp4", "fp8", "int8", "int4", "16bit"):
            assert peak_flops(name, rates_of(gpu))[0] > 0, f"{name} on {gpu.id}"


def test_under_eu_law_the_api_of_an_eu_operator_is_the_one_that_is_compared() -> None:
    found = answer(scenario(EU, model="mistral-small-4"))
    assert found.apis[0].provider == "mistral"
    assert "The same model at mistral's API, whose operator stands under EU law, costs" in found.sentence
    assert "is not in the price list: ask" in found.sentence
    assert any("mistral stands under EU law" in note for note in found.apis[0].notes)
    anywhere = answer(scenario(model="mistral-small-4"))
    assert all("under EU law" not in " ".join(api.notes) for api in anywhere.apis)


def test_apis_without_a_price_for_batch_work_are_not_called_missing() -> None:
    found = answer(scenario("[money]\nbatch_share = 1.0\n", model="gpt-oss-120b"))
    assert "without a listed price for batch work (money.batch_share = 0" in found.sentence
    assert "No API in the price list serves this model" not in found.sentence


def test_a_spare_in_the_same_server_is_said_to_be_no_spare_for_the_server() -> None:
    found = answer(scenario('[constraints]\ngpus = ["l40s"]\nrent = false\napi = false\n', tokens_per_month=1e8))
    notes = found.plans[0].notes
    assert found.plans[0].units == 1 and found.plans[0].spare_replicas == 1
    assert any("all replicas stand in one server" in note for note in notes)
    alone = answer(scenario('spare_replicas = 0\n[constraints]\ngpus = ["l40s"]\nrent = false\n'))
    assert not any("stand in one server" in note for plan in alone.plans for note in plan.notes)


def test_a_workstation_card_that_is_bought_asks_for_its_server() -> None:
    found = answer(scenario('[constraints]\ngpus = ["rtx-pro-6000-ws"]\nrent = false\napi = false\n'))
    assert any("workstation card" in note for note in found.plans[0].notes)


def test_several_servers_are_a_fix_only_where_nothing_smaller_is() -> None:
    asked = scenario('[constraints]\ngpus = ["h100-nvl-94"]\n', model="deepseek-v3")
    physics = RooflinePhysics()
    question = study(CATALOG.model("deepseek-v3"), asked, CATALOG, today=TODAY, physics=physics).question
    tight = deployment(question.model, CATALOG.gpu("h100-nvl-94"), "fp8", tp=8, max_context_tokens=4300)
    assert "servers" not in nearest_fit(question, tight)  # int4 fits the same eight
    narrowest = deployment(question.model, CATALOG.gpu("l40s"), "int4", tp=8, max_context_tokens=4300)
    assert nearest_fit(question, narrowest) == "fits on 16 GPUs in 2 servers"
    assert PRECISIONS["int4"].weight_bits == 4


def test_a_path_that_has_no_price_is_spoken_of_as_a_path() -> None:
    found = recommend(CATALOG.model("mistral-small-4"), scenario(EU, model="mistral-small-4"), CATALOG, today=TODAY)
    said = " ".join(flip.text for flip in found.flips)
    assert "since renting has no price that the scenario allows" in said and "since rent has" not in said


def test_gpus_of_a_board_that_nobody_uses_are_said() -> None:
    text = '[constraints]\nprecisions = ["fp8"]\ngpus = ["{}"]\nrent = false\napi = false\n'
    board = answer(scenario("spare_replicas = 0\n" + text.format("h100-sxm-80"), tokens_per_month=1e8)).plans[0]
    used = board.gpus
    assert any(f"{8 - used} of the GPUs that are paid stand idle" in note for note in board.notes)
    card = answer(scenario("spare_replicas = 0\n" + text.format("l40s"), tokens_per_month=1e8)).plans[0]
    assert not any("stand idle" in note for note in card.notes)
