"""The dashboard as a server: `streamlit run dashboards/server.py`, or `llmsizer dashboard`.

It answers on this machine only. For others, put an OpenID Connect provider into `.streamlit/secrets.toml` and name an
address; without `[auth]` the server refuses any address but this machine's own::

    [auth]
    redirect_uri = "https://sizer.example.org/oauth2callback"
    cookie_secret = "a long random string"
    client_id = "…"
    client_secret = "…"
    server_metadata_url = "https://login.example.org/.well-known/openid-configuration"

    pip install 'streamlit[auth]'
    llmsizer dashboard --address 0.0.0.0

While the first browser loads the page, a thread answers the usual question once, so that the page finds everything
imported, read and compiled.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmsizer.cli.serve.serving import check_address
from llmsizer.errors import InputError

HERE = Path(__file__).parent
# A page opened by its own address looks for the server below that address first; this says where it is.
BESIDE_ROOT = b"<head><script>window.__streamlit={BACKEND_BASE_URL:window.location.origin}</script>"


FIRST_PAGE = "/decide"


class SaysWhereTheServerIs:
    """Adds one line to the page's frame, so that no page asks for what is not there; the first page, which has no
    name in its address, is found by its name too."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or "." in scope["path"] or "/_" in scope["path"]:
            await self.app(scope, receive, send)
            return
        if scope["path"].rstrip("/").endswith(FIRST_PAGE):
            above = scope["path"].rstrip("/").removesuffix(FIRST_PAGE)
            query = scope["query_string"].decode("latin-1")
            await RedirectResponse(f"{above}/{f'?{query}' if query else ''}")(scope, receive, send)
            return
        start: Message = {}
        body = bytearray()

        async def hold(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body"):
                await self._send(start, bytes(body), send)

        # Neither compressed nor cut, so that there is something to add to.
        left_out = {b"accept-encoding", b"range", b"if-none-match", b"if-modified-since"}
        plain = [(name, value) for name, value in scope["headers"] if name not in left_out]
        await self.app({**scope, "headers": plain}, receive, hold)

    @staticmethod
    async def _send(start: Message, body: bytes, send: Send) -> None:
        headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
        if dict(headers).get(b"content-type", b"").startswith(b"text/html"):
            body = body.replace(b"<head>", BESIDE_ROOT, 1)
        headers.append((b"content-length", str(len(body)).encode()))
        await send({**start, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def lifespan(_: object) -> AsyncIterator[None]:
    try:
        check_address(st.get_option("server.address"))
    except InputError as error:
        sys.tracebacklimit = 0  # one line, where the server would print how it came to it
        sys.exit(f"llmsizer dashboard: {error}")
    threading.Thread(target=_warm, name="warm", daemon=True).start()
    yield


def _warm() -> None:
    sys.path.insert(0, str(HERE))  # as Streamlit does for the pages
    from cached import warm

    warm.up()


app = st.App(HERE / "app.py", lifespan=lifespan, middleware=[Middleware(SaysWhereTheServerIs)])
