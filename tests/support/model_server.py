"""A loopback server that speaks as OpenAI's and Anthropic's, from a script."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "lookup", "arguments": '{"order": "7"}'},
}


def completion(text: str | None, calls: list[Any] | None = None) -> dict[str, Any]:
    said = {"role": "assistant", "content": text, "tool_calls": calls}
    return {
        "id": "r-1",
        "object": "chat.completion",
        "created": 1,
        "model": "scripted-1",
        "choices": [
            {"index": 0, "message": said, "finish_reason": "tool_calls" if calls else "stop"}
        ],
        "usage": USAGE,
    }


def chunks(*texts: str) -> list[dict[str, Any]]:
    def chunk(delta: Any, reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        about = {"id": "r-2", "object": "chat.completion.chunk", "created": 1}
        return {**about, "model": "scripted-1", "choices": [choice]}

    last = {**chunk({}, "stop"), "usage": USAGE}
    return [chunk({"role": "assistant", "content": text}) for text in texts] + [last]


def response(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {
        "type": "message",
        "id": "m",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    return {
        "id": "r-3",
        "object": "response",
        "created_at": 1,
        "model": "scripted-1",
        "status": "completed",
        "output": [item],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 12,
            "output_tokens": 3,
            "total_tokens": 15,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }


def anthropic_message(*blocks: Any, reason: str = "end_turn") -> dict[str, Any]:
    return {
        "id": "r-4",
        "type": "message",
        "role": "assistant",
        "model": "scripted-1",
        "content": list(blocks),
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 12, "output_tokens": 3},
    }


def anthropic_events(*texts: str) -> list[dict[str, Any]]:
    start = {**anthropic_message(reason=""), "stop_reason": None}
    return [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": text},
            }
            for text in texts
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 3},
        },
        {"type": "message_stop"},
    ]


class Script:
    """What the server answers, in order: a dict is a body, a list a stream, a number a status."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.asked: list[Any] = []
        self.url = ""
        self.when_asked: Callable[[], object] = lambda: None


@contextmanager
def model_server() -> Iterator[Script]:
    """Serve a script."""
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        def handle(self) -> None:
            with suppress(ConnectionError):  # a client may leave in the middle of a stream
                super().handle()

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            script.asked.append(json.loads(self.rfile.read(length)))
            script.when_asked()
            answer = script.answers.pop(0)
            if isinstance(answer, list):
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                for event in answer:
                    name = f"event: {event['type']}\n" if "type" in event else ""
                    self.wfile.write(f"{name}data: {json.dumps(event)}\n\n".encode())
                self.wfile.write(b"data: [DONE]\n\n" if "type" not in answer[0] else b"")
                return
            status, body = (answer, {"error": {}}) if isinstance(answer, int) else (200, answer)
            said = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
