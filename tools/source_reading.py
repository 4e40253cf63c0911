"""Python sources read without running them: classes, annotated fields, constants, and what argparse makes of a type."""

from __future__ import annotations

import ast
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Flag = dict[str, Any]
Sources = dict[str, str]  # path inside the archive → text
HUMAN = {"max_num_batched_tokens", "max_num_scheduled_tokens", "kv_cache_memory_bytes", "max_model_len"}


def sources(archive: Path, wanted: Callable[[str], bool]) -> Sources:
    """The wanted text files of a wheel or a source archive."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {name: wheel.read(name).decode() for name in wheel.namelist() if wanted(name)}
    with tarfile.open(archive) as tar:
        members = [member for member in tar.getmembers() if member.isfile() and wanted(member.name)]
        return {member.name: file.read().decode() for member in members if (file := tar.extractfile(member))}


class Module:
    """All sources together: classes with their annotated fields, and constants by name."""

    def __init__(self, texts: Sources) -> None:
        self.trees = {name: ast.parse(text) for name, text in texts.items() if name.endswith(".py")}
        self.classes: dict[str, ast.ClassDef] = {}
        self.constants: dict[str, ast.expr] = {}
        for tree in self.trees.values():
            for node in tree.body:
                self._note(node)

    def _note(self, node: ast.stmt) -> None:
        if isinstance(node, ast.ClassDef):
            self.classes[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            self.constants[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            self.constants[node.target.id] = node.value

    def fields(self, name: str) -> dict[str, tuple[ast.expr, ast.expr | None, str]]:
        """Field → annotation, default, the text below it; those of bases first."""
        node = self.classes.get(name)
        if node is None:
            return {}
        found: dict[str, tuple[ast.expr, ast.expr | None, str]] = {}
        for base in node.bases:
            found |= self.fields(base.id) if isinstance(base, ast.Name) else {}
        for at, part in enumerate(node.body):
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                after = node.body[at + 1] if at + 1 < len(node.body) else None
                found[part.target.id] = (
                    part.annotation,
                    part.value,
                    text_of(after.value, self) if isinstance(after, ast.Expr) else "",
                )
        return found


def text_of(node: ast.expr | None, module: Module) -> str:
    """The string a node is, constants and plain pieces of f-strings included; empty where it is none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part, module) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return text_of(node.left, module) + text_of(node.right, module)
    if isinstance(node, ast.Name) and node.id in module.constants:
        return text_of(module.constants[node.id], module)
    return ""


def value_of(node: ast.expr | None, module: Module, depth: int = 0) -> Any:
    """A literal, through constants, ``[...] + NAME`` and field(default=...); None where it is not one."""
    if node is None or depth > 6:
        return None
    if isinstance(node, ast.Name):
        return value_of(module.constants.get(node.id), module, depth + 1)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        field = module.fields(node.value.id).get(node.attr)
        return value_of(field[1], module, depth + 1) if field else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = value_of(node.left, module, depth + 1), value_of(node.right, module, depth + 1)
        return left + right if isinstance(left, list) and isinstance(right, list) else None
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in {"list", "set", "sorted", "tuple"} and node.args:
            found = value_of(node.args[0], module, depth + 1)
            return list(found) if isinstance(found, list | tuple | set) else None
        given = {k.arg: k.value for k in node.keywords}
        return value_of(given.get("default"), module, depth + 1) if name in {"Field", "field"} else None
    try:
        found = ast.literal_eval(node)
    except (ValueError, TypeError):
        return None
    return sorted(found, key=str) if isinstance(found, set) else found


def parts_of(annotation: ast.expr, module: Module, depth: int = 0) -> list[ast.expr]:
    """The members of a union, with aliases followed and ``Annotated`` taken off."""
    if depth > 8:
        return [annotation]
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return parts_of(ast.parse(annotation.value, mode="eval").body, module, depth + 1)
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return parts_of(annotation.left, module, depth + 1) + parts_of(annotation.right, module, depth + 1)
    if isinstance(annotation, ast.Subscript) and isinstance(annotation.value, ast.Name):
        inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        if annotation.value.id in {"Optional", "Union"}:
            none = [ast.Constant(None)] if annotation.value.id == "Optional" else []
            return [p for part in inner for p in parts_of(part, module, depth + 1)] + none
        if annotation.value.id in {"Annotated", "A", "SkipValidation"}:
            return parts_of(inner[0], module, depth + 1)
    if isinstance(annotation, ast.Name) and annotation.id in module.constants and annotation.id not in module.classes:
        return parts_of(module.constants[annotation.id], module, depth + 1)
    return [annotation]


def kind_of(annotation: ast.expr, name: str, module: Module) -> Flag:
    """Kind and choices as argparse would take them, in the order in which the engines decide."""
    parts = parts_of(annotation, module)
    names = {part.id for part in parts if isinstance(part, ast.Name)}
    heads = {
        part.value.id: part for part in parts if isinstance(part, ast.Subscript) and isinstance(part.value, ast.Name)
    }
    if any(n in module.classes and not is_enum(module.classes[n]) for n in names):
        return {"kind": "json"}
    if "bool" in names:
        return {"kind": "text?"} if "str" in names else {"kind": "switch"}
    if "Literal" in heads:
        literal = [
            p
            for p in parts
            if isinstance(p, ast.Subscript) and isinstance(p.value, ast.Name) and p.value.id == "Literal"
        ]
        values = [v for p in literal for v in _literal_values(p, module)]
        kind = "int" if values and all(isinstance(v, int) for v in values) else "text"
        return {"kind": kind} | ({} if "str" in names else {"choices": sorted(set(values), key=str)})
    for head in ("list", "tuple", "set", "List", "Tuple", "Set", "Sequence"):
        if head in heads or head in names:
            return {"kind": "list"}
    if "int" in names:
        return {"kind": "int, K M G" if name in HUMAN else "int"}
    if "float" in names:
        return {"kind": "float"}
    if {"dict", "Dict"} & (names | set(heads)):
        return {"kind": "json"}
    return {"kind": "text"} | enum_choices(names, module)


def _literal_values(node: ast.Subscript, module: Module) -> list[Any]:
    inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    found: list[Any] = []
    for part in inner:
        if isinstance(part, ast.Constant):
            found.append(part.value)
        else:  # a Literal inside a Literal
            nested = [p for p in parts_of(part, module) if isinstance(p, ast.Subscript)]
            found.extend(v for p in nested for v in _literal_values(p, module))
    return [v for v in found if v is not None]


def is_enum(node: ast.ClassDef) -> bool:
    return any("Enum" in ast.unparse(base) for base in node.bases)


def enum_choices(names: set[str], module: Module) -> Flag:
    for name in names & set(module.classes):
        node = module.classes[name]
        if is_enum(node):
            values = [
                p.value.value for p in node.body if isinstance(p, ast.Assign) and isinstance(p.value, ast.Constant)
            ]
            return {"choices": values} if values and all(isinstance(v, str) for v in values) else {}
    return {}
