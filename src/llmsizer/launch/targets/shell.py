"""A script that starts one replica where the engine is installed."""

from __future__ import annotations

import shlex

from llmsizer.launch.fleet import Fleet
from llmsizer.launch.settings import HEAD, model_words, settings_of

START = "start.sh"
_WORKER = """HEADLESS="${HEADLESS:-}"
if [ "${NODE_RANK:-0}" -gt 0 ]; then HEADLESS=--headless; fi
"""


def shell_files(fleet: Fleet) -> dict[str, str]:
    """``start.sh``; host, port, checkpoint and program may be given in the environment."""
    facts = fleet.engine.facts
    *named, _ = model_words(fleet)
    program = "_".join(facts.command[0].upper().replace("-", "_").split())
    words = [f'"${{{program}:-{facts.command[0]}}}"', *facts.command[1:], *named, '"$MODEL"']
    if fleet.engine.name == "llama.cpp":  # the program may be a command of several words
        words[0] = f"${{{program}:-{facts.command[0]}}}"
    lines = [" ".join(words)]
    for setting in settings_of(fleet, host="127.0.0.1"):
        if setting.flag == "--port":
            lines.append(f'--port "${{PORT:-{setting.value}}}"')
        elif setting.flag == "--host":
            lines.append(f'--host "${{HOST:-{setting.value}}}"')
        elif setting.flag == "--node-rank":
            lines.append(f'--node-rank "${{NODE_RANK:-{setting.value}}}"')
        elif (setting.value or "").startswith(HEAD):
            lines.append(f'{setting.flag} "${{MASTER_ADDR:-{HEAD}}}{(setting.value or "").removeprefix(HEAD)}"')
        else:
            lines.append(" ".join(shlex.quote(word) for word in setting.words))
    split = (
        "# shellcheck disable=SC2086 # the program may be several words\n" if fleet.engine.name == "llama.cpp" else ""
    )
    works = ""
    if fleet.deployment.servers > 1 and fleet.engine.name == "vllm":  # the others answer no requests
        works = _WORKER
        lines.append("$HEADLESS")
    joined = " \\\n  ".join(lines)
    text = (
        "#!/bin/sh\n"
        f"# One replica of {fleet.served_name} in {fleet.deployment.weights.name} under {fleet.engine.label}, on\n"
        f"# {fleet.gpus} x {fleet.deployment.gpu.name}. Written by llmsizer; README.md says what it promises.\n"
        "set -eu\n"
        f'MODEL="${{MODEL:-{fleet.checkpoint}}}"\n'
        f"{works}{split}exec {joined}\n"
    )
    return {START: text}
