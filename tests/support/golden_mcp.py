"""A run whose tools are in a server of the Model Context Protocol: one fails, one is abandoned."""

from __future__ import annotations

import asyncio
from typing import Any

from mcp import Client
from mcp.server import MCPServer

from tests.support.golden import CLERK, LOOKUP, REFUND, Line, effect
from wakelog import AgentLogger
from wakelog.integrations import mcp


async def scenario(log: AgentLogger) -> None:
    mcp.install(log)
    try:
        await _scenario(log)
    finally:
        mcp.uninstall()


async def _scenario(log: AgentLogger) -> None:
    server: Any = MCPServer("orders", middleware=[mcp.WakelogMiddleware(log)])
    attempts: list[str] = []
    begun, ended = asyncio.Event(), asyncio.Event()

    @server.tool(name=LOOKUP)
    async def lookup(order: str) -> str:
        effect(LOOKUP)
        attempts.append(order)
        if len(attempts) == 1:
            raise LookupError(order)
        log.decision("it is paid")
        return "paid"

    @server.tool(name=REFUND)
    async def refund(order: str) -> str:
        effect(REFUND)
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return "refunded"

    async with Client(server) as client:
        with log.run(agent=CLERK):
            await client.call_tool(LOOKUP, {"order": "7"})
            await client.call_tool(LOOKUP, {"order": "7"})
            call = asyncio.create_task(client.call_tool(REFUND, {"order": "7"}))
            await begun.wait()
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            await ended.wait()


def _call(tool: str, status: str, *inside: Line) -> list[Line]:
    """Return a call, in the client and in the server."""
    begun = Line("tool_call", CLERK, tool, "started")
    ended = Line("tool_result", CLERK, tool, status)
    return [begun, begun, *inside, ended, ended]


EVENTS = [
    Line("run_start", CLERK, None, "started"),
    *_call(LOOKUP, "error"),
    *_call(LOOKUP, "success", Line("decision", CLERK, None, None)),
    *_call(REFUND, "cancelled"),
    Line("run_end", CLERK, None, "success"),
]
SPANS = [(0, f"invoke_agent {CLERK}")]
