"""Argument types whose errors are sentences, and a parser that keeps an error to one line."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from llmsizer.errors import InputError
from llmsizer.files import path_of

Commands = argparse._SubParsersAction  # the type of add_subparsers() has no public name


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line and where help is, instead of the whole usage."""

    parts: tuple[str, ...] = ()  # subcommands of which one may be left out …
    default_part = ""  # … this one

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Adds the part that was left out; an option alone, such as --help, is of the whole command."""
        if self.parts and args and args[0] not in self.parts and not args[0].startswith("-"):
            args = [self.default_part, *args]
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see '{self.prog} --help'\n")


class AnyOrderParser(OneLineParser):
    """Takes positionals after options too, where there may be any number of them."""

    _mixing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._mixing:
            return super().parse_known_args(args, namespace)
        self._mixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False


def whole_number(name: str, *, least: int = 1, most: int = 10**9) -> Callable[[str], int]:
    """A parser of whole numbers within bounds; ``8k`` and ``1M`` are understood."""

    def parse(text: str) -> int:
        value = number(name, least=least, most=most)(text)
        if value != int(value):
            raise InputError(f"{name} = {text!r} is not a whole number; give one from {least} to {most:,}")
        return int(value)

    return parse


def number(name: str, *, least: float = 0.0, most: float = math.inf) -> Callable[[str], float]:
    """A parser of finite numbers within bounds; the suffixes k, M and G multiply by 10³, 10⁶ and 10⁹."""
    factors = {"k": 1e3, "m": 1e6, "g": 1e9}

    def parse(text: str) -> float:
        stripped = text.strip().replace("_", "").replace(",", "")
        factor = factors.get(stripped[-1:].lower(), 1.0)
        try:
            value = float(stripped[:-1] if factor != 1.0 else stripped) * factor
        except ValueError:
            raise InputError(f"{name} = {text!r} is not a number; give one such as {least or 1:g}") from None
        if not math.isfinite(value) or not least <= value <= most:
            upper = " or more" if math.isinf(most) else f" to {most:,.12g}"
            raise InputError(f"{name} = {text!r} is out of range; give {least:,.12g}{upper}")
        return value

    return parse


def comma_list(text: str) -> list[str]:
    """``a,b,c`` as a list without blanks."""
    return [part.strip() for part in text.split(",") if part.strip()]


def existing_path(text: str) -> Path:
    """A path that exists."""
    path = path_of(text)
    if not path.exists():
        raise InputError(f"there is no file or folder {text!r}; give an existing path")
    return path


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
