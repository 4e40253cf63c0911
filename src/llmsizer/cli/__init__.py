"""The command line: parse, call one public function, print.

Exit codes: 0 an answer (also "nothing fits"), 1 a mistake the user can fix (one line on stderr), 2 wrong usage,
130 interrupted. ``--json`` on every command prints one JSON document on stdout and nothing else there.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

from llmsizer.cli.arguments import OneLineParser
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

    parser = OneLineParser(
        prog="llmsizer",
        description="Which hardware, which precision, own, rent or API: measured, calibrated and priced.",
        epilog="Begin with: llmsizer demo · llmsizer catalog list models · llmsizer plan eu-chat",
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
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    try:
        arguments = build_parser().parse_args(argv)
        return int(arguments.run(arguments) or 0)
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
