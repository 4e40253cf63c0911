"""Scripts that come with every bundle: is it up, does it answer, does it keep its promise."""

from __future__ import annotations

import shlex

from llmsizer.facts.workload import Workload
from llmsizer.launch.fleet import Fleet

HEALTH, SMOKE, LOAD = "health.sh", "smoke-test.sh", "load-test.sh"


def script_files(fleet: Fleet, *, is_planned: bool = True) -> dict[str, str]:
    """``is_planned``: ``plan.json`` holds a plan."""
    return {
        HEALTH: health_script(fleet),
        SMOKE: smoke_script(fleet),
        LOAD: load_script(fleet, is_verified=is_planned),
    }


def health_script(fleet: Fleet) -> str:
    """Waits until the server answers."""
    return f"""#!/bin/sh
# Waits until the server at URL is healthy: exit code 0, or 1 after WAIT_SECONDS.
set -eu
URL="${{URL:-http://127.0.0.1:{fleet.engine.facts.port}}}"
WAIT_SECONDS="${{WAIT_SECONDS:-1800}}"
waited=0
until curl -fsS -m 5 -o /dev/null "$URL{fleet.engine.facts.health}"; do
  if [ "$waited" -ge "$WAIT_SECONDS" ]; then
    echo "not healthy after $WAIT_SECONDS s" >&2
    exit 1
  fi
  sleep 5
  waited=$((waited + 5))
done
echo "healthy"
"""


def smoke_script(fleet: Fleet) -> str:
    """One question; the answer must hold text."""
    key = fleet.engine.facts.key_variable or "API_KEY"
    name = "$MODEL_NAME"
    return f"""#!/bin/sh
# Asks one question and wants an answer of at least one token.
set -eu
URL="${{URL:-http://127.0.0.1:{fleet.engine.facts.port}}}"
MODEL_NAME="${{MODEL_NAME:-{_served(fleet)}}}"
body='{{"model": "'"{name}"'", "prompt": "The capital of France is", "max_tokens": 8, "temperature": 0}}'
answer=$(curl -fsS -m 120 -H "Authorization: Bearer ${{{key}:-none}}" -H "Content-Type: application/json" \\
  -d "$body" "$URL/v1/completions")
case "$answer" in
  *'"text"'*) echo "answers: $answer" ;;
  *) echo "no text in: $answer" >&2; exit 1 ;;
esac
"""


def load_script(fleet: Fleet, *, is_verified: bool) -> str:
    """The plan's own load on one replica, held against its promise, then the most that keeps the SLO.

    ``is_verified``: ``plan.json`` holds the promise; else the SLO alone judges.
    """
    key = fleet.engine.facts.key_variable
    with_key = [f"${{{key}:+--api-key-env {key}}}"] if key else []
    slo = ["--slo", slo_text(fleet)]
    served = ["--model", _served(fleet)]
    load = [
        *served,
        *_shape(fleet.workload),
        "--precision", fleet.deployment.weights.name,
        *([] if fleet.deployment.gpu.is_cpu else ["--gpu", fleet.deployment.gpu.id]),
        "--gpus", str(fleet.gpus),
        "--engine", fleet.engine.name,
    ]  # fmt: skip
    rate = f"{fleet.promise.at_peak.requests_per_second / _turns(fleet.workload):.4g}"
    promised = (
        _command('llmsizer verify plan.json --url "$URL"', [*served, "--engine", fleet.engine.name], with_key)
        if is_verified
        else _command('llmsizer profile "$URL"', ["--rate", rate, *load], with_key)
    )
    judged = "against the promise" if is_verified else "to be read beside the README's promise"
    return f"""#!/bin/sh
# Loads ONE replica as the plan's peak hour does, {judged}; then searches for the most it holds within the SLO.
# llmsizer asks before it loads a server that is not on this machine: pass --allow-remote for one that is yours.
set -u
URL="${{URL:-http://127.0.0.1:{fleet.engine.facts.port}}}"
RECORDS="${{RECORDS:-load.jsonl}}"
kept=0
{promised} || kept=$?
{_command('llmsizer profile "$URL"', [*slo, "--search", "rate", *load], with_key)} || exit $?
exit "$kept"
"""


def _command(begin: str, words: list[str], with_key: list[str]) -> str:
    """One command over several lines; what the caller adds comes last."""
    return " \\\n  ".join([begin, *_pairs(words), *with_key, '--records "$RECORDS" "$@"'])


def slo_text(fleet: Fleet) -> str:
    slo = fleet.scenario.slo
    parts = [f"p95 ttft <= {slo.ttft_p95_seconds:g}s"]
    if fleet.workload.generated_tokens > 1:
        parts.append(f"p95 tpot <= {slo.tpot_p95_seconds * 1000:g}ms")
    return ", ".join(parts)


def _served(fleet: Fleet) -> str:
    """transformers serve names a model by its checkpoint; the others by the name they are given."""
    return fleet.checkpoint if fleet.engine.name == "transformers" else fleet.served_name


def _shape(workload: Workload) -> list[str]:
    output = _lengths(workload.generated_tokens, workload.generated_tokens_p95)
    if _turns(workload) > 1:
        new = max(1, round(workload.new_prompt_tokens))
        shape = ["--prompt-tokens", str(new), "--output-tokens", output, "--turns", str(_turns(workload))]
    else:
        own = workload.prompt_tokens - workload.shared_prefix_tokens
        p95 = workload.prompt_tokens_p95 and workload.prompt_tokens_p95 - workload.shared_prefix_tokens
        shape = ["--prompt-tokens", _lengths(max(1, own), p95), "--output-tokens", output]
    prefix = workload.shared_prefix_tokens
    return shape + (["--shared-prefix", str(prefix)] if prefix else [])


def _turns(workload: Workload) -> int:
    """The load generator's conversations all have as many."""
    return max(1, round(workload.turns))


def _lengths(mean: int, p95: int | None) -> str:
    return f"{mean}:{p95}" if p95 and p95 > mean else str(mean)


def _pairs(words: list[str]) -> list[str]:
    quoted = [shlex.quote(word) for word in words]
    return [" ".join(quoted[at : at + 2]) for at in range(0, len(quoted), 2)]
