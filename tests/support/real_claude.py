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

from tests.support.golden import DESK, LOOKUP, Recorded
from wakelog.integrations.claude import WakelogHooks

MODEL, TOOL = "claude-sonnet-4-5", f"mcp__orders__{LOOKUP}"
ANSWERS: list[dict[str, Any]] = [
    {"type": "tool_use", "id": "toolu_1", "name": TOOL, "input": {"order": "7"}},
    {"type": "tool_use", "id": "toolu_2", "name": TOOL, "input": {"order": "7"}},
    {"type": "text", "text": "It is paid."},
]


def _call(status: str) -> list[tuple[str, str, str | None]]:
    return [
        ("model_call", MODEL, "started"),
        ("model_response", MODEL, "success"),
        ("tool_call", TOOL, "started"),
        ("human_approval", TOOL, "requested"),
        ("human_approval", TOOL, "approved"),
        ("tool_result", TOOL, status),
    ]


EXPECTED = [
    ("run_start", None, "started"),
    *_call("error"),
    *_call("success"),
    ("model_call", MODEL, "started"),
    ("model_response", MODEL, "success"),
    ("run_end", None, "success"),
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
            model=MODEL,
            max_turns=6,
            cwd=home,
            setting_sources=[],
            env={
                "ANTHROPIC_BASE_URL": url,
                "ANTHROPIC_API_KEY": "k",
                "HOME": home,
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            },
        )
    )
    async with sdk.ClaudeSDKClient(options) as client:
        await client.query("Where is my order?")
        async for _ in hooks.watch(client.receive_response()):
            pass


def main() -> int:
    recorded = Recorded()
    server = ThreadingHTTPServer(("127.0.0.1", 0), ModelServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        url = f"http://127.0.0.1:{server.server_port}"
        asyncio.run(asyncio.wait_for(conversation(recorded, url, home), 120))
    server.shutdown()
    found = [(event, of, status) for event, _, of, status in recorded.lines()]
    same = found == EXPECTED
    print(
        f"claude (claude-agent-sdk {version('claude-agent-sdk')}):",
        "as it should be" if same else f"differs\n{found}\ninstead of\n{EXPECTED}",
    )
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
