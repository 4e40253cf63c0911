"""Replicas beyond tensor parallelism in one server: when they are looked at, what they hold, what they cost."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from deciding import CATALOG, TODAY, scenario, usd
from llmsizer.decide.answer import Recommendation
from llmsizer.decide.candidates.layouts import may_span, ranked_layout, staged_layouts
from llmsizer.decide.pricing.study import study
from llmsizer.decide.recommend import recommend
from llmsizer.errors import InputError
from llmsizer.facts.deployment import Deployment, Parallelism, deployment
from llmsizer.facts.scenario import Constraints, Scenario
from llmsizer.physics.answers.step_times import decode_step_seconds, step_basis
from llmsizer.physics.memory.account import estimate_memory
from llmsizer.physics.memory.parallelism import tensor_problem
from llmsizer.physics.steps.layouts import handover_seconds, longest_stage, widening
from llmsizer.traffic.simulator.deployed import replica_of

DEEPSEEK, QWEN, DENSE = (CATALOG.model(name) for name in ("deepseek-v3", "qwen3-235b-a22b", "llama-3.3-70b"))
L40S, H200 = CATALOG.gpu("l40s"), CATALOG.gpu("h200-sxm-141")
SLOW = "[slo]\nttft_p95_seconds = 10.0\ntpot_p95_seconds = 0.2\nquality_floor = 0.9\n"
TWO_SERVERS = SLOW + '[constraints]\ngpus = ["l40s"]\napi = false\nprecisions = ["int4", "fp8"]\n'


def asked(text: str, model: str = "deepseek-v3", tokens: float = 1e9) -> Scenario:
    return scenario("spare_replicas = 0\n" + text, model=model, tokens_per_month=tokens)


def answered(question: Scenario) -> Recommendation:
    return recommend(CATALOG.model(question.model), question, CATALOG, today=TODAY)


def any_width(_: int) -> bool:
    return True


def test_a_model_too_large_for_one_server_gets_stages_over_whole_servers_fewest_first() -> None:
    layouts = list(staged_layouts(DEEPSEEK, L40S, 32, any_width))
    assert [(one.tensor, one.pipeline, one.gpus) for one in layouts] == [(8, 2, 16), (8, 3, 24), (8, 4, 32)]
    assert list(staged_layouts(DEEPSEEK, L40S, 8, any_width)) == []  # one server, where tensor parallelism is enough
    narrow = list(staged_layouts(DEEPSEEK, L40S, 16, lambda width: width <= 4))  # heads that divide by four only
    assert [(one.tensor, one.pipeline) for one in narrow] == [(4, 2), (4, 4)]


def test_two_servers_of_l40s_hold_deepseek_v3_in_int4_and_not_in_fp8() -> None:
    fits = {
        name: estimate_memory(deployment(DEEPSEEK, L40S, name, tp=8, pp=2, max_context_tokens=4300)).fits
        for name in ("int4", "fp8")
    }
    assert fits == {"int4": True, "fp8": False}


def test_a_buyer_with_two_servers_gets_a_plan_that_says_what_is_assumed_of_it() -> None:
    found = answered(asked(TWO_SERVERS + "max_gpus_per_replica = 16\n"))
    plan = found.plans[0]
    assert plan.deployment.parallelism == Parallelism(tensor=8, pipeline=2) and plan.deployment.servers == 2
    assert "16× L40S in 2 servers" in found.sentence and plan.units == 2
    assert plan.capacity.requests_per_second.basis == "assumed"
    assert any("spans 2 servers" in note and "100 Gb/s" in note for note in plan.notes)
    (fp8,) = [r for r in found.rejections if " fp8 on L40S" in r.candidate]
    assert "too much on each GPU" in fp8.reason
    assert "on 24 GPUs in 3 servers (max_gpus_per_replica = 24)" in fp8.nearest_fix


def test_one_server_is_never_left_for_two_where_it_holds_the_model() -> None:
    question = asked('[constraints]\ngpus = ["h200-sxm-141", "l40s"]\n', model="qwen3-235b-a22b")
    found = study(CATALOG.model(question.model), question, CATALOG, today=TODAY)
    assert found.sized and all(sized.servers == 1 for sized in found.sized)


def test_consumer_cards_are_put_over_servers_only_where_they_are_named() -> None:
    card = CATALOG.gpu("rtx-4090")
    assert not may_span(card, Constraints()) and may_span(L40S, Constraints())
    assert may_span(card, Constraints(gpus=("rtx-4090",)))


def test_servers_and_instances_of_a_spanning_replica_are_all_paid() -> None:
    found = answered(asked(TWO_SERVERS, tokens=1e9))
    own, rent = (next(p for p in found.plans if p.path == path and p.deployment.weights.name == "int4")
                 for path in ("own", "rent"))  # fmt: skip
    for plan in (own, rent):
        assert (plan.replicas, plan.gpus, plan.units) == (1, 16, 2)
    assert "2 × server with 8× L40S" in own.cost.label and "rent 16× " in rent.cost.label
    assert usd(rent) == pytest.approx(sum(part.usd_per_month.value or 0 for part in rent.cost.parts))


@pytest.mark.parametrize(
    ("model", "width", "layout"),
    [
        ("deepseek-v3", 8, (1, 8)),  # the latent vector has no heads to split: every further GPU copies it
        ("qwen3-235b-a22b", 8, (4, 2)),  # four key/value heads: the second four GPUs copy them
        ("qwen3-235b-a22b", 4, None),
        ("llama-3.3-70b", 8, None),  # no experts: more ranks would be more replicas
    ],
)
def test_ranks_are_as_wide_as_no_cache_is_copied(model: str, width: int, layout: tuple[int, int] | None) -> None:
    found = ranked_layout(CATALOG.model(model), width, any_width)
    assert (None if found is None else (found.tensor, found.data)) == layout
    assert found is None or (found.expert, found.gpus) == (width, width)


def test_ranks_hold_several_times_the_cache_of_tensor_parallelism_and_each_expert_once() -> None:
    spread = estimate_memory(deployment(DEEPSEEK, H200, "fp8", tp=8, max_context_tokens=4300))
    ranked = estimate_memory(deployment(DEEPSEEK, H200, "fp8", tp=1, dp=8, ep=8, max_context_tokens=4300))
    assert spread.kv_bytes_per_token == ranked.kv_bytes_per_token  # of one GPU: the latent vector is copied
    assert 8 * ranked.kv_capacity_tokens > 3 * spread.kv_capacity_tokens
    (group,) = [g for g in DEEPSEEK.layer_groups if g.feed_forward.is_moe]
    experts = group.count * group.feed_forward.experts * group.feed_forward.expert_params(DEEPSEEK.hidden_size)
    rest = DEEPSEEK.total_params - experts
    # An eighth of the experts and all of the rest, at about a byte each; the embedding and output matrix at two.
    assert ranked.weight_bytes == pytest.approx(experts / 8 + rest, rel=0.15)


def test_ranks_without_experts_or_with_stages_are_refused_in_one_line() -> None:
    for model, spread, says in (
        (DENSE, {"tp": 4, "dp": 2, "ep": 8}, "the model has none"),
        (DEEPSEEK, {"tp": 4, "dp": 2, "ep": 8, "pp": 2}, "not computed together"),
        (DEEPSEEK, {"tp": 4, "dp": 2}, "ep = 8"),
    ):
        with pytest.raises(InputError, match=says):
            estimate_memory(deployment(model, H200, "fp8", **spread))


def test_stages_cost_the_longest_of_them_and_every_hand_over() -> None:
    one = deployment(DEEPSEEK, L40S, "int4", tp=8, pp=2)
    assert longest_stage(one) == pytest.approx(31 / 30.5)  # 61 layers
    # One boundary, to another server: 100 µs and two 16-bit vectors of 7,168 values a token at 12.5 GB/s.
    assert handover_seconds(one, np.array([0.0, 1000.0])) == pytest.approx([1e-4, 1e-4 + 1000 * 4 * 7168 / 12.5e9])
    inside = deployment(DENSE, L40S, "int4", tp=4, pp=2)
    assert handover_seconds(inside, np.array([0.0])) == pytest.approx([30e-6])


def test_layouts_that_few_rows_show_are_assumed_and_their_intervals_wider() -> None:
    def spread(**degrees: int) -> Deployment:
        return deployment(DEEPSEEK, L40S, "int4", **degrees)

    layouts = [spread(tp=8), spread(tp=4, pp=2), spread(tp=8, pp=2)]
    assert [widening(one) for one in layouts] == [1.0, 1.5, 2.0]
    assert [step_basis(one) for one in layouts] == ["calibrated", "assumed", "assumed"]
    ratios = [(e.high or 0) / (e.low or 1) for e in (decode_step_seconds(one, 8, 1000) for one in layouts)]
    assert ratios[0] < ratios[1] < ratios[2]
    # llama.cpp's GPUs hold whole layers and wait for one another: that was measured.
    assert widening(dataclasses.replace(layouts[1], engine="llama.cpp")) == 1.0


def test_a_pipeline_answers_later_than_one_group_of_its_width_would() -> None:
    one, two = (deployment(DENSE, L40S, "fp8", tp=4, pp=pp) for pp in (1, 2))
    for batch in (1, 2):  # a micro-batch each: nothing is gained, and hand-overs are paid
        assert (decode_step_seconds(two, batch, 500).value or 0) > (decode_step_seconds(one, 1, 500).value or 0) * 0.95


def test_the_shape_of_the_plans_is_what_the_model_allows() -> None:
    for name in ("deepseek-v3", "kimi-k2", "qwen3-235b-a22b", "mistral-small-4"):
        few = '[constraints]\ngpus = ["l40s", "a100-sxm-40", "h100-sxm-80"]\napi = false\n'
        question = asked(SLOW + few, model=name)
        for plan in answered(question).plans:
            d = plan.deployment
            assert tensor_problem(d.model, d.weights, d.parallelism.tensor) is None
            assert estimate_memory(d).fits, d.label


def test_ranks_are_not_simulated_and_the_line_says_what_stands() -> None:
    ranked = deployment(DEEPSEEK, H200, "fp8", tp=1, dp=8, ep=8, max_context_tokens=4300)
    with pytest.raises(InputError, match="data-parallel attention is not simulated; the closed form of plan stands"):
        replica_of(ranked)


def test_a_server_that_holds_little_beside_the_weights_is_set_against_two() -> None:
    # A trillion parameters in FP8 leave eight H200 room for a few requests; sixteen hold hundreds.
    question = asked(
        SLOW + '[constraints]\ngpus = ["h200-sxm-141"]\nprecisions = ["fp8"]\napi = false\n', "kimi-k2", 5e9
    )
    found = study(CATALOG.model("kimi-k2"), question, CATALOG, today=TODAY)
    one, two = (next(s for s in found.sized if s.servers == n) for n in (1, 2))
    assert one.replica.max_batch < 32 and two.held.rate > 2 * one.held.rate
    roomy = asked(SLOW + '[constraints]\ngpus = ["b200-sxm-180"]\nprecisions = ["int4"]\n', "kimi-k2", 5e9)
    assert all(s.servers == 1 for s in study(CATALOG.model("kimi-k2"), roomy, CATALOG, today=TODAY).sized)
