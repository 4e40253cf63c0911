"""Read an engine's command-line flags out of its package, without installing or importing it.

    pip download vllm==0.26.0 --no-deps --only-binary :all: -d wheels
    python tools/read_engine_flags.py vllm wheels/vllm-0.26.0-*.whl --out profiles/launch/flags

Engines: vllm, sglang and transformers (wheels, read with ``ast``), llama.cpp (an archive that holds
``common/arg.cpp``: the sdist of llama-cpp-python does). What a program decides only when it runs (plug-ins, choices
computed at start) cannot be read: such a flag keeps its kind and has no list of choices.
"""

from __future__ import annotations

import argparse
import ast
import datetime
import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from source_reading import Flag, Module, Sources, kind_of, sources, text_of, value_of

DEPRECATED = re.compile(
    r"(?i)\b(?:is|are|been)\s+deprecated\b|^\W*deprecated\b|\bdeprecated[.:]|no longer has any effect"
)


def flag_of(names: list[str], facts: Flag, help_text: str, default: Any = None) -> Flag:
    long = [n for n in names if n.startswith("--")]
    made: Flag = {"flag": long[0] if long else names[0]}
    if len(names) > 1:
        made["also"] = [n for n in names if n != made["flag"]]
    made |= facts
    if default is not None and (isinstance(default, str | int | float | bool) or default in ([], {})):
        made["default"] = default
    if DEPRECATED.search(help_text):
        made["deprecated"] = " ".join(help_text.split())[:160]
    return made


def called(call: ast.Call, module: Module) -> Flag | None:
    """One ``add_argument`` with everything written out; None for a positional."""
    names = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    if not names or not names[0].startswith("-"):
        return None
    given = {k.arg: k.value for k in call.keywords if k.arg}
    help_text, facts = text_of(given.get("help"), module), explicit_facts(given, module)
    replaced = text_of(given.get("new_flag"), module)
    if "Deprecated" in ast.unparse(given.get("action", ast.Constant(""))):
        help_text = f"deprecated: {help_text or replaced}"
    return flag_of(names, facts, help_text, value_of(given.get("default"), module))


def explicit_facts(given: dict[str, ast.expr], module: Module) -> Flag:
    action = ast.unparse(given["action"]) if "action" in given else ""
    if "BooleanOptionalAction" in action:
        return {"kind": "switch", "negatable": True}
    if "store_true" in action or "store_false" in action or "StoreTrue" in action or "StoreConst" in action:
        return {"kind": "switch"}
    type_name = ast.unparse(given["type"]) if "type" in given else "str"
    known = {"int": "int", "float": "float", "json.loads": "json", "human_readable_int": "int, K M G"}
    facts: Flag = {"kind": known.get(type_name, "json" if "json" in type_name else "text")}
    nargs = value_of(given.get("nargs"), module)
    if nargs in {"+", "*"} or isinstance(nargs, int):
        facts = {"kind": "list"}
    choices = value_of(given.get("choices"), module)
    return facts | (
        {"choices": [c for c in choices if c is not None]} if isinstance(choices, list | tuple) and choices else {}
    )


def read_vllm(texts: Sources) -> list[Flag]:
    """``EngineArgs.add_cli_args`` and the frontend's fields."""
    module = Module(texts)
    found = [*_frontend(module)]
    for name, tree in module.trees.items():
        if not name.endswith(("engine/arg_utils.py", "cli_args.py")):
            continue
        variables = {
            node.targets[0].id: node.value.args[0].id
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and _calls(node.value, "get_kwargs")
        }  # fmt: skip
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument":
                found.append(_vllm_argument(call, variables, module))
    return [flag for flag in found if flag]


def _calls(node: ast.expr, name: str) -> bool:
    named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    return named and bool(node.args) and isinstance(node.args[0], ast.Name)  # type: ignore[attr-defined]


def _vllm_argument(call: ast.Call, variables: dict[str, str], module: Module) -> Flag | None:
    looked_up = [
        part
        for keyword in call.keywords
        if keyword.arg is None
        for part in ast.walk(keyword.value)
        if isinstance(part, ast.Subscript) and isinstance(part.value, ast.Name) and part.value.id in variables
    ]
    names = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    if not looked_up:
        return called(call, module)
    field_name = str(value_of(looked_up[0].slice, module))  # type: ignore[arg-type]
    field = module.fields(variables[looked_up[0].value.id]).get(field_name)  # type: ignore[attr-defined]
    if field is None or not names:
        return None
    annotation, default, doc = field
    facts = kind_of(annotation, field_name, module)
    if facts["kind"] == "switch":
        facts["negatable"] = True
    return flag_of(names, facts, doc, value_of(default, module))


