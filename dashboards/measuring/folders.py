"""Which folders here hold a model: those below the output folder, and those whose path a user typed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llmsizer.errors import InputError
from llmsizer.quantize.manifest import MANIFEST

DEEPEST, MOST_FOLDERS = 4, 2_000


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder with a model in it: a checkpoint, which can be quantized, or a variant that quantize wrote."""

    path: Path
    label: str
    kind: Literal["checkpoint", "variant"]


def below(output: Path) -> list[Place]:
    """The models below a folder, links not followed, by path."""
    root = output.resolve()
    return [place for folder in _folders(root) if (place := _place(folder, str(folder.relative_to(root)))) is not None]


def checked(text: str) -> Place:
    """The model at a path that somebody typed. Raises InputError with what would work."""
    shown = " ".join(text.split())[:200]
    if not text.isprintable():
        raise InputError(f"{shown!r} is no path: it holds signs that cannot be printed")
    try:
        folder = Path(text.strip()).expanduser().resolve()
        is_folder = folder.is_dir()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{shown}: no folder can be named so ({type(error).__name__})") from None
    if not is_folder:
        raise InputError(f"{shown}: no such folder on the machine that runs this dashboard; give its full path there")
    place = _place(folder, shown)
    if place is None:
        raise InputError(f"{shown}: no model in it; give a folder with config.json and safetensors, or a variant's")
    return place


def _place(folder: Path, label: str) -> Place | None:
    if (folder / MANIFEST).is_file():
        return Place(path=folder, label=label, kind="variant")
    if (folder / "config.json").is_file():
        return Place(path=folder, label=label, kind="checkpoint")
    return None


def _folders(root: Path) -> Iterator[Path]:
    """Folders down to a depth, hidden ones and links left out, no more than a page can bear."""
    level = [root]
    seen = 0
    for _ in range(DEEPEST):
        below_them: list[Path] = []
        for folder in level:
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError:
                continue
            for entry in entries:
                if seen < MOST_FOLDERS and not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                    seen += 1
                    below_them.append(Path(entry.path))
        yield from below_them
        level = below_them
