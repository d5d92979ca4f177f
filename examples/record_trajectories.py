"""Replay recorded runs of a real agent through Wakelog.

    python examples/record_trajectories.py FILE [--runs N] [--directory DIR]

FILE is a JSON list of runs: {"run": id, "messages": [...]} with messages in the chat-completions
form. Each run becomes a run with its own conversation id; every message, tool call and tool result
becomes an event, every model response and every tool call a span. Set
OTEL_EXPORTER_OTLP_ENDPOINT (and OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf for port 4318) to deliver
them; without it they stay in the journal.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import wakelog

MODEL, PROVIDER = "gpt-4o", "openai"


def replay(log: wakelog.AgentLogger, run: dict[str, Any]) -> int:
    """Record one run.

    Args:
        log: Where to record it.
        run: The recorded run.

    Returns:
        The number of events that were recorded.
    """
    messages = run["messages"]
    events = 2
    with log.run(session_id=run["run"], metadata={"reward": run.get("reward")}):
        for number, message in enumerate(messages, 1):
            match message["role"]:
                case "system":
                    log.system_instruction(message["content"])
                    events += 1
                case "user":
                    log.user_message(message["content"])
                    events += 1
                case "assistant":
                    calls = message.get("tool_calls") or []
                    answer(log, message["content"], calls)
                    for call in calls:
                        use_tool(log, call, messages[number:])
                    events += 2 + 2 * len(calls)
    return events


def answer(log: wakelog.AgentLogger, content: str | None, calls: list[dict[str, Any]]) -> None:
    """Record one model response, in the message form of the GenAI conventions."""
    parts: list[dict[str, Any]] = []
    if content:
        parts.append({"type": "text", "content": content})
    for call in calls:
        function = call["function"]
        arguments = json.loads(function["arguments"])
        parts.append(
            {
                "type": "tool_call",
                "id": call["id"],
                "name": function["name"],
                "arguments": arguments,
            }
        )
    with log.model(MODEL, PROVIDER) as model:
        model.respond(
            [{"role": "assistant", "parts": parts}],
            finish_reasons=["tool_call" if calls else "stop"],
        )


def use_tool(log: wakelog.AgentLogger, call: dict[str, Any], later: list[dict[str, Any]]) -> None:
    """Record one tool call and its result, which is the next one with the id of the call."""
    results = (m["content"] for m in later if m.get("tool_call_id") == call["id"])
    function = call["function"]
    arguments = json.loads(function["arguments"])
    with log.tool(function["name"], arguments, call_id=call["id"], tool_type=call["type"]) as tool:
        tool.result(next(results, None))


def main() -> int:
    """Replay a file, and print the result."""
    parser = argparse.ArgumentParser(description="Replay recorded agent runs through Wakelog.")
    parser.add_argument("file", type=Path, help="a JSON list of recorded runs")
    parser.add_argument("--runs", type=int, default=None, help="replay only the first N runs")
    parser.add_argument("--directory", type=Path, default=None, help="the journal's directory")
    options = parser.parse_args()
    try:
        runs = json.loads(options.file.read_text())[: options.runs]
    except (OSError, ValueError) as error:
        parser.error(f"cannot read {options.file}: {error}")

    log = wakelog.configure(
        "airline-agent", service_name="trajectories", directory=options.directory
    )
    events = sum(replay(log, run) for run in runs)
    delivered = bool(log.flush(30))
    print(json.dumps({"runs": len(runs), "events": events, "delivered": delivered}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
