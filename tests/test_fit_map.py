"""What fits where: a cell says what is left, which width would do, or why none does; the drawing says the same."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsizer.deliver.charts.memory import (
    cell_words,
    fit_alt,
    fit_figure,
    fit_table,
    kind_of,
    waterfall,
    waterfall_figure,
    waterfall_table,
)
from llmsizer.errors import InputError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.deployment import Deployment, deployment
from llmsizer.physics.answers.memory import answer_memory
from llmsizer.physics.memory.account import estimate_memory
from llmsizer.physics.memory.fit import changes_to_fit
from llmsizer.physics.memory.fit_cell import FitCell, fit_cell, left_bytes
from llmsizer.units import GIGA

CATALOG = default_catalog()
HOSTILE = "<b onclick=x>&"


def asked(model: str, gpu: str, weights: str = "bf16", **options: object) -> Deployment:
    return deployment(CATALOG.model(model), CATALOG.gpu(gpu), weights, **options)


def cell(**changes: object) -> FitCell:
    usual = {"free_bytes": None, "needs_tensor": None, "reason": "", "is_too_long": False,
             "gpu_bytes": 80e9, "basis": "assumed"}  # fmt: skip
    return FitCell(**(usual | changes))  # type: ignore[arg-type]


def test_what_is_left_is_the_cache_without_the_requests() -> None:
    one = asked("llama-3.1-8b", "h100-sxm-80")
    budget = estimate_memory(one)
    # 2 tensors x 32 layers x 8 heads x 128 dims x 2 bytes a token, 8,192 tokens, 10 requests
    by_hand = budget.kv_cache_bytes - 10 * 8192 * 131_072
    assert left_bytes(budget, 10) == pytest.approx(by_hand)
    assert fit_cell(one, 10).free_bytes == pytest.approx(by_hand)


def test_a_cell_that_does_not_hold_them_names_the_smallest_width_that_does() -> None:
    one = asked("llama-3.3-70b", "h100-sxm-80")
    found = fit_cell(one, 1)
    assert (found.text, found.free_bytes) == ("TP=2", None)
    assert not estimate_memory(one).fits
    assert estimate_memory(asked("llama-3.3-70b", "h100-sxm-80", tp=2)).fits


def test_a_cell_beyond_one_node_says_no_and_why() -> None:
    found = fit_cell(asked("deepseek-v3", "rtx-4060"), 1)
    assert (found.text, found.needs_tensor, found.free_bytes) == ("no", None, None)
    assert "exceed" in found.reason and "4 GPUs" in found.reason


def test_a_context_that_the_model_has_not_is_no_matter_of_memory() -> None:
    assert fit_cell(asked("qwen3-32b", "h200-sxm-141", max_context_tokens=1_000_000), 1).text == "ctx"


def test_a_width_the_shape_forbids_is_passed_over() -> None:
    one = asked("qwen2.5-0.5b", "h100-sxm-80", tp=4)  # 14 heads: neither 4 nor 8
    with pytest.raises(InputError):
        estimate_memory(one)
    assert "14 attention heads" in fit_cell(one, 1).reason


@settings(max_examples=40, deadline=None)
@given(requests=st.integers(1, 400), context=st.sampled_from([512, 4096, 32_768]))
def test_a_cell_agrees_with_the_account(requests: int, context: int) -> None:
    one = asked("llama-3.1-8b", "l40s", max_context_tokens=context)
    budget, found = estimate_memory(one), fit_cell(one, requests)
    assert (found.free_bytes is not None) == (budget.fits and budget.max_concurrency() >= requests)
    if found.needs_tensor:
        wider = estimate_memory(replace(one, parallelism=replace(one.parallelism, tensor=found.needs_tensor)))
        assert wider.fits and wider.max_concurrency() >= requests


@pytest.mark.parametrize("gpu", ["h100-sxm-80", "rtx-4060", "mi300x"])
@pytest.mark.parametrize("weights", ["bf16", "int4"])
def test_steps_stand_on_one_another_and_end_at_the_card_or_beyond(gpu: str, weights: str) -> None:
    budget = estimate_memory(asked("qwen3-32b", gpu, weights))
    steps = waterfall(budget)
    assert steps[0].start == 0
    assert all(after.start == pytest.approx(before.end) for before, after in pairwise(steps))
    assert steps[-1].end == pytest.approx(budget.gpu_bytes + budget.overflow_bytes)


def test_the_reservation_ends_where_the_cache_does() -> None:
    budget = estimate_memory(asked("llama-3.1-8b", "h100-sxm-80"))
    cache = next(step for step in waterfall(budget) if step.name == "KV cache")
    assert cache.end == pytest.approx(budget.budget_bytes)
    lines = [shape["x0"] for shape in waterfall_figure(budget)["layout"]["shapes"]]
    assert lines == [pytest.approx(budget.gpu_bytes / GIGA), pytest.approx(budget.budget_bytes / GIGA)]


def test_the_table_of_a_waterfall_sums_to_the_card_as_displayed() -> None:
    table = waterfall_table(answer_memory(asked("llama-3.1-8b", "h100-sxm-80"), concurrency=3))
    shown = [float(row[1].text.removesuffix(" GB")) for row in table.rows]
    assert sum(shown[:-1]) == pytest.approx(shown[-1])
    assert shown[-1] == pytest.approx(85.52, abs=0.01)  # nvidia-smi says 81559 MiB
    assert any("your 3 requests take 3.22 GB" in row[0].remark for row in table.rows)  # 3 x 8,192 x 131,072 bytes


def test_what_does_not_fit_is_drawn_beyond_the_card() -> None:
    budget = estimate_memory(asked("mistral-small-4-119b-2603", "rtx-4060", "int4"))
    figure = waterfall_figure(budget)
    bars, beyond = figure["data"]
    assert bars["base"][-1] + bars["x"][-1] > budget.gpu_bytes / GIGA
    assert sum(beyond["x"]) == pytest.approx(budget.overflow_bytes / GIGA)
    assert beyond["marker"]["pattern"]["shape"] == "x"


@pytest.mark.parametrize(
    ("one", "kind", "text", "sentence"),
    [
        (cell(free_bytes=40e9), "roomy", "40", "40 GB of cache left on each GPU"),
        (cell(free_bytes=2.5e9), "tight", "2.5", "2.5 GB of cache left on each GPU"),
        (cell(needs_tensor=4), "wider", "TP=4", "needs TP=4"),
        (cell(reason="too small"), "no", "no", "does not fit: too small"),
        (cell(reason="beyond", is_too_long=True), "no", "ctx", "does not fit: beyond"),
    ],
)
def test_every_kind_of_cell_is_told_by_words_as_well_as_by_colour(
    one: FitCell, kind: str, text: str, sentence: str
) -> None:
    assert (kind_of(one), one.text, cell_words(one)) == (kind, text, sentence)
    figure = fit_figure(["m"], ["g"], [[one]], x_title="", y_title="")
    assert figure["data"][0]["text"] == [[text]]
    assert kind_of(one) in ("roomy", "tight", "wider", "no")


def test_names_from_outside_use_none_of_plotlys_html() -> None:
    figure = fit_figure([HOSTILE * 4 + "-x"], [HOSTILE], [[cell(reason=HOSTILE)]], x_title="", y_title="")
    assert "<b " not in str(figure)


def test_an_empty_map_draws_nothing_and_a_full_one_counts_itself() -> None:
    assert fit_figure([], [], [], x_title="", y_title="")["data"] == []
    cells = [[cell(free_bytes=1.0), cell(needs_tensor=2)], [cell(reason="r"), cell(free_bytes=70e9)]]
    assert fit_alt("What", cells) == "What: of 4 combinations 2 fit, 1 need more GPUs, 1 do not fit"
    table = fit_table("t", ["a", "b"], ["x", "y"], cells)
    assert [c.text for c in table.rows[0][1:]] == ["1 B free", "needs TP=2"]
    assert table.rows[1][1].remark == "r"


def test_a_larger_gpu_is_nearer_than_several_nodes_of_small_ones() -> None:
    one = asked("mistral-small-4-119b-2603", "rtx-4060", "int4", tp=2)
    changes = [change.text for change in changes_to_fit(one, CATALOG.gpus_on_sale)]
    assert changes[0].startswith("use ") and "GPUs (tp" not in changes[0]
    assert changes[1] == "use 64 GPUs (tp 4, pp 16)"
