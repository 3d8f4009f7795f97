"""The tools over the Model Context Protocol, by its official SDK, on standard input and output.

Rule: a tool's answer is a document, as text and as structured content; an error is one, too, so that an agent can act
on it. A call runs in a thread, so that a long one holds no other up.
"""

from __future__ import annotations

import os
import signal
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread
import mcp_types as types
import msgspec
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from orchestrator.api.documents import document, errors
from orchestrator.api.documents.catalogue import name_of, schema_of
from orchestrator.api.documents.upkeep import Error
from orchestrator.api.exit_codes import WRONG
from orchestrator.domain.errors import OrchestratorError
from orchestrator.mcp.tools import offered

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

    from orchestrator.mcp.tools import Tool, Tools

INSTRUCTIONS: Final = (
    "Asks a language model about every row of a table, through Batch APIs: half the price, minutes to hours. First "
    "`plan` (free), then `run` inside a budget, then `status` now and then, then `results` page by page and "
    "`failures`. `commands` in an answer are for a person at a terminal."
)


def serve(tools: Tools) -> None:
    """Serve until standard input ends, or until SIGTERM; then stop the runs, and wait for them."""

    def end(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one leaves at once
        tools.background.close()
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        anyio.run(_serve, tools)
    finally:
        tools.background.close()


async def _serve(tools: Tools) -> None:
    server = server_of(tools)
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


def server_of(tools: Tools) -> Server[Any]:
    """Return the server of these tools."""
    known = {tool.name: tool for tool in offered(tools)}

    async def listed(_context: ServerRequestContext[Any], _given: object) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_described(tool) for tool in known.values()])

    async def called(_context: ServerRequestContext[Any], given: types.CallToolRequestParams) -> types.CallToolResult:
        tool = known.get(given.name)
        if tool is None:
            return _result(errors.usage(f"there is no tool {given.name}; there are: {', '.join(known)}", WRONG))
        return _result(
            await anyio.to_thread.run_sync(_act, tools, tool, given.arguments or {}, abandon_on_cancel=tool.only_reads)
        )

    version = metadata.version("batch-orchestrator")
    return Server("orchestrator", version=version, instructions=INSTRUCTIONS, on_list_tools=listed, on_call_tool=called)


def _act(tools: Tools, tool: Tool, given: dict[str, Any]) -> document.Document:
    try:
        return tool.act(tools, msgspec.convert(given, tool.takes))
    except msgspec.ValidationError as error:
        return errors.usage(f"{tool.name}: {error}", WRONG)
    except OrchestratorError as error:
        return errors.of_error(error)


def _described(tool: Tool) -> types.Tool:
    takes = msgspec.json.schema(tool.takes)["$defs"][tool.takes.__name__]  # the protocol wants an object at the root
    return types.Tool(
        name=tool.name,
        description=tool.description,
        input_schema=takes,
        output_schema={"type": "object"} | schema_of([name_of(kind) for kind in tool.gives]),
        annotations=types.ToolAnnotations(
            read_only_hint=tool.only_reads, destructive_hint=tool.ends_work, open_world_hint=not tool.only_reads
        ),
    )


def _result(found: document.Document) -> types.CallToolResult:
    text = types.TextContent(type="text", text=document.text(found))
    return types.CallToolResult(
        content=[text], structured_content=document.plain(found), is_error=isinstance(found, Error)
    )
