"""``llmsizer serve`` and ``llmsizer mcp``: the same questions for other programs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from llmsizer.cli.arguments import Commands, number, whole_number
from llmsizer.cli.decide.planning import add_evidence, read_evidence
from llmsizer.cli.output import console
from llmsizer.cli.sources import complain, is_store, open_source, read_source
from llmsizer.errors import InputError
from llmsizer.installed import optional

if TYPE_CHECKING:
    from llmsizer.facts.records import ProfileRecord
    from llmsizer.remote.operations import AddedDoc, Backing, Own

TOKEN_VARIABLE = "LLMSIZER_TOKEN"


def add_commands(commands: Commands) -> None:  # type: ignore[type-arg]
    serve = commands.add_parser("serve", help="answer other programs over HTTP: REST, and MCP at /mcp")
    serve.add_argument("--host", default="127.0.0.1", help="default: this machine alone; others need a token")
    serve.add_argument("--port", type=whole_number("port", most=65_535), default=8642, help="to answer on")
    serve.add_argument("--token-file", type=Path, metavar="FILE", help=f"holds the token (or: {TOKEN_VARIABLE})")
    serve.add_argument(
        "--requests-per-minute",
        type=number("requests-per-minute", least=1),
        default=120.0,
        metavar="N",
        help="of one client",
    )
    serve.add_argument("--tls-certificate", type=Path, metavar="FILE", help="PEM; with --tls-key: HTTPS")
    serve.add_argument("--tls-key", type=Path, metavar="FILE", help="PEM, of the certificate")
    mcp = commands.add_parser("mcp", help="be a tool of an assistant that starts this process (MCP over stdio)")
    for parser in (serve, mcp):
        parser.add_argument("--store", metavar="STORE", help="where records are read, and kept: they calibrate")
        add_evidence(parser)
    serve.set_defaults(run=_serve)
    mcp.set_defaults(run=_mcp)


def _serve(arguments: argparse.Namespace) -> int:
    uvicorn = optional("uvicorn", what="serving", extra="remote")
    optional("fastapi", what="serving", extra="remote")
    optional("mcp", what="serving", extra="remote")
    from llmsizer.remote.guard import limits_for
    from llmsizer.remote.listening import has_certificate, listening_at
    from llmsizer.remote.rest import rest_app

    is_secret = has_certificate(arguments.tls_certificate, arguments.tls_key)
    token = _token(arguments.token_file)
    limits = limits_for(arguments.host, token, requests_per_minute=arguments.requests_per_minute)
    app = rest_app(_backing(arguments), limits)
    config = uvicorn.Config(
        app,
        log_config=None,  # its own would close the handlers of every other library in this process
        log_level="warning",
        ssl_certfile=arguments.tls_certificate,
        ssl_keyfile=arguments.tls_key,
    )
    with listening_at(arguments.host, arguments.port) as listening:
        host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
        address = f"{'https' if is_secret else 'http'}://{host}:{arguments.port}"
        lines = [
            f"REST at {address}/v1 ({address}/openapi.json), MCP at {address}/mcp, "
            f"{'with the token' if token else 'without a token'}  (Ctrl-C ends it)"
        ]
        if token and not limits.allowed_hosts and not is_secret:
            lines.append("! the token can be read on the way here: give --tls-certificate, or put HTTPS before it")
        console(stderr=True).print("\n".join(lines), highlight=False, soft_wrap=True)
        with suppress(KeyboardInterrupt):  # the usual end of a server
            uvicorn.Server(config).run(sockets=[listening])
    return 0


def _mcp(arguments: argparse.Namespace) -> int:
    optional("mcp", what="MCP", extra="remote")
    from llmsizer.remote.mcp_server import mcp_over_stdio

    mcp_over_stdio(_backing(arguments))
    return 0


def _token(file: Path | None) -> str | None:
    """From a file, else from the environment: never from the command line, which others can see."""
    if file is None:
        return os.environ.get(TOKEN_VARIABLE, "").strip() or None
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: no token can be read ({getattr(error, 'strerror', None) or error})") from None
    if not text:
        raise InputError(f"{file}: empty; put the token into it")
    return text


def _backing(arguments: argparse.Namespace) -> Backing:
    from llmsizer.facts.records import ProfileRecord
    from llmsizer.remote.operations import Backing, Own

    store: str | None = arguments.store
    if store is None:
        evidence, source = read_evidence(arguments.records, arguments.quality), arguments.records
        own = Own(calibration=evidence.calibration, quality=evidence.quality)
        return Backing(own=lambda: own, records=(lambda: read_source(source, ProfileRecord)) if source else tuple)
    if not is_store(store) and Path(store).exists():
        raise InputError(f"{store}: not a store; make one with: llmsizer records import FILE --store STORE.sqlite")

    def read() -> Sequence[ProfileRecord]:
        with open_source(store) as opened:
            return list(opened.profiles())

    def keep(records: Sequence[ProfileRecord]) -> AddedDoc:
        with open_source(store) as opened:
            added = opened.add("records", records)
        return {"new": added.new, "known": added.known}

    measured = _own_of(store, arguments)
    measured()  # a store that cannot be opened is said now and not at the first question
    return Backing(own=measured, records=read, keep=keep)


def _own_of(store: str, arguments: argparse.Namespace) -> Callable[[], Own]:
    """What is measured, from the store unless a file of it was named; worked out again when the store has grown."""
    from llmsizer.remote.operations import Own

    @lru_cache(maxsize=1)
    def at(counts: tuple[int, int]) -> Own:
        quality = arguments.quality or store
        try:
            evidence = read_evidence(arguments.records or store, quality)
        except InputError as reason:
            if arguments.records:
                raise
            complain([f"! {store}: no record in it calibrates ({reason})"])
            evidence = read_evidence(None, quality)
        return Own(calibration=evidence.calibration, quality=evidence.quality)

    def own() -> Own:
        with open_source(store) as opened:
            counts = opened.count("records"), opened.count("quality")
        return at(counts)

    return own
