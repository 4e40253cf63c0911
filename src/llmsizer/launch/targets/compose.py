"""Containers on one host: a service for each replica that the host has GPUs for."""

from __future__ import annotations

from typing import Any

from llmsizer.launch import container
from llmsizer.launch.fleet import Fleet
from llmsizer.launch.yaml_text import yaml_text

COMPOSE = "compose.yaml"


def compose_files(fleet: Fleet) -> dict[str, str]:
    """``compose.yaml``. Replica n listens on the host's port plus n, on localhost."""
    count = max(1, min(fleet.all_replicas, fleet.deployment.gpu.max_per_node // fleet.gpus))
    document: dict[str, Any] = {
        "name": container.name_of(fleet),
        "services": {f"replica-{n + 1}": _service(fleet, n) for n in range(count)},
    }
    if not fleet.is_local_checkpoint:
        document["volumes"] = {"weights": {}}
    return {COMPOSE: yaml_text(document)}


def _service(fleet: Fleet, number: int) -> dict[str, Any]:
    facts = fleet.engine.facts
    service: dict[str, Any] = {"image": container.image(fleet)}
    if facts.container_command:
        service["entrypoint"] = list(facts.container_command)
    service["command"] = [word.replace("$", "$$") for word in container.arguments(fleet)]
    service["ports"] = [f"127.0.0.1:{facts.port + number}:{facts.port}"]
    service["environment"] = _environment(fleet)
    service["volumes"] = ["./models:/models:ro"] if fleet.is_local_checkpoint else ["weights:/root/.cache"]
    service["shm_size"] = f"{container.shared_gib(fleet)}gb"
    service["restart"] = "unless-stopped"
    service["stop_grace_period"] = f"{container.answer_seconds(fleet)}s"
    service["healthcheck"] = {
        "test": _health(fleet),
        "interval": "15s",
        "timeout": "5s",
        "retries": 4,
        "start_period": f"{container.start_seconds(fleet)}s",
    }
    return service | _devices(fleet, number)


def _environment(fleet: Fleet) -> dict[str, str]:
    found = {"HF_TOKEN": "${HF_TOKEN:-}"} if not fleet.is_local_checkpoint else {"HF_HUB_OFFLINE": "1"}
    key = fleet.engine.facts.key_variable
    return found | ({key: f"${{{key}:?set it to the key that clients must send}}"} if key else {})


def _health(fleet: Fleet) -> list[str]:
    url = f"http://127.0.0.1:{fleet.engine.facts.port}{fleet.engine.facts.health}"
    if fleet.engine.name == "llama.cpp":
        return ["CMD", "curl", "-fsS", url]
    return ["CMD", "python3", "-c", f"import urllib.request as r; r.urlopen('{url}', timeout=4)"]


def _devices(fleet: Fleet, number: int) -> dict[str, Any]:
    first = number * fleet.gpus
    ids = [str(first + n) for n in range(fleet.gpus)]
    platform = container.platform(fleet)
    if platform == "cuda":
        device = {"driver": "nvidia", "device_ids": ids, "capabilities": ["gpu"]}
        return {"deploy": {"resources": {"reservations": {"devices": [device]}}}}
    if platform == "rocm":
        return {"devices": ["/dev/kfd:/dev/kfd", "/dev/dri:/dev/dri"], "group_add": ["video"]}
    return {"devices": ["/dev/dri:/dev/dri"]} if platform == "intel" else {}
