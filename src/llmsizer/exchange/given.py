"""What the user says of a foreign file, held against what is known: a slip would make a record that nothing can use."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from llmsizer.errors import InputError, LlmSizerError, UnknownNameError
from llmsizer.facts.aliases import names
from llmsizer.facts.precision import ALIASES, PRECISIONS
from llmsizer.physics.steps.formats import engine_class, is_weight_format

ENGINES = ("vllm", "sglang", "tensorrt-llm", "llama.cpp", "transformers", "tgi", "lmdeploy", "openvino", "mlx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the file does not say and the user does; what the file does say is not overruled."""

    model: str = ""
    device: str = ""
    engine: str = ""
    engine_version: str = ""
    precision: str = ""
    accelerators: int | None = None
    batch: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None


def known(given: Given, where: str) -> Given:
    """The same. Raises InputError for a model, device, format or engine that nobody knows, with the nearest names."""
    try:
        if given.model:
            names().model(given.model)
        if given.device:
            names().gpu(given.device)
        if given.precision and not is_weight_format(given.precision):
            raise UnknownNameError("weight format", given.precision, (*PRECISIONS, *ALIASES))
    except UnknownNameError as error:
        own = (
            " (one of your own goes into the file LLMSIZER_OVERRIDES names: profiles/README.md)"
            if error.kind == "GPU"
            else ""
        )
        raise InputError(f"{where}: {error}{own}") from None
    if given.engine and not engine_class(given.engine, given.engine_version, ""):
        near = difflib.get_close_matches(given.engine.lower(), ENGINES, n=1, cutoff=0.7)
        if near:  # an engine that is near to none may well be one that is not known yet
            raise InputError(f"{where}: no engine {given.engine!r}; did you mean {near[0]}?")
    return given


def model_of(in_file: str, given: str) -> tuple[str, str]:
    """The model of a point, and what to say of it where both a file and the user name one.

    What the file says stands, unless only the server knows the name that it has there.
    """
    if not in_file or not given or in_file == given:
        return in_file or given, ""
    try:
        served = names().model(in_file)
    except LlmSizerError:
        return given, f"given; the server calls it {in_file!r}"
    if not served.is_known:
        return given, f"given; the server calls it {in_file!r}"
    if names().model(given).architecture == served.architecture:
        return in_file, ""
    return in_file, f"as the file says, not {given!r} as given"
