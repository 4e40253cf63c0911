"""Files of other tools become records with the figures that were really there.

The samples of load tools were measured against a mock: TTFT 1 s, TPOT and ITL 0.05 s, 33 output tokens, 4 users.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from foreign_files import SAMPLES
from llmsizer.exchange.columns import read_map
from llmsizer.exchange.given import Given, model_of
from llmsizer.exchange.importing import import_file, read_content, recognise
from llmsizer.exchange.values import Refused
from llmsizer.facts.records import ProfileRecord

TTFT, TPOT, OUTPUT, USERS = 1.0, 0.05, 33, 4
OUTPUT_PER_SECOND = USERS * OUTPUT / (TTFT + (OUTPUT - 1) * TPOT)
MOCKED = {
    "guidellm_2.json": "guidellm-2",
    "aiperf.json": "aiperf",
    "vllm_serve.json": "vllm",
    "inference_perf_stage.json": "inference-perf",
    "llm_d_guidellm_0_1.yaml": "llm-d-0.1",
    "llm_d_vllm_0_1.yaml": "llm-d-0.1",
    "llm_d_vllm_0_2.yaml": "llm-d-0.2",
    "llm_d_aiperf_0_2.yaml": "llm-d-0.2",
    "inferencex.json": "inferencex",
}
GIVEN = Given(model="llama-3.1-8b", device="h100-sxm", engine="vllm", engine_version="0.19.0", precision="fp16")


def taken(name: str, **options: Any) -> list[ProfileRecord]:
    return import_file(SAMPLES / name, **options)


@pytest.mark.parametrize(("name", "version"), MOCKED.items())
def test_what_was_programmed_is_what_is_imported(name: str, version: str) -> None:
    [record] = taken(name)
    assert record.origin is not None and record.origin.format == version
    assert record.ttft_seconds == pytest.approx(TTFT, rel=0.01)
    assert record.tpot_seconds == pytest.approx(TPOT, rel=0.01)
    assert record.output_tokens_per_second == pytest.approx(OUTPUT_PER_SECOND, rel=0.01)
    assert (record.prompt_tokens, record.output_tokens) == (16, OUTPUT)
    if "itl" in record.distributions:
        assert record.distributions["itl"].mean == pytest.approx(TPOT, rel=0.01)
    if "e2e" in record.distributions:
        assert record.distributions["e2e"].mean == pytest.approx(TTFT + (OUTPUT - 1) * TPOT, rel=0.01)


@pytest.mark.parametrize("name", [n for n in MOCKED if "llm_d_guidellm" not in n and "llm_d_aiperf" not in n])
def test_users_are_the_batch(name: str) -> None:
    [record] = taken(name)
    assert record.batch == USERS and record.load is not None and record.load.pattern == "closed"
    assert record.load.concurrency == USERS


@pytest.mark.parametrize("name", [*MOCKED, "llama_bench.json", "optimum_benchmark.json"])
def test_a_record_keeps_the_name_and_hash_of_its_file(name: str) -> None:
    origin = taken(name)[0].origin
    assert origin is not None and origin.file == name
    assert origin.sha256 == hashlib.sha256((SAMPLES / name).read_bytes()).hexdigest()


def test_guidellms_own_tpot_is_another_thing_in_each_version_and_is_never_taken() -> None:
    # With metadata it is (last token − start)/n, TTFT included; without, to 0.3, it is (last − first)/n.
    # The two older files were measured against a mock whose TTFT is 0.5 s.
    theirs_by_name = {
        "guidellm_2.json": (TTFT + 32 * TPOT) / 33,
        "guidellm_1.json": (0.5 + 32 * TPOT) / 33,
        "guidellm_0.json": 32 * TPOT / 33,
    }
    for name, theirs in theirs_by_name.items():
        document = json.loads((SAMPLES / name).read_text())
        said = document["benchmarks"][0]["metrics"]["time_per_output_token_ms"]["successful"]["mean"] / 1e3
        assert said == pytest.approx(theirs, rel=0.01)
        [record] = taken(name)
        assert record.tpot_seconds == pytest.approx(TPOT, rel=0.01)
        assert record.origin is not None and record.origin.format == f"guidellm-{name[9]}"
        assert "inter_token_latency_ms" in record.origin.converted["tpot"]
        assert "itl" not in record.distributions and "first and last token" in record.unknown["distributions.itl"]


def test_guidellms_tokens_weigh_alike_only_where_single_requests_are_gone(tmp_path: Path) -> None:
    document = json.loads((SAMPLES / "guidellm_2.json").read_text())
    requests = document["benchmarks"][0]["requests"]["successful"]
    for i, request in enumerate(requests):  # half of the requests at 40 ms, half at 60 ms
        request["inter_token_latency_ms"] = 40.0 if i % 2 else 60.0
    file = tmp_path / "report.json"
    file.write_text(json.dumps(document))
    [record] = import_file(file)
    assert record.distributions["tpot"].mean == pytest.approx(0.05)
    assert record.distributions["tpot"].weighting == "request"
    document["benchmarks"][0]["requests"]["successful"] = []
    file.write_text(json.dumps(document))
    assert import_file(file)[0].distributions["tpot"].weighting == "token"


def test_a_report_written_from_guidellm_has_its_tpot_under_the_name_of_the_gaps() -> None:
    [record] = taken("llm_d_guidellm_0_1.yaml")
    assert record.origin is not None
    assert record.origin.converted["tpot"] == "inter_token_latency of guidellm, which is the TPOT, ms/token → seconds"


def test_the_unit_that_stands_in_the_file_counts(tmp_path: Path) -> None:
    document = json.loads((SAMPLES / "aiperf.json").read_text())
    metric = document["time_to_first_token"]
    for key, value in metric.items():
        if key not in ("unit", "count"):
            metric[key] = value * 1e3
    metric["unit"] = "us"
    file = tmp_path / "aiperf.json"
    file.write_text(json.dumps(document))
    assert import_file(file)[0].ttft_seconds == pytest.approx(TTFT, rel=0.01)
    metric["unit"] = "fortnights"
    file.write_text(json.dumps(document))
    with pytest.raises(Refused, match="known units"):
        import_file(file)


def test_llama_bench_says_the_same_in_all_its_formats_by_hand() -> None:
    document = json.loads((SAMPLES / "llama_bench.json").read_text())
    prompt, steps, both = taken("llama_bench.json")
    assert prompt.ttft_samples == pytest.approx([ns / 1e9 for ns in document[0]["samples_ns"]])
    assert steps.tpot_samples == pytest.approx([ns / 1e9 / 32 for ns in document[1]["samples_ns"]])
    assert (prompt.prompt_tokens, prompt.output_tokens, prompt.tpot_seconds) == (64, 1, None)
    assert (steps.prompt_tokens, steps.output_tokens, steps.ttft_seconds) == (1, 32, None)
    assert both.ttft_seconds is None and both.distributions["e2e"].n == 5
    assert prompt.engine == "llama.cpp" and prompt.precision == "q8_0" and prompt.is_static_batch
    for name in ("llama_bench.jsonl", "llama_bench.sql", "llama_bench.csv"):
        shapes = [(r.batch, r.prompt_tokens, r.output_tokens, r.precision) for r in taken(name)]
        assert shapes == [(1, 64, 1, "q8_0"), (1, 1, 32, "q8_0"), (1, 64, 32, "q8_0")]
        assert recognise(read_content(SAMPLES / name)) == "llama-bench"


def test_optimum_benchmark_is_a_static_batch_whose_decode_is_divided_by_its_steps() -> None:
    document = json.loads((SAMPLES / "optimum_benchmark.json").read_text())["report"]
    [record] = taken("optimum_benchmark.json", given=Given(precision="fp32"))
    assert record.is_static_batch and (record.batch, record.prompt_tokens, record.output_tokens) == (4, 32, 16)
    assert record.distributions["tpot"].mean == pytest.approx(document["decode"]["latency"]["mean"] / 15)
    assert record.distributions["ttft"].mean == pytest.approx(document["prefill"]["latency"]["mean"])
    whole = document["prefill"]["latency"]["mean"] + document["decode"]["latency"]["mean"]
    assert record.output_tokens_per_second == pytest.approx(4 * 16 / whole)
    assert record.memory is not None and record.memory.host_resident_peak_bytes == pytest.approx(876.16e6, rel=1e-3)


def test_rates_a_gpu_are_multiplied_by_the_gpus_they_were_divided_by(tmp_path: Path) -> None:
    row = json.loads((SAMPLES / "inferencex.json").read_text())
    file = tmp_path / "row.json"
    file.write_text(json.dumps([{**row, "tp": 4, "pp": 2}]))
    [record] = import_file(file)
    assert record.accelerators == 8
    assert record.output_tokens_per_second == pytest.approx(8 * row["output_tput_per_gpu"])
    split = {"is_multinode": True, "num_prefill_gpu": 4, "num_decode_gpu": 12}
    file.write_text(json.dumps([{**row, **split}]))
    [record] = import_file(file)
    assert record.accelerators == 16  # its output rate is divided by those that decode
    assert record.output_tokens_per_second == pytest.approx(12 * row["output_tput_per_gpu"])


def test_vllms_offline_benches_need_the_shape_that_they_do_not_state() -> None:
    with pytest.raises(Refused, match="does not say batch, prompt_tokens, output_tokens"):
        taken("vllm_latency.json")
    shape = Given(batch=8, prompt_tokens=32, output_tokens=128)
    [latency] = taken("vllm_latency.json", given=shape)
    assert latency.batch == 8 and latency.ttft_seconds is None and latency.distributions["e2e"].n == 3
    [throughput] = taken("vllm_throughput.json", given=shape)
    assert throughput.output_tokens_per_second == pytest.approx(1000 / 50.0 * 128)


def test_genai_perf_is_read_as_its_successor_is() -> None:
    [record] = taken("genai_perf.json")
    assert record.origin is not None and record.origin.tool == "genai-perf"
    assert record.tpot_seconds == pytest.approx(0.05) and record.batch == 4
    assert "no gaps between chunks" in record.unknown["distributions.itl"]


def test_a_table_is_read_by_its_map_with_its_units() -> None:
    first, second = taken("table.csv", mapping=read_map(SAMPLES / "table_map.toml"))
    assert first.ttft_seconds == pytest.approx(0.041) and first.tpot_seconds == pytest.approx(0.0072)
    assert first.output_tokens_per_second == 138.0 and first.batch == 1
    assert first.load is not None and first.load.pattern == "single"
    assert second.batch == 8 and second.load is not None and second.load.pattern == "closed"
    assert second.model == "llama-3.1-8b" and second.device.name == "h100-sxm" and second.tpot_seconds is None


def test_what_is_imported_twice_is_one_record() -> None:
    assert taken("aiperf.json", given=GIVEN) == taken("aiperf.json", given=GIVEN)
    assert taken("aiperf.json")[0].record_id != taken("aiperf.json", given=GIVEN)[0].record_id


def test_what_the_file_says_is_not_overruled_by_what_is_given() -> None:
    [record] = taken("llama_bench.json", given=GIVEN)[:1]
    assert record.engine == "llama.cpp" != GIVEN.engine
    assert model_of("Qwen/Qwen3-8B", "llama-3.1-8b") == (
        "Qwen/Qwen3-8B",
        "as the file says, not 'llama-3.1-8b' as given",
    )
    assert model_of("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b")[1] == ""  # one architecture


def test_a_name_that_only_the_server_has_for_its_model_gives_way_to_the_model_that_is_given() -> None:
    [record] = taken("vllm_serve.json", given=GIVEN)
    assert record.model == "llama-3.1-8b" and record.device.name == "h100-sxm"
    assert record.origin is not None and record.origin.converted["model"] == "given; the server calls it 'mock'"
    [served] = taken("vllm_serve.json")
    assert served.model == "mock"  # where nobody says more
