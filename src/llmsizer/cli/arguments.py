"""Argument types whose errors are sentences, and a parser that keeps an error to one line."""

from __future__ import annotations

import argparse
import difflib
import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from llmsizer.errors import InputError, suggest
from llmsizer.files import path_of

Commands = argparse._SubParsersAction  # the type of add_subparsers() has no public name


# What stands for a value in help where an option has no better word, by what reads it.
PLACEHOLDERS = {"whole_number": "N", "number": "X", "existing_path": "PATH", "Path": "PATH"}


class WholeWords(argparse.HelpFormatter):
    """Help that is not broken at the dashes of names and options, and says what is taken where nothing is given."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        said, default = action.help, action.default
        if said is None or not action.option_strings or isinstance(default, bool) or default in (None, "", [], 0):
            return said
        return said if "default" in said or default is argparse.SUPPRESS else f"{said} (default: %(default)s)"

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        reader = getattr(action.type, "__qualname__", "").partition(".")[0]
        return PLACEHOLDERS.get(reader, super()._get_default_metavar_for_optional(action))

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return textwrap.fill(
            " ".join(text.split()), width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
        )


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, with the nearest name that would work, and where help is."""

    parts: tuple[str, ...] = ()  # subcommands of which one may be left out …
    default_part = ""  # … this one

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"formatter_class": WholeWords} | kwargs)

    @property
    def examples(self) -> tuple[str, ...]:
        """Calls of this command, as they are typed."""
        from llmsizer.cli.examples import EXAMPLES

        return EXAMPLES.get(self.prog.partition(" ")[2], ())

    def format_help(self) -> str:
        lines = "".join(f"  {line}\n" for line in self.examples)
        return super().format_help() + (f"\nexamples:\n{lines}" if lines else "")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Adds the part that was left out; an option alone, such as --help, is of the whole command."""
        if self.parts and args and args[0] not in self.parts and not args[0].startswith("-"):
            near = _nearest(args[0], self.parts)
            if near and not Path(args[0]).exists():
                self.error(f"no {args[0]!r}, neither a part nor a file; did you mean {near[0]}?")
            args = [self.default_part, *args]
        found, extras = super().parse_known_args(args, namespace)
        self._refuse(extras)
        return found, extras

    def _refuse(self, extras: Sequence[str]) -> None:
        """What nobody knows is said by the command that was called, which knows what is near to it."""
        option = next((word.partition("=")[0] for word in extras if word.startswith("-") and word != "--"), None)
        if option is None:
            if extras and not self._commands():
                self.error(f"{extras[0]!r} is one word too many")
            return
        if self._commands():  # they know their options, this one has none
            example = self.examples[0] if self.examples else f"{self.prog} plan eu-chat"
            self.error(f"no option {option} before the command; options go behind it, as in: {example} --json")
        known = [name for name in self._option_string_actions if name.startswith("--")]
        near = _nearest(option, known)
        self.error(f"no option {option}" + (f"; did you mean {' or '.join(near)}?" if near else ""))

    def _commands(self) -> dict[str, Any]:
        """The commands below this one; none where it is one that answers."""
        below = (action.choices for action in self._actions if isinstance(action, argparse._SubParsersAction))
        found: Any = next(below, None)
        return dict(found or {})

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        known = [str(choice) for choice in action.choices]
        what = f"no {(action.metavar or 'choice')!s} {value!r}".lower() if action.nargs == argparse.PARSER else ""
        said = f"{what or f'no {value!r}'}; {suggest(_nearest(str(value), known), known, shown=40)}"
        raise argparse.ArgumentError(None if what else action, said)

    def error(self, message: str) -> NoReturn:
        missing = message.removeprefix("the following arguments are required: ")
        if missing != message:
            example = f"; as in: {self.examples[0]}" if self.examples else ""
            message = f"{missing} {'are' if ',' in missing else 'is'} missing{example}"
        where = "" if message.endswith("?") else f"; see '{self.prog} --help'"
        self.exit(2, f"{self.prog}: {message}{where}\n")


class AnyOrderParser(OneLineParser):
    """Takes positionals after options too, where there may be any number of them."""

    _mixing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._mixing:
            return super().parse_known_args(args, namespace)
        self._mixing = True
        try:
            found, extras = self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False
        self._refuse(extras)
        return found, extras

    def _refuse(self, extras: Sequence[str]) -> None:
        if not self._mixing:  # within, what one half leaves over is for the other
            super()._refuse(extras)


class CommandsParser(OneLineParser):
    """The program's own parser: its help has the commands by what they are for."""

    def format_help(self) -> str:
        from llmsizer.cli.examples import GROUPS

        commands = next(action for action in self._actions if isinstance(action, argparse._SubParsersAction))
        told = {action.dest: action.help or "" for action in commands._choices_actions}
        formatter = self._get_formatter()
        formatter.add_text(self.description)
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        for group, names in GROUPS.items():
            formatter.start_section(group)
            for name in names:
                formatter.add_argument(argparse.Action([], name, metavar=name, help=told[name]))
            formatter.end_section()
        formatter.start_section("options")
        formatter.add_arguments([action for action in self._actions if action.option_strings])
        formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help() + "\n"


def _nearest(word: str, known: Sequence[str]) -> tuple[str, ...]:
    """The names that a word was most likely to be; none where none is near."""
    bare = {name.lstrip("-"): name for name in known}  # the dashes that all have make none alike
    return tuple(bare[near] for near in difflib.get_close_matches(word.lstrip("-"), bare, n=2, cutoff=0.6))


def all_parsers(parser: OneLineParser) -> Iterator[OneLineParser]:
    """A parser and those of all its commands, the commands' commands included."""
    yield parser
    for below in dict.fromkeys(parser._commands().values()):
        yield from all_parsers(below)


def described(parser: OneLineParser) -> OneLineParser:
    """The same parser; what its help says of each command, that command's own help begins with."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for told in action._choices_actions:
                below = action.choices[told.dest]
                below.description = below.description or (told.help and f"{told.help[0].upper()}{told.help[1:]}.")
                described(below)
    return parser


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
