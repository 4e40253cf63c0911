"""One variant through one task, in a process of its own: reads what to do from stdin, writes the items' scores.

A process of its own because lm-eval and its data sets look at the environment when they are imported, because a task
may take memory that must come back, and because a task that runs code must be left without a network.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from llmsizer.errors import InputError, LlmSizerError
from llmsizer.facts.variant import Variant
from llmsizer.installed import optional
from llmsizer.quality.code_tasks import run_code_task
from llmsizer.quality.logits import open_reader
from llmsizer.quality.task_model import TextModel, lm_eval_model

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TQDM_DISABLE": "1"}


def run_task(asked: dict[str, Any]) -> dict[str, Any]:
    """Metric and score of each item: ``{"metric": …, "items": {"0": 1.0, …}}``. Raises LlmSizerError."""
    variant = Variant.model_validate({**asked["variant"], "path": asked["path"]})
    context = int(str(variant.config.get("max_position_embeddings") or 2048))
    end = variant.config.get("eos_token_id")
    ends = [int(str(e)) for e in (end if isinstance(end, list) else [end]) if e is not None]
    with open_reader(variant) as reader:
        model = TextModel(reader, Path(asked["tokenizer"]), context_tokens=context, end_tokens=ends)
        if asked["code_file"]:
            return run_code_task(model, Path(asked["code_file"]), limit=asked["limit"])
        return _lm_eval(model, asked)


def _lm_eval(model: TextModel, asked: dict[str, Any]) -> dict[str, Any]:
    evaluator = optional("lm_eval", what="lm-eval tasks", extra="tasks")
    tasks = optional("lm_eval.tasks", what="lm-eval tasks", extra="tasks")
    name = asked["task"]
    # lm-eval's own tasks are thousands of files to read: only where the folder does not have this one.
    manager = None if not asked["folder"] else tasks.TaskManager(include_path=asked["folder"], include_defaults=False)
    if manager is None or name not in manager.all_tasks:
        manager = tasks.TaskManager(include_path=asked["folder"])
    if name not in manager.all_tasks:
        beside = f" or {asked['folder']}" if asked["folder"] else ""
        raise InputError(f"no task {name!r} in lm-eval{beside}; give --task-folder with a YAML that has this task")
    try:
        found = evaluator.simple_evaluate(
            model=lm_eval_model(model),
            tasks=[name],
            limit=asked["limit"],
            task_manager=manager,
            bootstrap_iters=0,
            confirm_run_unsafe_code=asked["allow_code"],
        )
    except LlmSizerError:
        raise
    except ValueError as error:
        if "unsafe" in str(error):
            raise InputError(f"{name} runs code that the model wrote; allow it with --allow-code-execution") from None
        raise InputError(_one_line(name, manager, error)) from None
    except Exception as error:  # data sets and metrics fail in as many ways as there are tasks
        raise InputError(_one_line(name, manager, error)) from None
    return _scores(name, found["samples"])


def _one_line(name: str, manager: Any, error: Exception) -> str:
    said = (str(error) or type(error).__name__).splitlines()[0][:160]
    path = ""
    try:
        entry = manager.task_index[name]
        path = str((getattr(entry, "cfg", None) or {}).get("dataset_path") or "")
    except (KeyError, AttributeError, TypeError):
        path = ""
    missing = any(word in said.lower() for word in ("offline", "couldn't", "connection", "cache", "not found", "reach"))
    if missing or "Offline" in type(error).__name__:
        data = f"the data set {path}" if path else "its data set"
        return (
            f"{name} needs {data}, which is not on this machine and is never downloaded in silence; put it into the "
            f"Hugging Face cache ({os.environ.get('HF_HOME', '~/.cache/huggingface')}), or give --task-folder with a "
            f"YAML that reads JSON lines ({said})"
        )
    return f"{name} could not be run by lm-eval ({said})"


def _scores(name: str, samples: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The first metric of each item, of all subtasks; of several answer filters the first."""
    items: dict[str, float] = {}
    metric = ""
    for task, rows in sorted(samples.items()):
        filters = list(dict.fromkeys(row.get("filter") for row in rows))
        for row in rows:
            metric = metric or str((row.get("metrics") or [""])[0])
            value = row.get(metric)
            if row.get("filter") == filters[0] and isinstance(value, int | float):
                items[f"{task}/{row['doc_id']}"] = float(value)
    if not items:
        raise InputError(f"{name}: lm-eval gave no score for any item; a task with a metric of single items would do")
    return {"metric": metric, "items": items}


def main() -> int:
    """The child's whole life; the answer goes to the file that was asked for, an error in one line to stderr."""
    asked = json.load(sys.stdin)
    os.environ.update(OFFLINE)
    try:
        answer = run_task(asked)
    except LlmSizerError as error:
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        return 1
    Path(asked["out"]).write_text(json.dumps(answer), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