def _frontend(module: Module) -> Iterator[Flag]:
    json_typed = {
        node.targets[0].value.slice.value  # type: ignore[attr-defined]
        for tree in module.trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and re.match(r"frontend_kwargs\['\w+'\]\['type'\] = json", ast.unparse(node))
    }
    for name, (annotation, default, doc) in module.fields("FrontendArgs").items():
        facts = {"kind": "json"} if name in json_typed else kind_of(annotation, name, module)
        if facts["kind"] == "switch":
            facts["negatable"] = True
        yield flag_of([f"--{name.replace('_', '-')}"], facts, doc, value_of(default, module))


def read_sglang(texts: Sources) -> list[Flag]:
    """Annotated fields (0.5.17 on) and every ``add_argument`` of server_args.py."""
    module, found = Module(texts), []
    for name, node in module.classes.items():
        if name == "ServerArgs" or any("_NS_PATH" in ast.unparse(p) for p in node.body if isinstance(p, ast.Assign)):
            found += [_sglang_field(n, *field[:2], module) for n, field in module.fields(name).items()]
    for name, tree in module.trees.items():
        if name.endswith("server_args.py"):
            calls = (n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute))
            found += [called(call, module) for call in calls if call.func.attr == "add_argument"]  # type: ignore[attr-defined]
    return [flag for flag in found if flag]


def _sglang_field(name: str, annotation: ast.expr, default: ast.expr | None, module: Module) -> Flag | None:
    inner = (
        annotation.slice.elts
        if isinstance(annotation, ast.Subscript) and isinstance(annotation.slice, ast.Tuple)
        else []
    )
    meta = next((p for p in inner[1:] if isinstance(p, ast.Call) and ast.unparse(p.func) == "Arg"), None)
    help_text = next((text_of(p, module) for p in inner[1:] if text_of(p, module)), "")
    if not inner or (meta is None and not help_text):
        return None
    given = {k.arg: k.value for k in meta.keywords if k.arg} if meta else {}
    if value_of(given.get("no_cli"), module):
        return None
    names = [
        value_of(given.get("cli_name"), module) or "--" + name.replace("_", "-"),
        *(value_of(given.get("aliases"), module) or []),
    ]
    facts = kind_of(inner[0], name, module)
    if "action" in given or "type_parser" in given:
        facts = explicit_facts({**given, "type": given.get("type_parser", ast.Name("str"))}, module)
    choices = value_of(given.get("choices"), module)
    if isinstance(choices, list) and choices:
        facts["choices"] = [c for c in choices if c is not None]
    action = ast.unparse(given["action"]) if "action" in given else ""
    help_text = text_of(given.get("help"), module) or help_text
    return flag_of(
        names, facts, f"deprecated: {help_text}" if "Deprecated" in action else help_text, value_of(default, module)
    )


def read_transformers(texts: Sources) -> list[Flag]:
    """Parameters of ``Serve.__init__``, which typer turns into options."""
    module, found = Module(texts), []
    init = next(p for p in module.classes["Serve"].body if isinstance(p, ast.FunctionDef) and p.name == "__init__")
    arguments = init.args.args[1:]
    defaults = [None] * (len(arguments) - len(init.args.defaults)) + list(init.args.defaults)
    for argument, default in zip(arguments, defaults, strict=True):
        if argument.annotation is None or "typer.Argument" in ast.unparse(argument.annotation):
            continue
        facts = kind_of(argument.annotation, argument.arg, module)
        if facts["kind"] == "switch":
            facts["negatable"] = True
        text = next(
            (
                text_of(k.value, module)
                for k in ast.walk(argument.annotation)
                if isinstance(k, ast.keyword) and k.arg == "help"
            ),
            "",
        )
        found.append(flag_of(["--" + argument.arg.replace("_", "-")], facts, text, value_of(default, module)))
    return found


def read_llama_cpp(texts: Sources) -> list[Flag]:
    """Every ``common_arg`` of arg.cpp that the server takes."""
    found: list[Flag] = []
    for text in texts.values():
        for block in re.split(r"\n\s*add_opt\(common_arg\(", text)[1:]:
            made = _llama_argument(block.split("\n    // ")[0])
            found += [made] if made else []
    return found


