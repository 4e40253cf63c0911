"""Who may see the dashboard: this machine alone, or those who log in; and no secret on any page."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("streamlit")
pytest.importorskip("plotly")

import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard_pages import DASHBOARDS, PAGES, turn_to, words_of
from dashboard_pages import dashboards as dashboards
from llmsizer.cli import main
from llmsizer.cli.serve.serving import is_for_this_machine

SECRETS = {
    "redirect_uri": "https://sizer.example.org/oauth2callback",
    "cookie_secret": "cookie-7f3a",
    "client_id": "client-91bd",
    "client_secret": "secret-c2e8",
    "server_metadata_url": "https://login.example.org/.well-known/openid-configuration",
}


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[AppTest]:
    """A dashboard with a provider of OpenID Connect in its secrets."""
    monkeypatch.setattr("login.is_configured", lambda: True)
    app = AppTest.from_file(str(DASHBOARDS / "app.py"), default_timeout=600)
    app.secrets["auth"] = SECRETS
    yield app


def _everything(app: AppTest) -> str:
    return "\n".join([words_of(app), repr(app.main), repr(app.sidebar)])


def test_a_stranger_sees_a_button_and_nothing_else(configured: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(st.user), "is_logged_in", False, raising=False)
    app = configured.run()
    assert not app.exception
    assert [button.label for button in app.button] == ["Log in"]
    assert not app.number_input
    assert not app.subheader


def test_who_has_logged_in_sees_the_answer_and_no_secret(configured: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(st.user), "is_logged_in", True, raising=False)
    app = configured.run()
    assert not app.exception
    assert any(button.label == "Log out" for button in app.button)
    for page in PAGES:
        text = _everything(app if page == PAGES[0] else turn_to(app, page))
        assert not [name for name, secret in SECRETS.items() if secret in text and name != "redirect_uri"]


def test_without_a_provider_nobody_has_to_log_in() -> None:
    import login

    assert not login.is_configured()


@pytest.mark.parametrize(
    ("address", "is_ours"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), (None, False), ("box.lan", False)],
)
def test_only_loopback_is_this_machine(address: str | None, is_ours: bool) -> None:
    assert is_for_this_machine(address) is is_ours


def test_the_command_refuses_an_address_for_others_before_a_server_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr("llmsizer.cli.serve.serving.subprocess.run", lambda command, **_: started.append(command))
    assert main(["dashboard", "--address", "0.0.0.0"]) != 0
    said = capsys.readouterr().err
    assert "no login is configured" in said and len(said.strip().splitlines()) == 1
    assert not started


def test_an_address_for_others_is_refused_without_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    import server

    monkeypatch.setattr(server.st, "get_option", lambda name: "0.0.0.0")
    monkeypatch.setattr(sys, "tracebacklimit", None, raising=False)

    async def starts() -> None:
        async with server.lifespan(object()):
            pass

    with pytest.raises(SystemExit, match="no login is configured"):
        asyncio.run(starts())


def test_a_page_of_its_own_address_is_told_where_the_server_is() -> None:
    import server

    sent: list[dict[str, Any]] = []

    async def page(scope: Any, receive: Any, send: Any) -> None:
        assert (b"accept-encoding", b"gzip") not in scope["headers"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": b"<html><head><title>", "more_body": True})
        await send({"type": "http.response.body", "body": b"x</title></head></html>"})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/memory", "headers": [(b"accept-encoding", b"gzip")]}
    asyncio.run(server.SaysWhereTheServerIs(page)(scope, None, send))  # type: ignore[arg-type]
    assert server.BESIDE_ROOT in sent[1]["body"]
    assert dict(sent[0]["headers"])[b"content-length"] == str(len(sent[1]["body"])).encode()


def test_the_example_of_the_docstring_names_every_setting_of_a_provider() -> None:
    text = (DASHBOARDS / "server.py").read_text(encoding="utf-8")
    assert all(name in text for name in SECRETS)
    assert Path(DASHBOARDS / ".streamlit" / "config.toml").read_text(encoding="utf-8").count("127.0.0.1") == 1
