"""The folders import one way, and only the edge touches the network."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "llmsizer"

# A folder may import itself and the folders named here.
BASE = {
    "units", "errors", "version", "progress", "files", "installed", "gguf_graph", "student", "plain", "yaml_reading",
}  # fmt: skip
ABOVE: dict[str, set[str]] = {
    **{module: set() for module in BASE},
    "facts": set(),
    "physics": {"facts"},
    "traffic": {"facts", "physics"},
    "money": {"facts", "physics", "traffic"},
    "decide": {"facts", "physics", "traffic", "money"},
    "profile": {
        "facts",
        "physics",
        "traffic",
        "cluster",
        "quantize",  # its reading of packed checkpoints
    },  # load is sent with the arrivals, lengths and traces of traffic
    "quantize": {"facts", "physics"},
    "quality": {"facts", "physics", "quantize"},
    "store": {"facts", "profile"},
    "exchange": {"facts", "physics"},
    "reference_model": {"facts"},
    "launch": {"facts", "physics", "traffic", "money", "decide"},
    "deliver": {"facts", "physics", "traffic", "money", "decide", "profile"},  # records in full, and side by side
    "remote": {"facts", "physics", "money", "decide"},
    "verify": {"facts", "traffic", "decide", "deliver", "profile", "store"},
    "cluster": set(),  # runs anything, knows nothing of it
}
# Inside a folder, each subfolder may import those before it.
INSIDE: dict[str, tuple[str, ...]] = {
    "physics": ("memory", "steps", "rows", "calibration", "answers"),
    "traffic": ("demand", "closed_form", "simulator", "hours", "failing"),
    "decide": ("candidates", "pricing", "comparison", "certainty", "precision"),
    "quantize": ("stored", "layers", "formats"),
    "deliver": ("elements", "tables", "charts", "views", "pages", "formulas", "papers", "workbook", "pack"),
}
TOP = {"__init__", "__main__", "cli", "demo"}  # may import everything
HEAVY = {
    "xlsxwriter",
    "psycopg",
    "pyarrow",
    "torch",
    "transformers",
    "streamlit",
    "plotly",
    "ray",
    "openvino",
    "openvino_genai",
    "nncf",
    "safetensors",
    "tokenizers",
    "huggingface_hub",
    "psutil",
    "llmcompressor",
    "datasets",
    "gguf",
    "xllamacpp",
    "vllm",
    "pynvml",
    "amdsmi",
    "scipy",
    "pandas",
    "yaml",
    "httptools",
    "uvloop",
}
NETWORK = {"urllib", "http", "socket", "requests", "httpx", "aiohttp", "huggingface_hub", "httptools"}
NETWORK_ALLOWED = {
    "facts/hub.py",
    "cluster.py",
    "profile/load/wire.py",
    "profile/load/pool.py",
    "profile/engines/served.py",
    "remote/listening.py",
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def folder_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""
            if node.module == "llmsizer":
                yield from (f"llmsizer.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            raise AssertionError(f"{path}: relative imports hide the layer; name the package")


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_folder_imports_only_what_stands_above_it(path: Path) -> None:
    folder = folder_of(path)
    if folder in TOP or folder.startswith("cli"):
        return
    allowed = ABOVE[folder] | BASE | {folder}
    for name in imports_of(path):
        if name.startswith("llmsizer."):
            assert name.split(".")[1] in allowed, f"{folder} must not import {name}"


@pytest.mark.parametrize("folder", INSIDE)
def test_subfolders_stand_in_an_order(folder: str) -> None:
    order = INSIDE[folder]
    found = {path.parent.name for path in (PACKAGE / folder).glob("*/__init__.py")}
    assert found == set(order), f"say where they stand: {found ^ set(order)}"
    for at, inside in enumerate(order):
        later = {f"llmsizer.{folder}.{name}" for name in order[at + 1 :]}
        for path in (PACKAGE / folder / inside).glob("*.py"):
            wrong = [name for name in imports_of(path) if ".".join(name.split(".")[:3]) in later]
            assert not wrong, f"{inside} must not import {wrong}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_libraries_are_imported_where_they_are_used(path: Path) -> None:
    top_level = {name.split(".")[0] for name in imports_of(path, top_level_only=True)}
    assert not top_level & HEAVY


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_edge_touches_the_network(path: Path) -> None:
    relative = path.relative_to(PACKAGE).as_posix()
    if relative in NETWORK_ALLOWED:
        return
    assert not {name.split(".")[0] for name in imports_of(path)} & NETWORK


def test_the_import_graph_has_no_circle() -> None:
    names = {
        ".".join(("llmsizer", *p.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): p
        for p in modules()
    }
    graph = {name: {i for i in imports_of(path) if i in names and i != name} for name, path in names.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail, name))
        if name not in done:
            for target in sorted(graph[name]):
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_no_function_is_longer_than_sixty_lines() -> None:
    long = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno + 1 > 60
    ]
    assert not long, long
