"""``dashboard``, ``schema``, ``completion``: the other faces of the same answers."""

from __future__ import annotations

import argparse
import importlib.util
import ipaddress
import os
import subprocess
import sys
from pathlib import Path

from llmsizer.cli.arguments import Commands, whole_number
from llmsizer.cli.output import console, print_json
from llmsizer.errors import InputError, MissingExtraError

SHELLS = ("bash", "zsh", "tcsh")
DEFAULT_ADDRESS = "127.0.0.1"


def add_commands(commands: Commands) -> None:  # type: ignore[type-arg]
    dashboard = commands.add_parser("dashboard", help="the dashboard in a browser, on localhost")
    dashboard.add_argument("--port", type=whole_number("port", most=65535), default=8501, help="to answer on")
    dashboard.add_argument(
        "--address",
        "--host",
        default=DEFAULT_ADDRESS,
        help="to answer on (default: this machine only; any other needs a login)",
    )
    dashboard.add_argument("--records", type=Path, metavar="DIR", help="folder with a demo's or profile's records")
    dashboard.add_argument("--headless", action="store_true", help="do not open a browser window")
    dashboard.set_defaults(run=_dashboard)
    schema = commands.add_parser("schema", help="the JSON schema of scenarios or of results")
    schema.add_argument(
        "what",
        nargs="?",
        default="scenario",
        help="scenario (default), recommendation, comparison, profile-record, quality-record, request-sample",
    )
    schema.set_defaults(run=_schema)
    completion = commands.add_parser("completion", help="a completion script for your shell")
    completion.add_argument("shell", nargs="?", default="bash", help=f"one of {', '.join(SHELLS)}")
    completion.set_defaults(run=_completion)


def dashboard_file() -> Path:
    """``server.py`` of the dashboard: packaged, or beside the sources. Raises InputError."""
    package = Path(__file__).parent.parent.parent
    for folder in (package / "_dashboards", package.parent.parent / "dashboards"):
        if (folder / "server.py").is_file():
            return folder / "server.py"
    raise InputError(f"the dashboard is not part of this installation ({package}); install llmsizer from its wheel")


def is_for_this_machine(address: str | None) -> bool:
    """Whether nobody else can reach it; no address at all is every address."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address or "0.0.0.0").is_loopback
    except ValueError:
        return False


def has_login() -> bool:
    """Whether a provider of OpenID Connect is configured for the dashboard, in Streamlit's secrets."""
    import streamlit

    return streamlit.secrets.load_if_toml_exists() and "auth" in streamlit.secrets


def check_address(address: str | None) -> None:
    """Raises InputError where others could reach the dashboard and nobody would have to log in."""
    if not is_for_this_machine(address) and not has_login():
        raise InputError(
            f"{address or 'every address'} is not this machine alone and no login is configured; put [auth] into "
            ".streamlit/secrets.toml (see dashboards/server.py) or leave the address out"
        )


def _dashboard(arguments: argparse.Namespace) -> int:
    if importlib.util.find_spec("streamlit") is None:
        raise MissingExtraError("the dashboard", "dashboard")
    check_address(arguments.address)
    if arguments.records and not arguments.records.is_dir():
        raise InputError(f"--records {arguments.records}: no such folder; make one with: llmsizer demo --out DIR")
    environment = dict(os.environ)
    if arguments.records:
        environment["LLMSIZER_OUTPUT"] = str(arguments.records)
    command = [sys.executable, "-m", "streamlit", "run", str(dashboard_file())]
    command += ["--server.address", arguments.address, "--server.port", str(arguments.port)]
    # No question for an address before the first page, and no advertisement over it.
    command += ["--browser.gatherUsageStats", "false", "--server.showEmailPrompt", "false"]
    command += ["--logger.hideWelcomeMessage", "true"]
    command += ["--server.headless", str(bool(arguments.headless)).lower()]
    console(stderr=True).print(
        f"dashboard: http://{arguments.address}:{arguments.port}  (Ctrl-C ends it)", highlight=False
    )
    return subprocess.run(command, env=environment, check=False).returncode


def _schema(arguments: argparse.Namespace) -> int:
    import json

    from llmsizer.facts.catalog import default_catalog

    folder = default_catalog().root / "schema"
    files = {file.name.removesuffix(".schema.json"): file for file in sorted(folder.glob("*.schema.json"))}
    if arguments.what not in files:
        raise InputError(f"no schema of {arguments.what!r}; there are: {', '.join(files)}")
    print_json(json.loads(files[arguments.what].read_text(encoding="utf-8")))
    return 0


def _completion(arguments: argparse.Namespace) -> int:
    import shtab

    from llmsizer.cli import build_parser

    if arguments.shell not in SHELLS:
        raise InputError(f"no completion for {arguments.shell!r}; there is one for {', '.join(SHELLS)}")
    print(shtab.complete(build_parser(), shell=arguments.shell))
    return 0