def _llama_argument(block: str) -> Flag | None:
    examples = re.search(r"\.set_examples\(\{([^}]*)\}", block)
    if examples and "SERVER" not in examples[1] and "COMMON" not in examples[1]:
        return None
    head = re.match(r"\s*\{([^}]*)\}(?:,\s*\{([^}]*)\})?(?:,\s*\"([^\"]*)\")?", block)
    names = re.findall(r'"(-[^"]+)"', head[1]) if head else []
    if not head or not names:
        return None
    taken = re.search(r"\[\]\(common_params &\s*\w*(?:,\s*(?:const )?([\w:]+))?", block)
    by_type = {"int": "int", "bool": "switch", "std::string": "text", None: "switch"}
    facts: Flag = {"kind": by_type.get(taken[1] if taken else None, "text")}
    if head[2]:
        facts |= {"negatable": True, "off": re.findall(r'"(-[^"]+)"', head[2])}
    listed = re.fullmatch(r"[\[{<]([\w.|,-]+)[\]}>]", head[3] or "")
    options = re.split(r"[|,]", listed[1]) if listed else []
    if facts["kind"] == "text" and len(options) > 1 and not listed[1].startswith("0"):  # type: ignore[index]
        facts["choices"] = [o for o in options if o]
    help_text = " ".join(re.findall(r'"((?:[^"\\]|\\.)*)"', block[head.end() :]))
    gone = "argument has been removed" in block
    return flag_of(names, facts, "deprecated: removed" if gone else help_text.replace("\\n", " "))


VLLM_FILES = (
    r"vllm/(config/\w+|engine/arg_utils|entrypoints/(openai|common)/cli_args|v1/metrics/loggers"
    r"|model_executor/layers/quantization/__init__|v1/attention/backends/registry)\.py"
)
SGLANG_FILES = (
    r"sglang/srt/(server_args|arg_groups/(choices|arg_utils|fields/\w+)|(metrics|observability)/\w*collector\w*)\.py"
)
# Reader, its files, and how the package writes the names of its metrics.
READERS: dict[str, tuple[Callable[[Sources], list[Flag]], str, str]] = {
    "vllm": (read_vllm, VLLM_FILES, r'"(vllm:[a-z_]+)"'),
    "sglang": (read_sglang, SGLANG_FILES, r'"(sglang:[a-z_]+)"'),
    "transformers": (read_transformers, r"transformers/cli/serve\.py", r"$^"),
    "llama.cpp": (
        read_llama_cpp,
        r".*/(common/arg|tools/server/server[\w-]*)\.cpp",
        r'\{(?:"name",)?\s*"([a-z_]+)"(?:\}|,\n\s*")',
    ),
}


def table(engine: str, archive: Path, version: str, origin: str, today: datetime.date) -> dict[str, Any]:
    reader, wanted, metric = READERS[engine]
    texts = sources(archive, lambda name: re.fullmatch(wanted, name) is not None)
    flags: dict[str, Flag] = {}
    for flag in reader(texts):
        flags.setdefault(flag["flag"], flag)
    prefix = "llamacpp:" if engine == "llama.cpp" else ""  # joined to each name when the server answers
    return {
        "engine": engine,
        "version": version,
        "source": {
            "file": archive.name,
            "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
            "read_on": today.isoformat(),
            **({"origin": origin} if origin else {}),
            "files": sorted(texts) if len(texts) < 6 else [f"{len(texts)} files"],
        },
        "metrics": sorted({prefix + name for text in texts.values() for name in re.findall(metric, text)}),
        "flags": [flags[name] for name in sorted(flags)],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=READERS)
    parser.add_argument("archive", type=Path, help="a wheel, or a source archive")
    parser.add_argument("--version", help="of the engine; left out: the archive's")
    parser.add_argument("--origin", default="", help="what the archive carries along, e.g. a commit it vendors")
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    asked = parser.parse_args()
    version = asked.version or asked.archive.name.split("-")[1]
    made = table(asked.engine, asked.archive, version, asked.origin, datetime.date.today())
    path = asked.out / f"{asked.engine}-{version}.json"
    rows = ",\n".join("  " + json.dumps(flag, ensure_ascii=False) for flag in made.pop("flags"))
    head = json.dumps(made, indent=1, ensure_ascii=False)[:-2]
    path.write_text(f'{head},\n "flags": [\n{rows}\n ]\n}}\n', encoding="utf-8")
    sys.stdout.write(f"{path}: {rows.count(chr(10)) + 1} flags\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
