"""The operations over HTTP, with their OpenAPI document at ``/openapi.json`` and MCP beside them at ``/mcp``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import anyio.to_thread
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from typing_extensions import TypedDict

from llmsizer.errors import LlmSizerError, UnknownNameError
from llmsizer.plain import plain
from llmsizer.remote.guard import App, Guard, Limits
from llmsizer.remote.mcp_server import mcp_over_http
from llmsizer.remote.operations import OPERATIONS, Backing, Operation
from llmsizer.version import __version__

ANSWERED_AT_ONCE = 4  # the work is arithmetic: more threads would only take turns


class ErrorDoc(TypedDict):
    """What was wrong and what would work, in one sentence."""

    error: str


_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorDoc, "description": "cannot be answered; the sentence says what would work"},
    401: {"model": ErrorDoc, "description": "no token, or a wrong one"},
    404: {"model": ErrorDoc, "description": "a name that the catalogue does not hold; the sentence has the nearest"},
    403: {"model": ErrorDoc, "description": "asked by a web page from elsewhere"},
    408: {"model": ErrorDoc, "description": "not here in time"},
    413: {"model": ErrorDoc, "description": "too large"},
    429: {"model": ErrorDoc, "description": "too often"},
    503: {"model": ErrorDoc, "description": "too many questions at once; Retry-After says when to ask again"},
}


def rest_app(backing: Backing, limits: Limits) -> App:
    """The whole server as one ASGI application."""
    mcp_routes, mcp_lifespan = mcp_over_http(backing)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = ANSWERED_AT_ONCE
        async with mcp_lifespan():
            yield

    app = FastAPI(
        title="llmsizer",
        version=__version__,
        summary="Which hardware, which precision, own, rent or API: measured, calibrated and priced.",
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    app.add_exception_handler(LlmSizerError, _mistake)
    app.add_exception_handler(UnknownNameError, _mistake)
    app.add_exception_handler(HTTPException, _mistake)
    app.add_exception_handler(RequestValidationError, _misshapen)
    app.add_api_route("/health", _health, methods=["GET"], summary="Whether the server is up")
    for operation in OPERATIONS:
        app.add_api_route(
            f"/v1/{operation.name}",
            _endpoint(operation, backing),
            methods=["GET" if operation.is_flat else "POST"],
            name=operation.name,
            operation_id=operation.name,
            summary=operation.summary,
            response_model=None,  # it is JSON already; the schema below is for the reader
            responses={200: {"model": operation.answers}, **_REFUSALS},
        )
    app.router.routes.extend(mcp_routes)
    return Guard(app, limits)


def _endpoint(operation: Operation[Any], backing: Backing) -> Callable[..., JSONResponse]:
    def ask(question: Any) -> JSONResponse:
        return JSONResponse(plain(operation.run(question, backing)))

    # FastAPI reads the shape of a request from the annotation, which differs from operation to operation.
    shape = Annotated[operation.question, Query()] if operation.is_flat else operation.question
    ask.__annotations__ = {"question": shape, "return": JSONResponse}
    return ask


async def _health() -> dict[str, str]:  # of the event loop: it answers while all threads work
    return {"status": "ok", "version": __version__}


async def _mistake(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, HTTPException):
        return JSONResponse({"error": error.detail}, status_code=error.status_code, headers=error.headers)
    status = 404 if isinstance(error, UnknownNameError) else 400
    return JSONResponse({"error": " ".join(str(error).split())}, status_code=status)


async def _misshapen(_: Request, error: Exception) -> JSONResponse:
    """Where the shape is wrong and why; not what was sent, which may be anything."""
    assert isinstance(error, RequestValidationError)
    details = [{"loc": list(e["loc"]), "msg": e["msg"], "type": e["type"]} for e in error.errors()[:20]]
    return JSONResponse({"detail": plain(details)}, status_code=422)
