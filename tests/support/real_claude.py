"""A conversation with the real Claude Agent SDK: its program asks a model server on loopback.

`python -m scripts.framework_versions claude` starts it, in an environment of its own: the SDK brings 385 MB.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from importlib.metadata import version
from typing import Any, ClassVar

from tests.support.golden import CLERK, DESK, LOOKUP, Recorded
from wakelog.integrations.claude import WakelogHooks

MODEL, TOOL, DELEGATE = "claude-sonnet-4-5", f"mcp__orders__{LOOKUP}", "Agent"
ANSWERS: list[dict[str, Any]] = [
    {"type": "tool_use", "id": "toolu_1", "name": TOOL, "input": {"order": "7"}},
    {"type": "tool_use", "id": "toolu_2", "name": TOOL, "input": {"order": "7"}},
    {
        "type": "tool_use",
        "id": "toolu_3",
        "name": DELEGATE,
        "input": {"description": "refund", "prompt": "Refund order 7.", "subagent_type": CLERK},
    },
    {"type": "text", "text": "It is paid."},
]
CLERKS_PROMPT = "Refund what you are told to."
# Its last answer is not told as a message, as it does not ask for a tool.
OF_CLERK: list[dict[str, Any]] = [
    {"type": "tool_use", "id": "toolu_4", "name": TOOL, "input": {"order": "7"}},
    {"type": "text", "text": "refunded"},
]


def _model(agent: str) -> list[tuple[str, str, str | None, str | None]]:
    return [
        ("model_call", agent, MODEL, "started"),
        ("model_response", agent, MODEL, "success"),
    ]


def _call(status: str, agent: str = DESK) -> list[tuple[str, str, str | None, str | None]]:
    return [
        *_model(agent),
        ("tool_call", agent, TOOL, "started"),
        ("human_approval", agent, TOOL, "requested"),
        ("human_approval", agent, TOOL, "approved"),
        ("tool_result", agent, TOOL, status),
    ]


EXPECTED = [
    ("run_start", DESK, None, "started"),
    *_call("error"),
    *_call("success"),
    *_model(DESK),
    ("tool_call", DESK, DELEGATE, "started"),
    ("sub_agent_invoked", DESK, None, None),
    ("run_start", CLERK, None, "started"),
    *_call("success", CLERK),
    ("run_end", CLERK, None, "success"),
    ("tool_result", DESK, DELEGATE, "success"),
    *_model(DESK),
    ("run_end", DESK, None, "success"),
]


def _events(number: int, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    text = block["type"] == "text"
    usage = {"input_tokens": 12, "output_tokens": 1}
    about = {"type": "message", "role": "assistant", "model": MODEL, "content": []}
    stop = {"stop_reason": None, "stop_sequence": None}
    yield {
        "type": "message_start",
        "message": {"id": f"m-{number}", **about, **stop, "usage": usage},
    }
    empty: dict[str, Any] = {"text": ""} if text else {"input": {}}
    yield {"type": "content_block_start", "index": 0, "content_block": {**block, **empty}}
    delta = (
        {"type": "text_delta", "text": block["text"]}
        if text
        else {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    )
    yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    reason = {"stop_reason": "end_turn" if text else "tool_use", "stop_sequence": None}
    yield {"type": "message_delta", "delta": reason, "usage": {"output_tokens": 3}}
    yield {"type": "message_stop"}


class ModelServer(BaseHTTPRequestHandler):
    answers: ClassVar[list[dict[str, Any]]] = list(ANSWERS)
    of_clerk: ClassVar[list[dict[str, Any]]] = list(OF_CLERK)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_GET(self) -> None:
        self._say(b"{}")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        if not asked.get("stream") or not self.path.startswith("/v1/messages"):
            self._say(b"{}")
            return
        # What it asks without tools is about the conversation, such as a title.
        if CLERKS_PROMPT in json.dumps(asked.get("system")):
            block = self.of_clerk.pop(0)
        else:
            block = self.answers.pop(0) if asked.get("tools") else {"type": "text", "text": "-"}
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for event in _events(len(self.answers), block):
            self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())

    def _say(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


async def conversation(recorded: Recorded, url: str, home: str) -> None:
    sdk = import_module("claude_agent_sdk")
    attempts = []

    async def lookup(given: Any) -> dict[str, Any]:
        attempts.append(given)
        failed = len(attempts) == 1
        text = "no such order" if failed else "paid"
        return {"content": [{"type": "text", "text": text}], "is_error": failed}

    async def can_use_tool(name: str, given: Any, context: Any) -> Any:
        return sdk.PermissionResultAllow()

    tool = sdk.tool(LOOKUP, "Looks an order up.", {"order": str})(lookup)
    hooks = WakelogHooks(recorded.log, agent=DESK)
    options = hooks.added_to(
        sdk.ClaudeAgentOptions(
            mcp_servers={"orders": sdk.create_sdk_mcp_server("orders", "1", [tool])},
            can_use_tool=can_use_tool,
            agents={CLERK: sdk.AgentDefinition("Refunds orders.", CLERKS_PROMPT)},
            model=MODEL,
            max_turns=6,
            cwd=home,
            setting_sources=[],
            env={
                "ANTHROPIC_BASE_URL": url,
                "ANTHROPIC_API_KEY": "k",
                "HOME": home,
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",  # else a sub-agent ends at any time
            },
        )
    )
    async with sdk.ClaudeSDKClient(options) as client:
        await client.query("Where is my order?")
        async for _ in hooks.watch(client.receive_response()):
            pass


def in_order(lines: list[Any]) -> tuple[list[Any], list[Any]]:
    """Return what happened outside the sub-agent, and inside: its answers may be told after its tool has begun."""
    inside = sorted((line for line in lines if line[1] == CLERK), key=str)
    return [line for line in lines if line[1] != CLERK], inside


def main() -> int:
    recorded = Recorded()
    server = ThreadingHTTPServer(("127.0.0.1", 0), ModelServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        url = f"http://127.0.0.1:{server.server_port}"
        asyncio.run(asyncio.wait_for(conversation(recorded, url, home), 120))
    server.shutdown()
    found = recorded.lines()
    same = in_order(found) == in_order(EXPECTED)
    print(
        f"claude (claude-agent-sdk {version('claude-agent-sdk')}):",
        "as it should be" if same else f"differs\n{found}\ninstead of\n{EXPECTED}",
    )
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
