"""Bring the schemas that launch bundles are checked against into ``profiles/launch/schemas``, trimmed to what is used.

    pip download --no-deps kubernetes-validate==1.37.0 kserve==0.21.0 check-jsonschema==0.39.0 -d packages
    npm pack @kubernetes-models/keda@0.4.2 --pack-destination packages
    python tools/trim_launch_schemas.py packages --out profiles/launch/schemas

Kubernetes and Compose schemas are as published, without descriptions. KServe's package publishes its types as Python
classes and KEDA's as TypeScript interfaces, both generated from the projects' own definitions:
they become schemas here.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Schema = dict[str, Any]
KUBERNETES = "1.34.0"
ROOTS = {
    "Deployment": "io.k8s.api.apps.v1.Deployment",
    "Service": "io.k8s.api.core.v1.Service",
    "Secret": "io.k8s.api.core.v1.Secret",
    "ConfigMap": "io.k8s.api.core.v1.ConfigMap",
    "PodDisruptionBudget": "io.k8s.api.policy.v1.PodDisruptionBudget",
    "PersistentVolumeClaim": "io.k8s.api.core.v1.PersistentVolumeClaim",
    "HorizontalPodAutoscaler": "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
}
KSERVE_ROOT = "V1beta1InferenceService"
DROPPED = ("description", "x-kubernetes-", "deprecationMessage", "patternProperties-note", "example")
PLAIN: dict[str, Schema] = {
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "str": {"type": "string"},
    "bool": {"type": "boolean"},
    "object": {},
    "datetime": {"type": "string"},
    "ResourceQuantity": {"type": ["string", "number"]},
    "V1beta1MetricQuantity": {"type": ["string", "number"]},
    "IntstrIntOrString": {"type": ["string", "integer"]},
}


def lean(node: Any) -> Any:
    """Without what does not decide whether a document is valid."""
    if isinstance(node, list):
        return [lean(part) for part in node]
    if not isinstance(node, dict):
        return node
    return {
        key: lean(value) for key, value in node.items() if not (key.startswith(DROPPED) and not isinstance(value, dict))
    }


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].rsplit("/", 1)[-1]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def local(node: Any) -> Any:
    """References into the same file."""
    if isinstance(node, dict):
        return {
            k: f"#/$defs/{v.rsplit('/', 1)[-1]}" if k == "$ref" and isinstance(v, str) else local(v)
            for k, v in node.items()
        }
    return [local(part) for part in node] if isinstance(node, list) else node


def reachable(definitions: Schema, roots: list[str]) -> Schema:
    kept: Schema = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in kept and name in definitions:
            kept[name] = local(lean(definitions[name]))
            waiting.extend(references(kept[name]))
    return dict(sorted(kept.items()))


def kubernetes(wheel: Path, more: list[str]) -> Schema:
    path = f"kubernetes_validate/kubernetes-json-schema/v{KUBERNETES}-local-strict/_definitions.json"
    with zipfile.ZipFile(wheel) as archive:
        definitions = json.loads(archive.read(path))["$defs"]
    return {"$defs": reachable(definitions, [*ROOTS.values(), *more]), "roots": ROOTS}


def kserve(wheel: Path) -> tuple[Schema, list[str]]:
    """Definitions of KServe's own types, and the Kubernetes types they need."""
    types: dict[str, tuple[dict[str, str], dict[str, str], set[str]]] = {}
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if re.fullmatch(r"kserve/models/v1(alpha1|beta1)_\w+\.py", name):
                types |= _python_types(archive.read(name).decode())
    own: Schema = {}
    foreign: set[str] = set()
    waiting = [KSERVE_ROOT]
    while waiting:
        name = waiting.pop()
        if name in own:
            continue
        kinds, json_names, required = types[name]
        properties = {}
        for field, kind in kinds.items():
            schema, used = _of_type(kind)
            properties[json_names[field]] = schema
            waiting += [u for u in used if u in types]
            foreign |= {u for u in used if u not in types}
        needed = sorted(json_names[field] for field in required)
        own[name] = {"type": "object", "additionalProperties": False, "properties": properties} | (
            {"required": needed} if needed else {}
        )
    return {"$defs": dict(sorted(own.items())), "roots": {"InferenceService": KSERVE_ROOT}}, sorted(
        _kubernetes_name(name) for name in foreign
    )


def _python_types(text: str) -> dict[str, tuple[dict[str, str], dict[str, str], set[str]]]:
    found = {}
    for node in ast.parse(text).body:
        if not isinstance(node, ast.ClassDef):
            continue
        tables = {
            part.targets[0].id: ast.literal_eval(part.value)
            for part in node.body
            if isinstance(part, ast.Assign) and isinstance(part.targets[0], ast.Name)
        }
        if "openapi_types" in tables:
            required = set(re.findall(r"Invalid value for `(\w+)`, must not be `None`", text))
            found[node.name] = (tables["openapi_types"], tables["attribute_map"], required)
    return found


