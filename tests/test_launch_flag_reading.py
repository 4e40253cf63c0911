"""The reader of engines' packages finds what their parsers would take, on sources small enough to check by hand."""

from __future__ import annotations

import datetime
import hashlib
import sys
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))

from read_engine_flags import read_llama_cpp, read_sglang, read_transformers, read_vllm, table

VLLM_CONFIG = '''
CacheDType = Literal["auto", "fp8"]
@config
class CacheConfig:
    dtype: CacheDType = "auto"
    """Storage."""
    blocks: int | None = Field(default=7, gt=0)
    cap: float = 0.92
    """This is deprecated and does nothing."""
    on: bool = True
    max_num_batched_tokens: int = None
    draft: dict[str, Any] | None = None
    free: CacheDType | str = "auto"
    names: list[str] | None = None
'''
VLLM_ARGS = """
_GONE = "--old is deprecated and will be removed."
def add_cli_args(parser):
    cache = get_kwargs(CacheConfig)
    group = parser.add_argument_group()
    group.add_argument("--dtype", **cache["dtype"])
    group.add_argument("--blocks", "-b", **cache["blocks"])
    group.add_argument("--cap", **{**cache["cap"], "default": None})
    group.add_argument("--on", **cache["on"])
    group.add_argument("--max-num-batched-tokens", **cache["max_num_batched_tokens"])
    group.add_argument("--draft", **cache["draft"])
    group.add_argument("--free", **cache["free"])
    group.add_argument("--names", **cache["names"])
    group.add_argument("--old", type=int, help=_GONE)
    group.add_argument("--headless", action="store_true")
    parser.add_argument("positional")
"""
VLLM_FRONT = """
class BaseFrontendArgs:
    api_key: list[str] | None = None
class FrontendArgs(BaseFrontendArgs):
    port: int = 8000
"""


def test_vllm_flags_have_the_kinds_that_its_types_give_them() -> None:
    texts = {
        "vllm/config/cache.py": VLLM_CONFIG,
        "vllm/engine/arg_utils.py": VLLM_ARGS,
        "vllm/entrypoints/openai/cli_args.py": VLLM_FRONT,
    }
    found = {flag["flag"]: flag for flag in read_vllm(texts)}
    assert found["--dtype"] == {"flag": "--dtype", "kind": "text", "choices": ["auto", "fp8"], "default": "auto"}
    assert found["--blocks"] == {"flag": "--blocks", "also": ["-b"], "kind": "int", "default": 7}
    assert found["--cap"]["kind"] == "float" and "deprecated" in found["--cap"]
    assert found["--on"] == {"flag": "--on", "kind": "switch", "negatable": True, "default": True}
    assert found["--max-num-batched-tokens"]["kind"] == "int, K M G"
    assert found["--draft"]["kind"] == "json" and found["--names"]["kind"] == "list"
    assert "choices" not in found["--free"]  # any other text is taken too
    assert found["--old"]["deprecated"] and found["--headless"] == {"flag": "--headless", "kind": "switch"}
    assert found["--api-key"]["kind"] == "list" and found["--port"]["default"] == 8000
    assert "positional" not in found


def test_sglang_fields_and_calls_are_both_read() -> None:
    text = """
CHOICES = ["a", "b"]
class ServerArgs:
    tp_size: A[int, Arg(help="Width.", cli_name="--tp-size", aliases=["--tp"])] = 1
    hidden: A[bool, Arg(no_cli=True)] = False
    kind: A[Optional[str], Arg(help="Kind.", choices=CHOICES + ["c"])] = None
    radix: A[bool, "Turn off."] = False
    plain: int = 3
    def add_cli_args(parser):
        parser.add_argument("--old", action=DeprecatedStoreTrueAction, new_flag="--new", help="Old.")
        parser.add_argument("--length", type=human_readable_int, default=ServerArgs.plain)
"""
    found = {flag["flag"]: flag for flag in read_sglang({"sglang/srt/server_args.py": text})}
    assert found["--tp-size"] == {"flag": "--tp-size", "also": ["--tp"], "kind": "int", "default": 1}
    assert found["--kind"]["choices"] == ["a", "b", "c"] and found["--radix"]["kind"] == "switch"
    assert found["--old"]["deprecated"] and found["--length"] == {
        "flag": "--length",
        "kind": "int, K M G",
        "default": 3,
    }
    assert "--hidden" not in found and "--plain" not in found


