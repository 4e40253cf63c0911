"""A script that starts one replica where the engine is installed."""

from __future__ import annotations

import shlex

from llmsizer.launch.fleet import Fleet
from llmsizer.launch.settings import model_words, settings_of

START = "start.sh"


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
        else:
            lines.append(" ".join(shlex.quote(word) for word in setting.words))
    split = (
        "# shellcheck disable=SC2086 # the program may be several words\n" if fleet.engine.name == "llama.cpp" else ""
    )
    joined = " \\\n  ".join(lines)
    text = (
        "#!/bin/sh\n"
        f"# One replica of {fleet.served_name} in {fleet.deployment.weights.name} under {fleet.engine.label}, on\n"
        f"# {fleet.gpus} x {fleet.deployment.gpu.name}. Written by llmsizer; README.md says what it promises.\n"
        "set -eu\n"
        f'MODEL="${{MODEL:-{fleet.checkpoint}}}"\n'
        f"{split}exec {joined}\n"
    )
    return {START: text}