def _of_type(kind: str) -> tuple[Schema, list[str]]:
    if kind in PLAIN:
        return PLAIN[kind], []
    if inner := re.fullmatch(r"list\[(.*)\]", kind):
        schema, used = _of_type(inner[1])
        return {"type": "array", "items": schema}, used
    if inner := re.fullmatch(r"dict\(str, (.*)\)", kind):
        schema, used = _of_type(inner[1])
        return {"type": "object", "additionalProperties": schema}, used
    if kind.startswith(("V1alpha1", "V1beta1")):
        return {"$ref": f"#/$defs/{kind}"}, [kind]
    return {"$ref": f"#/$defs/{_kubernetes_name(kind)}"}, [kind]


def _kubernetes_name(kind: str) -> str:
    """``V1Container`` and ``K8sIoApiAppsV1DeploymentStrategy`` by their Kubernetes names."""
    if kind in {"V1ObjectMeta", "V1ListMeta"}:
        return f"io.k8s.apimachinery.pkg.apis.meta.v1.{kind[2:]}"
    if long := re.fullmatch(r"K8sIoApi([A-Z][a-z]+)(V\d)(\w+)", kind):
        return f"io.k8s.api.{long[1].lower()}.{long[2].lower()}.{long[3]}"
    return f"io.k8s.api.core.v1.{kind.removeprefix('V1')}"


def closed(schema: Schema, known: set[str]) -> Schema:
    """Types that no package describes (they stand in ``status`` alone) allow anything."""

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            reference = node.get("$ref")
            if isinstance(reference, str) and reference.rsplit("/", 1)[-1] not in known:
                return {}
            return {key: walk(value) for key, value in node.items()}
        return [walk(part) for part in node] if isinstance(node, list) else node

    return dict(walk(schema))


def keda(package: Path) -> Schema:
    """``ScaledObject`` out of its TypeScript interface."""
    with tarfile.open(package) as tar:
        file = tar.extractfile("package/keda.sh/v1alpha1/ScaledObject.d.ts")
        assert file is not None
        text = re.sub(r"/\*.*?\*/", "", file.read().decode(), flags=re.DOTALL)
    body = text[text.index("export interface IScaledObject") :]
    schema, _ = _interface(re.findall(r'"[^"]*"\??|\w+|[{}<>\[\]:;?|]', body[body.index("{") :]), 0)
    schema["properties"]["metadata"] = {"$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
    return {"$defs": {"ScaledObject": schema}, "roots": {"ScaledObject": "ScaledObject"}}


def _interface(tokens: list[str], at: int) -> tuple[Schema, int]:
    """One type from its tokens: an object, an array, a plain type or quoted constants."""
    if tokens[at] == "Array":
        inner, at = _interface(tokens, at + 2)
        return {"type": "array", "items": inner}, at + 1
    if tokens[at] != "{":
        plain = {"string": "string", "number": "number", "boolean": "boolean"}
        if tokens[at].startswith('"'):
            return {"const": tokens[at].strip('"')}, at + 1
        return ({"type": plain[tokens[at]]} if tokens[at] in plain else {}), at + 1
    at += 1
    properties: Schema = {}
    required: list[str] = []
    while tokens[at] != "}":
        if tokens[at] == "[":  # [key: string]: type
            inner, at = _interface(tokens, at + 6)
            at += 1
            return {"type": "object", "additionalProperties": inner}, at + 1
        name = tokens[at].rstrip("?").strip('"')
        if not tokens[at].endswith("?"):
            required.append(name)
        properties[name], at = _interface(tokens, at + 2)
        at += 1  # ;
    schema: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return schema | ({"required": required} if required else {}), at + 1


def compose(wheel: Path) -> Schema:
    with zipfile.ZipFile(wheel) as archive:
        published = json.loads(archive.read("check_jsonschema/builtin_schemas/vendor/compose-spec.json"))
    return dict(lean(published))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)

    def package(pattern: str) -> Path:
        return next(iter(sorted(asked.packages.glob(pattern))))

    services, needed = kserve(package("kserve-*.whl"))
    cluster = kubernetes(package("kubernetes_validate-*.whl"), needed)
    made = {
        "kubernetes": (cluster, KUBERNETES, "kubernetes_validate-*.whl"),
        "kserve": (
            closed(services, {*services["$defs"], *cluster["$defs"]}),
            package("kserve-*.whl").name.split("-")[1],
            "kserve-*.whl",
        ),
        "keda": (keda(package("*keda*.tgz")), "2.10.1", "*keda*.tgz"),
        "compose": (compose(package("check_jsonschema-*.whl")), "compose-spec", "check_jsonschema-*.whl"),
    }
    for name, (schema, version, pattern) in made.items():
        file = package(pattern)
        source = {
            "of": name,
            "version": version,
            "package": file.name,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "licence": "Apache-2.0",
        }
        text = json.dumps({"$comment": json.dumps(source), **schema}, separators=(",", ":"), sort_keys=False)
        (asked.out / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        sys.stdout.write(f"{name}: {len(text):,} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
