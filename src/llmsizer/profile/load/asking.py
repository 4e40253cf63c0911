"""Requests in a server's words: completions or chat, one turn or the next of a conversation."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from llmsizer.profile.load.patterns import Replay, Shape
from llmsizer.profile.load.prompts import Prompts

Api = Literal["completions", "chat"]
PATHS: dict[Api, str] = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How a server wants to be asked; the probe finds out what it accepts."""

    model: str
    api: Api
    prompts: Prompts
    force_output: bool = True  # go on after the end token, so that every output is as long as asked
    usage: bool = True  # ask for the server's own count of tokens

    @property
    def path(self) -> str:
        return PATHS[self.api]

    def body(self, said: list[str], output_tokens: int) -> bytes:
        """The request that continues what was said: prompt, answer, prompt …"""
        document: dict[str, Any] = {"model": self.model, "max_tokens": output_tokens, "temperature": 0, "stream": True}
        if self.api == "chat":
            roles = ("user", "assistant")
            document["messages"] = [{"role": roles[i % 2], "content": text} for i, text in enumerate(said)]
        else:
            document["prompt"] = "".join(said)
        if self.usage:
            document["stream_options"] = {"include_usage": True}
        if self.force_output:
            document |= {"ignore_eos": True, "min_tokens": output_tokens}
        return json.dumps(document, separators=(",", ":")).encode()


@dataclass(slots=True)
class Ask:
    """One request to come."""

    index: int  # over all workers
    prompt_tokens: int
    output_tokens: int
    group: int = -1  # of a trace: its own; else drawn


@dataclass(slots=True)
class Asks:
    """The requests of a point one after the other, without end."""

    shape: Shape
    asking: Asking
    replay: Replay | None = None
    replay_warmup: int = 0
    seed: int = 0
    _lengths: tuple[list[int], list[int]] = field(init=False)

    def __post_init__(self) -> None:
        self._lengths = self.shape.lengths(self.seed)

    def ask(self, index: int) -> Ask:
        if self.replay is not None:
            trace = self.replay.requests
            at = self._row(index)
            group = int(trace.groups[at]) if trace.groups.size else -1
            return Ask(index, int(trace.prompt_tokens[at]), int(trace.output_tokens[at]), group)
        prompts, outputs = self._lengths
        return Ask(index, prompts[index % len(prompts)], outputs[index % len(outputs)])

    def _row(self, index: int) -> int:
        """Of the trace: its first requests go ahead of it as its warm-up, with prompts of their own."""
        assert self.replay is not None
        late = index if index < self.replay_warmup else index - self.replay_warmup
        return late % len(self.replay.requests)

    def first_prompt(self, ask: Ask) -> str:
        """The text of a request or of a conversation's first turn."""
        prompts, shared = self.asking.prompts, self._shared_tokens(ask)
        if not shared:
            return prompts.text(ask.prompt_tokens, self.seed, ask.index)
        group = ask.group if ask.group >= 0 else ask.index % self.shape.prefix_groups
        return prompts.prefix(shared, group) + prompts.text(ask.prompt_tokens - shared, self.seed, ask.index)

    def next_prompt(self, ask: Ask, turn: int) -> str:
        """What a later turn adds: the shared prefix was said in the first."""
        return self.asking.prompts.addition(self._added_tokens(ask), self.seed, ask.index, turn)

    def asked_tokens(self, ask: Ask, turn: int) -> int:
        """Of the whole prompt of a turn, what was said and answered before included."""
        return ask.prompt_tokens + turn * (ask.output_tokens + self._added_tokens(ask))

    def body(self, ask: Ask) -> bytes:
        return self.asking.body([self.first_prompt(ask)], ask.output_tokens)

    def _added_tokens(self, ask: Ask) -> int:
        return ask.prompt_tokens - self._shared_tokens(ask)

    def _shared_tokens(self, ask: Ask) -> int:
        """A trace's own share of cached tokens, else the shape's; at least one token stays its own."""
        tokens = self.shape.shared_prefix_tokens
        if self.replay is not None and self.replay.requests.cached_tokens.size and ask.group >= 0:
            tokens = int(self.replay.requests.cached_tokens[self._row(ask.index)])
        return min(tokens, ask.prompt_tokens - 1)
