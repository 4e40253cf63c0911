"""Any variant as lm-eval asks of a model: likelihoods and greedy answers, made from any engine's logits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmsizer.errors import InputError
from llmsizer.installed import optional
from llmsizer.quality.logits import Reader
from llmsizer.quality.losses import log_sum_exp

MOST_NEW_TOKENS = 256


class TextModel:
    """A reader with its tokenizer. ``context_tokens`` is the longest the model was made for."""

    def __init__(self, reader: Reader, folder: Path, *, context_tokens: int, end_tokens: Sequence[int] = ()) -> None:
        tokenizers = optional("tokenizers", what="reading text", extra="quantize")
        file = folder / "tokenizer.json"
        if not file.is_file():
            raise InputError(f"{folder}: no tokenizer.json, which tasks need to read text; add it beside the weights")
        self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(file))
        self._reader = reader
        self.context_tokens = context_tokens
        self._end = frozenset(end_tokens)

    def log_likelihood(self, context: str, continuation: str) -> tuple[float, bool]:
        """Nats of the continuation after the context, and whether greedy decoding would give it."""
        whole = self._encode(context + continuation)
        start = max(1, min(len(self._encode(context)), len(whole) - 1))
        kept = whole[-self.context_tokens :]
        start = max(1, start - (len(whole) - len(kept)))
        tokens = np.array(kept, dtype=np.int64)
        if tokens.size < 2:
            return 0.0, True
        logits = self._reader(tokens)[start - 1 : -1]
        targets = tokens[start:]
        chosen = logits[np.arange(targets.size), targets]
        return float((chosen - log_sum_exp(logits)).sum()), bool((logits.argmax(axis=-1) == targets).all())

    def generate(self, context: str, until: Sequence[str], most_tokens: int = MOST_NEW_TOKENS) -> str:
        """The greedy answer up to the first of ``until``. Each token reads the whole text again: right, not fast."""
        most = min(most_tokens, self.context_tokens // 2)
        tokens = self._encode(context)[-(self.context_tokens - most) :]
        begin, said = len(tokens), ""
        for _ in range(most):
            following = int(self._reader(np.array(tokens, dtype=np.int64))[-1].argmax())
            if following in self._end:
                break
            tokens.append(following)
            said = str(self._tokenizer.decode(tokens[begin:]))
            if any(stop in said for stop in until if stop):
                break
        for stop in until:
            said = said.split(stop)[0] if stop else said
        return said

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text).ids)


def lm_eval_model(model: TextModel) -> Any:
    """The model under lm-eval's interface. Raises MissingExtraError."""
    api = optional("lm_eval.api.model", what="lm-eval tasks", extra="tasks")

    class Wrapped(api.LM):  # type: ignore[misc,name-defined]
        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> list[tuple[float, bool]]:
            return [model.log_likelihood(*request.args) for request in requests]

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
            return [model.log_likelihood("", request.args[0])[0] for request in requests]

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
            answers = []
            for request in requests:
                context, options = request.args
                until = options.get("until") or []
                stops = [until] if isinstance(until, str) else list(until)
                answers.append(model.generate(context, stops, int(options.get("max_gen_toks", MOST_NEW_TOKENS))))
            return answers

    return Wrapped()
