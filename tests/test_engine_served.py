"""Engines behind HTTP: processes that end for certain, streams counted by tokens, and what vLLM's log says ran."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tiny_models
from llmsizer.errors import InputError, MeasurementError, MissingExtraError
from llmsizer.facts.variant import Variant
from llmsizer.profile.engines import chosen_engine, known_engine, load_engine
from llmsizer.profile.engines.llama_cpp import gguf_file, memory_in_log, options_in_log, tokens_made
from llmsizer.profile.engines.served import PORTS_TRIED, Server, chunks, free_port, last_complaint
from llmsizer.profile.engines.vllm import Vllm, flags, memory_of, phases_of
from llmsizer.profile.engines.vllm_log import parse_log
from llmsizer.profile.measure import Point, prompts_of, take_sample
from processes import has_ended
from tiny_models import needs

HERE = Path(__file__).parent
GIB = 2**30
# Lines as users published them, process prefixes kept; versions as they say or as dated.
V0_8 = """\
(VllmWorkerProcess pid=521) INFO 04-12 08:21:19 [worker.py:267] model weights take 21.21GiB; non_torch_memory takes \
0.20GiB; PyTorch activation peak memory takes 0.37GiB; the rest of the memory reserved for KV Cache is 1.57GiB.
"""  # vllm pull request 14447, April 2025
V0_7 = """\
INFO 01-30 03:18:12 gpu_model_runner.py:848] Loading model weights took 67.7229 GB
INFO 01-30 03:19:13 monitor.py:31] torch.compile takes 54.73 s in total
INFO 01-30 03:19:14 kv_cache_utils.py:395] # GPU blocks: 1381
INFO 01-30 03:19:14 kv_cache_utils.py:398] Maximum concurrency for 2048 tokens per request: 10.79x
"""  # vllm pull request 12569, January 2025
V0_7_INT8 = """\
INFO 03-12 14:57:38 [cuda.py:215] Using Flash Attention backend on V1 engine.
INFO 03-12 14:57:38 [compressed_tensors_wNa16.py:85] Using AllSparkLinearKernel for CompressedTensorsWNA16
"""  # vllm issue 12529, March 2025
V0_10 = """\
(EngineCore_0 pid=3933741) (VllmWorker TP1 pid=3933749) INFO 08-17 22:48:18 [gptq_marlin.py:266] Using \
MacheteLinearKernel for GPTQMarlinLinearMethod
(EngineCore_0 pid=3933741) (VllmWorker TP1 pid=3933749) INFO 08-17 22:48:18 [cuda.py:328] Using Flash Attention \
backend on V1 engine.
(EngineCore_0 pid=3933741) (VllmWorker TP0 pid=3933747) INFO 08-17 22:48:22 [gpu_model_runner.py:2005] Model loading \
took 11.0802 GiB and 3.106979 seconds
"""  # vllm pull request 23066, August 2025
V0_18 = """\
(Worker_TP0 pid=646817) INFO 03-17 17:07:06 [gpu_model_runner.py:5711] Estimated CUDA graph memory: 4.38 GiB total
(Worker_TP0 pid=646817) INFO 03-17 17:07:06 [gpu_worker.py:452] Available KV cache memory: 25.46 GiB
"""  # vllm pull request 37296, March 2026
V0_31 = """\
INFO 10-08 16:50:22 [core.py:129] Initializing a V1 LLM engine (v0.31.0) with config: \
model='Qwen/Qwen2.5-7B-Instruct-AWQ', speculative_config=None
INFO 10-08 16:50:23 [auto_awq.py:451] Using MacheteLinearKernel for AutoAWQMarlinLinearMethod
INFO 10-08 16:50:25 [default_loader.py:484] Loading weights took 0.77 seconds
INFO 10-08 16:50:26 [model_runner.py:407] Model loading took 5.38 GiB memory and 2.637574 seconds
INFO 10-08 16:50:30 [gpu_worker.py:692] Available KV cache memory: 34.79 GiB
INFO 10-08 16:50:30 [kv_cache_utils.py:2464] GPU KV cache size: 651,504 tokens, Maximum concurrency for 4,096 tokens \
per request: 159.06x
"""  # a published run on an H200, October 2026


def variant(path: Path, format: str = "compressed-tensors") -> Variant:
    return Variant(
        path=path, model="m", name="int4", precision="int4", method="m", format=format, config={"vocab_size": 100}
    )


@pytest.fixture
def fake_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH on which ``vllm`` is the fake; a folder that looks like a checkpoint without weights."""
    binary = tmp_path / "bin" / "vllm"
    binary.parent.mkdir()
    binary.write_text(f'#!/bin/sh\nexec {sys.executable} {HERE / "fake_vllm.py"} "$@"\n')
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", f"{binary.parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def test_vllm_serves_random_weights_and_tells_what_ran(fake_vllm: Path) -> None:
    engine = Vllm(variant(fake_vllm))
    try:
        point = Point(batch=3, prompt_tokens=5, output_tokens=6)
        prompts = prompts_of(point, vocabulary=engine.vocabulary, seed=0, run=0)
        sample = take_sample(engine, prompts, 6, time.perf_counter)
        assert len(sample.gaps_seconds) == 5  # two tokens in one chunk are two
        assert engine.version == "0.31.0"
        assert engine.kernels == ("MacheteLinearKernel",)
        assert engine.options["kv_tokens"] == "651504"
        assert "--load-format dummy --skip-tokenizer-init" in engine._server.log()
        assert engine.process_ids()
    finally:
        engine.close()


def test_the_server_and_its_workers_end_with_it(fake_vllm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_VLLM", "orphan")
    monkeypatch.setenv("FAKE_VLLM_PIDS", str(fake_vllm / "pids"))
    engine = Vllm(variant(fake_vllm))
    orphan = int((fake_vllm / "pids").read_text())
    processes = engine.process_ids()
    assert orphan in processes
    engine.close()
    assert all(has_ended(process) for process in processes)


def test_a_server_ends_even_when_the_profiler_is_killed(fake_vllm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_VLLM", "orphan")
    monkeypatch.setenv("FAKE_VLLM_PIDS", str(fake_vllm / "pids"))
    code = (
        "import pathlib, sys; from llmsizer.profile.engines.vllm import Vllm; "
        "sys.path.insert(0, sys.argv[2]); from test_engine_served import variant; "
        "e = Vllm(variant(pathlib.Path(sys.argv[1]))); print('ready', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(fake_vllm), str(HERE)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as profiler:
        assert profiler.stdout is not None
        assert profiler.stdout.readline() == b"ready\n"
        orphan = int((fake_vllm / "pids").read_text())
        profiler.send_signal(signal.SIGKILL)
    assert has_ended(orphan)


@pytest.mark.parametrize(("mode", "says"), [("error", "out of memory"), ("short", "made 5 tokens")])
def test_a_server_that_fails_a_request_says_why(
    fake_vllm: Path, monkeypatch: pytest.MonkeyPatch, mode: str, says: str
) -> None:
    monkeypatch.setenv("FAKE_VLLM", mode)
    engine = Vllm(variant(fake_vllm))
    try:
        with pytest.raises(MeasurementError, match=says):
            list(engine.steps(np.ones((2, 4), np.int64), 6))
    finally:
        engine.close()


def test_a_server_that_dies_while_starting_gives_its_last_error(
    fake_vllm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", "dies")
    with pytest.raises(MeasurementError, match="No available memory for the cache blocks"):
        Vllm(variant(fake_vllm))


def test_a_port_that_another_process_took_meanwhile_is_given_up_for_another(
    fake_vllm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM_PIDS", str(fake_vllm / "starts"))
    monkeypatch.setenv("FAKE_VLLM", "port taken once")
    Vllm(variant(fake_vllm)).close()
    assert (fake_vllm / "starts").read_text() == "xx"
    monkeypatch.setenv("FAKE_VLLM", "port taken")
    with pytest.raises(MeasurementError, match="Address already in use"):
        Vllm(variant(fake_vllm))
    assert (fake_vllm / "starts").read_text() == "xx" + PORTS_TRIED * "x"


def test_a_server_that_never_answers_is_ended_at_the_time_limit() -> None:
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    with pytest.raises(MeasurementError, match="did not get ready"):
        Server(command, free_port(), what="it", ready_seconds=0.2)


def test_without_vllm_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtraError, match=r"llmsizer\[vllm\]"):
        Vllm(variant(tmp_path))


def test_a_checkpoint_with_weights_and_tokenizer_is_served_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "tokenizer.json").touch()
    monkeypatch.setenv("LLMSIZER_VLLM_FLAGS", "--max-model-len 9000")
    asked = flags(variant(tmp_path))
    assert "dummy" not in asked and "--skip-tokenizer-init" not in asked
    assert asked[-2:] == ["--max-model-len", "9000"]


def test_an_error_inside_a_stream_is_an_error() -> None:
    with pytest.raises(MeasurementError, match="context too long"):
        list(chunks([b'data: {"error": {"message": "context too long"}}\n']))


def test_a_stream_ends_at_its_mark_and_skips_comments() -> None:
    lines = [b": ping\n", b"\n", b'data: {"a": 1}\n', b"data: [DONE]\n", b'data: {"a": 2}\n']
    assert list(chunks(lines)) == [{"a": 1}]


def test_the_line_with_the_error_is_the_one_shown() -> None:
    assert last_complaint("a\nRuntimeError: no\nshutting down\n") == "RuntimeError: no"
    assert last_complaint("") == "it printed nothing"


# vLLM's log -----------------------------------------------------------------------------------------------------------


def test_the_log_of_0_31_says_the_kernel_and_the_pool() -> None:
    log = parse_log(V0_31)
    assert log.version == "0.31.0"
    assert log.kernels == ("MacheteLinearKernel",)
    assert log.weights_bytes == 5.38 * GIB  # not the line of 0.77 seconds
    assert log.load_seconds == 2.637574
    assert (log.kv_tokens, log.kv_pool_bytes) == (651_504, 34.79 * GIB)
    assert memory_of(log).kv_bytes_per_token == pytest.approx(57_337, abs=1)  # 28 layers × 2 × 4 heads × 128 × 2 bytes


def test_the_log_of_0_10_says_what_gptq_ran_as() -> None:
    log = parse_log(V0_10)
    assert log.kernels == ("MacheteLinearKernel",)
    assert log.attention == "FlashAttention"
    assert log.weights_bytes == 11.0802 * GIB


def test_the_logs_of_older_versions_are_read() -> None:
    assert parse_log(V0_7).weights_bytes == 67.7229 * GIB
    assert parse_log(V0_7).kv_blocks == 1381
    assert phases_of(parse_log(V0_7)).compile_seconds == parse_log(V0_7).compile_seconds == 54.73
    assert parse_log(V0_7_INT8).kernels == ("AllSparkLinearKernel",)
    old = parse_log(V0_8)
    assert (old.weights_bytes, old.kv_pool_bytes) == (21.21 * GIB, 1.57 * GIB)
    assert (old.activation_peak_bytes, old.non_torch_bytes) == (0.37 * GIB, 0.20 * GIB)


def test_graphs_take_memory_beside_the_pool() -> None:
    log = parse_log(V0_18)
    assert (log.graph_bytes, log.kv_pool_bytes) == (4.38 * GIB, 25.46 * GIB)


def test_a_log_without_these_lines_leaves_all_unknown() -> None:
    log = parse_log("nothing of use\n")
    assert all(value is None or value == () for value in (getattr(log, name) for name in log.__dataclass_fields__))
    assert memory_of(log).kv_bytes_per_token is None


# llama.cpp ------------------------------------------------------------------------------------------------------------


def test_llama_cpp_buffers_and_instruction_sets_come_from_its_log() -> None:
    log = (
        "system_info: CPU : AVX = 1 | AVX2 = 1 | F16C = 1 | \n"
        "0.00.049.331 I load_tensors:   CPU_Mapped model buffer size =   185.12 MiB\n"
        "0.00.049.396 I load_tensors:   CPU_REPACK model buffer size =   159.47 MiB\n"
        "0.00.152.039 I llama_context: flash_attn            = auto\n"
        "0.00.152.251 I llama_kv_cache:        CPU KV buffer size =    18.00 MiB\n"
        "0.00.162.623 I llama_kv_cache: size = 18.00 MiB (256 cells), K (f16):    9.00 MiB, V (f16):    9.00 MiB\n"
    )
    memory = memory_in_log(log)
    assert memory.weights_bytes == pytest.approx((185.12 + 159.47) * 2**20)
    assert memory.kv_pool_bytes == 18 * 2**20
    assert options_in_log(log) == {"instruction_sets": "AVX,AVX2,F16C", "flash_attention": "auto", "kv_cache": "f16"}


@needs("xllamacpp", "gguf", "safetensors")
def test_a_gguf_file_is_really_measured(tmp_path: Path) -> None:
    from llmsizer.profile.engines.llama_cpp import LlamaCpp
    from llmsizer.quantize import quantize

    checkpoint = tiny_models.write_checkpoint(tmp_path / "tiny")
    engine = LlamaCpp(quantize(checkpoint, "gguf-q8_0", tmp_path / "q8"))
    try:
        for batch in (1, 2):  # another number of slots is another server
            point = Point(batch=batch, prompt_tokens=10, output_tokens=4)
            prompts = prompts_of(point, vocabulary=engine.vocabulary, seed=0, run=batch)
            assert len(take_sample(engine, prompts, 4, time.perf_counter).gaps_seconds) == 3
        assert engine.vocabulary == 320
        assert engine.process_ids()
    finally:
        engine.close()


def test_a_prompt_served_from_the_cache_is_no_measurement() -> None:
    assert tokens_made({"tokens_predicted": 3, "timings": {"cache_n": 0}}) == 3
    with pytest.raises(MeasurementError, match="128 prompt tokens from its cache"):
        tokens_made({"tokens_predicted": 3, "timings": {"cache_n": 128}})


def test_a_folder_without_one_gguf_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="0 GGUF files"):
        gguf_file(tmp_path)


# Names ----------------------------------------------------------------------------------------------------------------


def test_an_unknown_engine_names_those_there_are_and_their_extras(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no engine named 'sglang'.*llama\.cpp \[llama-cpp\].*vllm \[vllm\]"):
        known_engine("sglang")
    with pytest.raises(InputError, match="no engine named"):
        load_engine("sglang", variant(tmp_path))


def test_an_engine_that_cannot_read_the_format_says_which_can(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'llama.cpp' reads gguf, but .* is compressed-tensors; .*transformers"):
        chosen_engine(variant(tmp_path), "llama.cpp")
    assert chosen_engine(variant(tmp_path, "gguf"), None) == "openvino"
    assert chosen_engine(variant(tmp_path, "gguf"), "llama.cpp") == "llama.cpp"
