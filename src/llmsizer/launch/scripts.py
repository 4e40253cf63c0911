"""Scripts that come with every bundle: is it up, does it answer, does it keep its promise."""

from __future__ import annotations

import shlex

from llmsizer.facts.workload import Workload
from llmsizer.launch.fleet import Fleet

HEALTH, SMOKE, LOAD = "health.sh", "smoke-test.sh", "load-test.sh"


def script_files(fleet: Fleet, *, is_planned: bool = True) -> dict[str, str]:
    """``is_planned``: there is a plan whose promise can be verified."""
    verify = 'llmsizer verify plan.json --records "$RECORDS"\n' if is_planned else ""
    return {HEALTH: health_script(fleet), SMOKE: smoke_script(fleet), LOAD: load_script(fleet) + verify}


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


def load_script(fleet: Fleet) -> str:
    """The plan's own load on one replica, then the most that keeps the SLO, then the plan against what was seen."""
    key = fleet.engine.facts.key_variable
    common = [
        "--model", _served(fleet),
        *_shape(fleet.workload),
        "--precision", fleet.deployment.weights.name,
        "--gpu", fleet.deployment.gpu.id,
        "--gpus", str(fleet.gpus),
    ]  # fmt: skip
    with_key = [f"${{{key}:+--api-key-env {key}}}"] if key else []
    shared = " \\\n  ".join([*_pairs(common), *with_key])
    rate = f"{fleet.promise.peak_requests_per_second / fleet.workload.turns:.4g}"
    return f"""#!/bin/sh
# Loads ONE replica as the plan's peak hour does, then searches for the most it holds within the SLO.
# llmsizer asks before it loads a server that is not on this machine: pass --allow-remote for one that is yours.
set -eu
URL="${{URL:-http://127.0.0.1:{fleet.engine.facts.port}}}"
RECORDS="${{RECORDS:-load.jsonl}}"
llmsizer profile "$URL" --rate {rate} \\
  {shared} \\
  --records "$RECORDS" "$@"
llmsizer profile "$URL" --slo {shlex.quote(slo_text(fleet))} --search rate \\
  {shared} \\
  --records "$RECORDS" "$@"
"""


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
    if workload.turns > 1:
        new = max(1, round(workload.new_prompt_tokens))
        shape = ["--prompt-tokens", str(new), "--output-tokens", output, "--turns", f"{workload.turns:g}"]
    else:
        own = workload.prompt_tokens - workload.shared_prefix_tokens
        p95 = workload.prompt_tokens_p95 and workload.prompt_tokens_p95 - workload.shared_prefix_tokens
        shape = ["--prompt-tokens", _lengths(max(1, own), p95), "--output-tokens", output]
    prefix = workload.shared_prefix_tokens
    return shape + (["--shared-prefix", str(prefix)] if prefix else [])


def _lengths(mean: int, p95: int | None) -> str:
    return f"{mean}:{p95}" if p95 and p95 > mean else str(mean)


def _pairs(words: list[str]) -> list[str]:
    quoted = [shlex.quote(word) for word in words]
    return [" ".join(quoted[at : at + 2]) for at in range(0, len(quoted), 2)]
