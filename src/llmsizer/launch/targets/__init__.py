"""Where a fleet is started: one file per target, each a function from the fleet to its files."""

from __future__ import annotations

from collections.abc import Callable

from llmsizer.launch.fleet import Fleet
from llmsizer.launch.targets.compose import compose_files
from llmsizer.launch.targets.kserve import kserve_files
from llmsizer.launch.targets.kubernetes import kubernetes_files
from llmsizer.launch.targets.shell import shell_files

TARGETS: dict[str, Callable[[Fleet], dict[str, str]]] = {
    "shell": shell_files,
    "compose": compose_files,
    "k8s": kubernetes_files,
    "kserve": kserve_files,
}
