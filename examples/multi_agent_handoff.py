"""A supervisor, two workers and a crash: a conversation that resumes from its log.

    python examples/multi_agent_handoff.py FOLDER --crash    # is killed while it runs (SIGKILL)
    python examples/multi_agent_handoff.py FOLDER            # restores its state from the log, and finishes

A supervisor asks a searcher for flights, in a separate thread, compacts the conversation, and hands it
over to a booker. With `--crash` the program is killed while the booker works. The second start reads
the log, links its span to the interrupted one, does the remaining steps, exceeds its budget on the
way, and prints what it has found. No step is repeated, because every step is in the log before the
next begins.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

import wakelog
from wakelog import AgentEvent
from wakelog.audit import (
    FanOutAuditSink,
    JournalSessionLog,
    LoggerAuditSink,
    SessionAuditSink,
    SessionGraph,
    ThreadKey,
    UsageLimitBreach,
    current_audit_sink,
    using_audit_sink,
)

TRIP = ThreadKey("acme", "trip-7")
SEARCH = ThreadKey("acme", "trip-7/search")
BUDGET = Decimal("0.05")
PRICES = {"LH-1172": 129, "TP-579": 98}


@dataclass(frozen=True)
class Trip:
    """The state of the trip, computed from the log and stored nowhere else."""

    question: str = ""
    offers: dict[str, int] = field(default_factory=dict)
    agent: str = ""
    booked: str = ""
    resumed: int = 0
    over_budget: int = 0


def after(trip: Trip, event: AgentEvent) -> Trip:
    """Return the state after an event."""
    payload = event.payload
    match event.event_type:
        case "user_message":
            return replace(trip, question=payload["message"])
        case "checkpoint":
            return replace(trip, offers=payload["offers"])
        case "agent_handoff":
            return replace(trip, agent=payload["to"])
        case "tool_result":
            return replace(trip, booked=payload["result"])
        case "resumed":
            return replace(trip, resumed=trip.resumed + 1)
        case "usage_limit_exceeded":
            return replace(trip, over_budget=trip.over_budget + 1)
    return trip


def search(log: wakelog.AgentLogger, sink: FanOutAuditSink) -> dict[str, int]:
    """The first worker: a sub-agent, whose run is a child of the span that called it."""
    sink.record_sub_agent_invoked("searcher", SEARCH.thread_id)
    with log.run(agent="searcher", session_id=SEARCH.thread_id):
        recall_preferences()
        return PRICES


def recall_preferences() -> None:
    """A tool that has no reference to any sink."""
    current_audit_sink().record_memory_recall("semantic", "acme/traveller-1", hits=2)


def supervise(log: wakelog.AgentLogger, sink: FanOutAuditSink) -> None:
    """Ask, search, compact, and hand over."""
    with log.run(agent="supervisor", session_id=TRIP.thread_id):
        sink.emit("user_message", {"message": "The cheapest to Lisbon?"})
        with log.tool("delegate", {"to": "searcher"}) as call:
            offers = call.result(search(log, sink))
        sink.emit("checkpoint", {"checkpoint_id": "c-1", "offers": offers})
        sink.record_context_compacted(dropped_chars=5200, retained_chars=800)
        sink.record_agent_handoff("supervisor", "booker")


def book(
    log: wakelog.AgentLogger, sink: FanOutAuditSink, graph: SessionGraph, *, crash: bool
) -> None:
    """The second worker: its run is linked to the span of the hand-off, or to the interrupted one."""
    trip = graph.replay_into(Trip(), after)
    with log.run(agent="booker", session_id=TRIP.thread_id, links=graph.links()):
        if graph.events_since()[-1].event.event_type != "agent_handoff":
            sink.record_resumed("c-1")
        cheapest = min(trip.offers, key=trip.offers.__getitem__)
        call = {"tool_name": "book", "call_id": "b-1"}
        sink.emit("tool_call", {"args": {"flight": cheapest}}, **call)
        if crash:
            os.kill(os.getpid(), signal.SIGKILL)
        sink.record_usage_limit_exceeded(
            UsageLimitBreach("cost_usd", limit=BUDGET, observed=Decimal("0.0612"))
        )
        sink.emit("tool_result", {"result": cheapest}, **call)
        message = f"Booked {cheapest} for {trip.offers[cheapest]} EUR."
        sink.emit("assistant_message", {"message": message})


def main() -> None:
    """Continue from the state in the log."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the log and the journal are")
    parser.add_argument("--crash", action="store_true", help="be killed while the booker works")
    options = parser.parse_args()

    session_log = JournalSessionLog(options.folder / "sessions")
    log = wakelog.configure("travel", directory=options.folder / "journal")
    # Each event goes to the session log, for resuming, and to OpenTelemetry.
    sink = FanOutAuditSink(SessionAuditSink(session_log, TRIP), LoggerAuditSink(log))
    with using_audit_sink(sink), wakelog.bound(tenant_id=TRIP.tenant_id):
        graph = asyncio.run(SessionGraph.hydrate(session_log, TRIP))
        if not graph.replay_into(Trip(), after).agent:
            supervise(log, sink)
            graph = asyncio.run(SessionGraph.hydrate(session_log, TRIP))
        if not graph.replay_into(Trip(), after).booked:
            book(log, sink, graph, crash=options.crash)

    graph = asyncio.run(SessionGraph.hydrate(session_log, TRIP))
    for ordinal, event in graph.events_since():
        print(f"{ordinal:3} {event.event_type:22} {event.agent_name or ''}".rstrip())
    trip = graph.replay_into(Trip(), after)
    print(f"booked {trip.booked}, resumed {trip.resumed}, over budget {trip.over_budget}")
    wakelog.shutdown()


if __name__ == "__main__":
    main()
