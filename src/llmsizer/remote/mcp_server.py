"""The operations as tools of an assistant, by the Model Context Protocol's own SDK: over stdio or HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import mcp_types as types
from anyio.to_thread import run_sync
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import ValidationError
from starlette.routing import BaseRoute

from llmsizer.errors import LlmSizerError, UnknownNameError
from llmsizer.facts.complaint import explain
from llmsizer.remote.operations import OPERATIONS, Backing, Operation
from llmsizer.version import __version__

_INSTRUCTIONS = (
    "Plans hardware for language models. Ask `catalog` for names first. Every number has a basis (measured, "
    "calibrated, datasheet, price list, published, assumed, unknown): say it with the number, and its low and high "
    "where there are. An unknown is not zero."
)


def mcp_server(backing: Backing) -> Server[Any]:
    """A server whose tools are the operations."""
    by_name = {operation.name: operation for operation in OPERATIONS}

    async def list_tools(_: Any, __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_tool(operation) for operation in OPERATIONS])

    async def call_tool(_: Any, asked: types.CallToolRequestParams) -> types.CallToolResult:
        try:
            operation = by_name.get(asked.name)
            if operation is None:
                raise UnknownNameError("tool", asked.name, by_name)
            answer = await run_sync(operation.answer, asked.arguments or {}, backing)
        except ValidationError as error:
            return _refused(explain(error, asked.name, {(): by_name[asked.name].question}))
        except LlmSizerError as error:
            return _refused(" ".join(str(error).split()))
        text = types.TextContent(type="text", text=json.dumps(answer, ensure_ascii=False))
        return types.CallToolResult(content=[text], structured_content=answer)

    return Server(
        "llmsizer",
        version=__version__,
        instructions=_INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def mcp_over_http(backing: Backing) -> tuple[list[BaseRoute], Callable[[], AbstractAsyncContextManager[None]]]:
    """The route ``/mcp``, and what has to run while it is served. Who may ask is the guard's affair."""
    server = mcp_server(backing)
    app = server.streamable_http_app(
        json_response=True,
        stateless_http=True,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    return app.routes, server.session_manager.run


def mcp_over_stdio(backing: Backing) -> None:
    """Serve the process that started this one, until it closes the pipe."""

    async def serve() -> None:
        server = mcp_server(backing)
        async with stdio_server() as (reading, writing):
            await server.run(reading, writing, server.create_initialization_options())

    anyio.run(serve)


def _tool(operation: Operation[Any]) -> types.Tool:
    return types.Tool(
        name=operation.name,
        description=operation.summary,
        input_schema=operation.question.model_json_schema(),
        annotations=types.ToolAnnotations(
            read_only_hint=operation.only_reads, destructive_hint=False, open_world_hint=False
        ),
    )


def _refused(why: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=why)], is_error=True)
