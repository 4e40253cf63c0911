"""The command line: parse, call one public function, print.

Exit codes: 0 an answer (also "nothing fits"), 1 a mistake the user can fix (one line on stderr) or a limit missed,
2 no such command, option or choice, 130 interrupted. ``--json`` on every command that answers prints one JSON document
on stdout and nothing else there.
"""

from __future__ import annotations

import errno
import gc
import io
import os
import sys
from collections.abc import Sequence

from llmsizer.cli.arguments import CommandsParser, OneLineParser, described
from llmsizer.errors import LlmSizerError
from llmsizer.version import __version__

__all__ = ["build_parser", "main"]


def build_parser() -> OneLineParser:
    """The whole parser; each command module adds its own subcommands."""
    from llmsizer.cli.catalog import listing as catalog
    from llmsizer.cli.decide import answering, choosing, planning, reporting, tuning
    from llmsizer.cli.launch import bundling, verifying
    from llmsizer.cli.measure import demo, evidence, measuring, quality, quantizing
    from llmsizer.cli.records import listing as records
    from llmsizer.cli.serve import remote, serving
    from llmsizer.cli.traffic import simulating, sweeping

    parser = CommandsParser(
        prog="llmsizer",
        description="Which hardware, which precision, own, rent or API: measured, calibrated and priced.",
        epilog="Begin with: llmsizer plan eu-chat · llmsizer catalog list models · llmsizer demo. "
        "Exit codes: 0 an answer (also that nothing fits), 1 a mistake in what was given or a limit missed, "
        "2 no such command, option or choice, 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"llmsizer {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=OneLineParser)
    for module in (
        planning,
        reporting,
        answering,
        bundling,
        tuning,
        simulating,
        sweeping,
        catalog,
        measuring,
        quantizing,
        quality,
        choosing,
        records,
        evidence,
        demo,
        verifying,
        serving,
        remote,
    ):
        module.add_commands(commands)
    return described(parser)


def run() -> int:
    """A process of its own for one command: what it makes lives to its end, so circles are looked for seldom."""
    gc.set_threshold(50_000, 20, 20)
    return main()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    _lose_signs_not_answers()
    try:
        arguments = build_parser().parse_args(argv)
        code = int(arguments.run(arguments) or 0)
        sys.stdout.flush()  # here, where somebody catches what a pipe or a disk says to it
        return code
    except LlmSizerError as error:
        print(f"llmsizer: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("llmsizer: interrupted; what was finished is kept, the same command goes on from there", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `llmsizer … | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        # A path that no file system takes, a folder nobody may look into, a full disk: the user can mend it.
        where = f"{str(error.filename)[:200]}: " if error.filename is not None else ""
        print(f"llmsizer: {where}{error.strerror}; give another path", file=sys.stderr)
        return 1


def _lose_signs_not_answers() -> None:
    """Where a terminal or a pipe is said to take ASCII alone, a × becomes a question mark and nothing fails."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not (stream.encoding or "").lower().startswith("utf"):
            stream.reconfigure(errors="replace")