def test_transformers_options_are_its_parameters() -> None:
    text = """
class Mode(str, enum.Enum):
    ON = "on"
    OFF = "off"
class Serve:
    def __init__(self, force_model: Annotated[str, typer.Argument(help="m")] = None,
                 port: Annotated[int, typer.Option(help="p")] = 8000,
                 mode: Annotated[Mode, typer.Option(help="m")] = "on",
                 compile: Annotated[bool, typer.Option(help="c")] = False):
        pass
"""
    found = {flag["flag"]: flag for flag in read_transformers({"transformers/cli/serve.py": text})}
    assert set(found) == {"--port", "--mode", "--compile"}
    assert found["--mode"]["choices"] == ["on", "off"] and found["--compile"]["negatable"]


def test_llama_cpp_arguments_are_those_of_its_server() -> None:
    text = """
    add_opt(common_arg(
        {"-c", "--ctx-size"}, "N",
        "size",
        [](common_params & params, int value) {
            params.n_ctx = value;
        }
    ).set_env("X"));
    add_opt(common_arg(
        {"-cb", "--cont-batching"},
        {"-nocb", "--no-cont-batching"},
        "batch",
        [](common_params & params, bool value) { }
    ).set_examples({LLAMA_EXAMPLE_SERVER}));
    add_opt(common_arg({ "-fa", "--flash-attn" }, "[on|off|auto]",
                       "set",
                       [](common_params & params, const std::string & value) { }));
    add_opt(common_arg(
        {"--color"},
        "colour",
        [](common_params & params) { }
    ).set_examples({LLAMA_EXAMPLE_CLI}));
    add_opt(common_arg(
        {"--draft"}, "N",
        "gone",
        [](common_params & params, int value) { throw std::invalid_argument("the argument has been removed"); }
    ));
"""
    found = {flag["flag"]: flag for flag in read_llama_cpp({"common/arg.cpp": text})}
    assert found["--ctx-size"] == {"flag": "--ctx-size", "also": ["-c"], "kind": "int"}
    assert found["--cont-batching"]["off"] == ["-nocb", "--no-cont-batching"]
    assert found["--flash-attn"]["choices"] == ["on", "off", "auto"]
    assert found["--draft"]["deprecated"] and "--color" not in found


def test_a_table_names_its_package_and_the_metrics_of_that_version(tmp_path: Path) -> None:
    wheel = tmp_path / "vllm-9.9.9-cp38-abi3-manylinux_2_28_x86_64.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("vllm/engine/arg_utils.py", 'def f(p):\n    p.add_argument("--x", type=int)\n')
        archive.writestr("vllm/v1/metrics/loggers.py", 'a = Gauge("vllm:num_requests_waiting")\n')
        archive.writestr("vllm/other.py", "not python at all (")
    made = table("vllm", wheel, "9.9.9", "", datetime.date(2026, 1, 1))
    assert made["metrics"] == ["vllm:num_requests_waiting"]
    assert [flag["flag"] for flag in made["flags"]] == ["--x"]
    assert made["source"]["sha256"] == hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_what_typer_and_argparse_say_of_the_installed_server_is_in_the_table() -> None:
    pytest.importorskip("typer")
    serve = pytest.importorskip("transformers.cli.serve")
    import inspect

    import transformers

    from llmsizer.launch.engine_data import known_versions, load_engine

    if transformers.__version__ not in known_versions("transformers"):
        pytest.skip(f"no table of transformers {transformers.__version__}")
    known = load_engine("transformers", transformers.__version__).table
    names = list(inspect.signature(serve.Serve.__init__).parameters)[2:]  # self, and the model
    assert {"--" + name.replace("_", "-") for name in names} == {flag.flag for flag in known.flags}
