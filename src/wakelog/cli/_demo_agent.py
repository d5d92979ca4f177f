"""The agent of the demo, a harbour's logistics desk, which runs in a process of its own.

It reports its progress on standard output, one JSON object a line, and waits on standard input
where the demo has to act first. The part ``arrival`` works until the demo kills it; the part
``resume`` is the process that finishes the work.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Final

from opentelemetry import trace

import wakelog
from wakelog import AgentEvent, AgentLogger, Durability, EventSink
from wakelog.cli._demo_process import FLUSH_TIMEOUT
from wakelog.journal import books, read
from wakelog.viewer import UNKNOWN, Step, every_step, load

SESSION: Final = "port-call-mv-aurelia"
_REQUEST: Final = "Port call of MV Aurelia, 228 m, 14 reefer containers, tonight 21:40"
_MESSAGE: Final = (
    "Officer on duty, +49 40 5550 1347: a berth, customs and a pilot for 21:40, please"
)
_MODEL: Final = ("claude-sonnet-4-5", "anthropic")
_DESK, _PLANNER, _CUSTOMS = "dispatcher", "berth-planner", "customs-desk"
_PACE = 1.8  # slows models, tools and people down, so that a user can follow the demo


class TimedSink:
    """Passes events on and measures how long each write took.

    Args:
        sink: The sink that receives the events.

    Attributes:
        seconds: The duration of each write, in order.
    """

    delivers = True

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        self.seconds: list[float] = []

    def write(self, event: AgentEvent) -> None:
        """Write an event to the sink."""
        begin = time.perf_counter()
        self._sink.write(event)
        self.seconds.append(time.perf_counter() - begin)

    def flush(self, timeout: float = 30.0) -> bool:
        """Flush the sink."""
        return bool(self.deliver(timeout))

    def deliver(self, timeout: float = 30.0) -> wakelog.DeliveryResult:
        """Wait for delivery and return its result."""
        if isinstance(self._sink, wakelog.OTelSink):
            return self._sink.deliver(timeout)
        return wakelog.DeliveryResult(complete=True)  # recording is switched off

    def slowest_ms(self, first: int) -> float:
        """Return the longest duration of a write since the event `first`, in milliseconds."""
        return max(self.seconds[first:]) * 1e3


def main(arguments: list[str]) -> int:
    """Run one part of the demo.

    Args:
        arguments: The journal's directory and the name of the part.

    Returns:
        The exit code.
    """
    directory, part = arguments
    unfinished = _unfinished(Path(directory)) if part == "resume" else []
    before = _trace_of(Path(directory)) if part == "resume" else None
    log = wakelog.configure(
        _DESK,
        "port-call",
        service_name="harbour-desk",
        directory=directory,
        metadata={"demo": part},
    )
    log.sink = timed = TimedSink(log.sink)
    if part == "arrival":
        _arrival(log, timed)
    else:
        # Keep one trace: the run continues under the span that the killed process left open.
        with trace.use_span(trace.NonRecordingSpan(before or trace.INVALID_SPAN_CONTEXT)):
            _resume(log, timed, unfinished, Path(directory))
    wakelog.shutdown()
    return 0


def _arrival(log: AgentLogger, timed: TimedSink) -> None:
    with log.run(_REQUEST, agent=_DESK, session_id=SESSION):
        log.system_instruction("You run the logistics desk of a harbour. Never guess a clearance.")
        log.user_message(_MESSAGE)
        log.memory_recall("long-term", "vessels/aurelia", 3)
        with log.model(*_MODEL, input="Plan the port call of MV Aurelia") as call:
            _work(0.3)
            plan = "Berth first, customs next, the pilot last."
            call.respond(plan, input_tokens=1184, output_tokens=96, finish_reasons=["tool_use"])
        log.decision(plan)
        _plan_berth(log)
        _say("half", recorded=len(timed.seconds), slowest_ms=timed.slowest_ms(0))
        _wait()
        first = len(timed.seconds)
        log.policy_check("night-work", "passed", {"rule": "cranes 5 and 6 may work until 02:00"})
        log.human_approval("harbour master", "requested", {"question": "Berth 7 for MV Aurelia?"})
        _work(0.4)
        log.human_approval("harbour master", "approved", {"answer": "Yes, starboard side to"})
        log.agent_handoff(_DESK, _CUSTOMS)
        with log.run("Clear 14 reefer containers", agent=_CUSTOMS):
            log.retrieval_query("reefer fruit import certificates", source="customs-code")
            log.retrieval_result("customs-code", ["Phytosanitary certificate", "Cooling log"])
            with log.model(*_MODEL, input="Which declaration do 14 reefers need?") as call:
                _work(0.35)
                call.respond("A T1 with the cooling logs.", input_tokens=2210, output_tokens=143)
            with log.tool("read_cooling_logs", {"containers": 14}, call_id="call_5") as tool:
                _work(0.15)
                tool.result({"complete": True, "warmest_c": -17.8})
            # A tool with external effects is synced to disk before it runs.
            with log.tool(
                "declare_cargo",
                {"form": "T1", "containers": 14},
                call_id="call_6",
                durability=Durability.FSYNC,
            ):
                _say(
                    "in_tool",
                    tool="declare_cargo",
                    recorded=len(timed.seconds),
                    since=len(timed.seconds) - first,
                    slowest_ms=timed.slowest_ms(first),
                )
                _work(15)  # the demo kills the process before this ends


def _plan_berth(log: AgentLogger) -> None:
    log.sub_agent_invoked(_PLANNER, sub_thread_id="berth-1")
    with log.run("Find a berth for 228 m from 21:40", agent=_PLANNER):
        with log.tool("tide_table", {"from": "20:00", "to": "23:00"}, call_id="call_1") as tool:
            _work(0.1)
            tool.result({"high_water": "22:12", "depth_m": 13.4})
        with log.tool("free_berths", {"length_m": 228}, call_id="call_2") as tool:
            _work(0.12)
            tool.result([{"berth": 7, "reefer_plugs": 20}, {"berth": 9, "reefer_plugs": 8}])
        try:
            with log.tool("reserve_berth", {"berth": 7}, call_id="call_3"):
                _work(0.2)
                _fail("the berth register did not answer")
        except TimeoutError:
            _say("say", text="reserve_berth timed out; the planner tries again")
        with log.tool("reserve_berth", {"berth": 7}, call_id="call_4") as tool:
            _work(0.15)
            tool.result({"berth": 7, "from": "21:30", "reservation": "B7-0412"})
        log.decision("Berth 7: enough plugs for 14 reefers, and 1.9 m under the keel at high water")


def _fail(reason: str) -> None:
    raise TimeoutError(reason)


def _resume(log: AgentLogger, timed: TimedSink, unfinished: list[Step], directory: Path) -> None:
    runs = {step.agent: step.id for step in unfinished if step.type == "run"}
    calls = [step for step in unfinished if step.type == "tool_call"]
    checkpoint = calls[-1].id if calls else ""
    with log.run(agent=_DESK, session_id=SESSION, run_id=runs.get(_DESK)):
        with log.run(agent=_CUSTOMS, run_id=runs.get(_CUSTOMS)):
            log.resumed(checkpoint)
            # It is unknown whether the declaration went through, so ask before repeating it.
            with log.tool("find_declaration", {"vessel": "MV Aurelia"}, call_id="call_7") as tool:
                _work(0.15)
                tool.result([])
            log.decision("No declaration was filed: safe to declare")
            with log.tool(
                "declare_cargo",
                {"form": "T1", "containers": 14},
                call_id="call_8",
                durability=Durability.FSYNC,
            ) as tool:
                _work(0.25)
                tool.result({"mrn": "26DE4851T1A", "status": "released"})
        with log.tool("book_pilot", {"at": "21:10", "vessel": "MV Aurelia"}, call_id="call_9") as t:
            _work(0.15)
            t.result({"pilot": "boards at buoy 2", "at": "21:10"})
        with log.model(*_MODEL, input="Write the confirmation") as call:
            _work(0.3)
            answer = "Berth 7 from 21:30, cargo released, pilot at buoy 2 at 21:10."
            call.respond(answer, input_tokens=1903, output_tokens=61, finish_reasons=["stop"])
    timeout = float(os.environ[FLUSH_TIMEOUT])
    own = log.flush(timeout)
    deadline = time.monotonic() + timeout
    while own and any(one.pending for one in books(directory)) and time.monotonic() < deadline:
        time.sleep(0.05)
    _say("done", recorded=len(timed.seconds), flushed=bool(own), reason=own.reason)


def _trace_of(directory: Path) -> trace.SpanContext | None:
    """Return the span in which the previous process began its first run."""
    for entry in read(directory, event_name="wakelog.run_start"):
        record = entry.record
        if record.trace_id and record.span_id:
            return trace.SpanContext(
                int(record.trace_id, 16),
                int(record.span_id, 16),
                is_remote=True,
                trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
            )
    return None


def _unfinished(directory: Path) -> list[Step]:
    """Return the steps that the previous process had begun and not ended, from the journal."""
    view = load(directory, session=SESSION)
    runs = [run for session in view.sessions for run in session.runs]
    return [step for step in every_step(runs) if step.status == UNKNOWN]


def _work(seconds: float) -> None:
    time.sleep(seconds * _PACE)  # stands for the model, the tool or the person


def _say(at: str, **values: object) -> None:
    sys.stdout.write(json.dumps({"at": at, **values}) + "\n")
    sys.stdout.flush()


def _wait() -> None:
    sys.stdin.readline()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
