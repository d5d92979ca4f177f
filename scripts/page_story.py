"""A journal with a story in it, for pictures of the page: agents of a travel desk, over a day.

`python -m scripts.page_story DIR` records it into a new directory. The times are made up, the rest is what a
program records: it goes through the same logger, processor and journal.
"""

from __future__ import annotations

import itertools
import os
import struct
import sys
import threading
import time
import zlib
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.resources import Resource

from wakelog import AgentEvent, DurableLogRecordProcessor, OTelSink

SECOND = 1_000_000_000
FORBIDDEN = b"cp-3"
REFUSAL = Status(
    code=3,
    message="wakelog.checkpoint.label: attribute is not allowed by the schema of this tenant",
).SerializeToString()
_numbers = itertools.count(1)


class Hop:
    """A next hop on the loopback, which takes what it is told to take.

    Attributes:
        down: Whether it takes nothing for now.
    """

    def __init__(self) -> None:
        self.down = False
        hop = self

        class Answering(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status, said = (503, b"") if hop.down else (200, b"")
                if not hop.down and FORBIDDEN in body:
                    status, said = 400, REFUSAL
                self.send_response(status)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def exporter(self) -> OTLPLogExporter:
        """Return an exporter to it."""
        port = self._server.server_address[1]
        return OTLPLogExporter(
            f"http://127.0.0.1:{port}/v1/logs", compression=Compression.NoCompression
        )


class Teller:
    """Records events at times that it is told.

    Args:
        sink: Where they go.
        at: When the story begins, in nanoseconds since 1970.
    """

    def __init__(self, sink: OTelSink, at: int) -> None:
        self.sink, self.now = sink, at
        self.session = self.run = self.agent = ""
        self.above: list[tuple[str, str, str]] = []

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += int(seconds * SECOND)

    def tell(self, event_type: str, *, took: float = 0.0, **given: Any) -> str:
        """Record an event, after so many seconds, and return its id."""
        self.wait(took)
        number = f"{self.session}-{next(_numbers):03d}"
        parent = {"parent_event_id": self.above[-1][0]} if self.above else {}
        fields = {"event_id": number, "session_id": self.session, "agent_name": self.agent} | parent
        if self.run:
            fields["run_id"] = self.run
        event = AgentEvent(event_type=event_type, time_unix_nano=self.now, **(fields | given))
        self.sink.write(event)
        return number

    def begin(self, agent: str, run: str, asked: str) -> None:
        """Begin a run, inside the one that is under way."""
        before = (self.agent, self.run)
        self.agent, self.run = agent, run
        start = self.tell("run_start", status="started", payload={"input": asked})
        self.above.append((start, *before))

    def end(self, status: str = "success", **payload: Any) -> None:
        """End the run that is under way."""
        self.tell("run_end", status=status, payload=payload, took=0.02)
        _, self.agent, self.run = self.above.pop()

    def model(
        self, asked: Any, answer: Any, took: float, tokens: tuple[int, int], **more: Any
    ) -> None:
        """Ask a model."""
        about: dict[str, Any] = {"model": "claude-sonnet-4-5", "provider": "anthropic"}
        begin = self.tell(
            "model_call", status="started", payload={"input_messages": asked}, **about
        )
        cost = round(tokens[0] * 3e-6 + tokens[1] * 15e-6, 6)
        used = {"input_tokens": tokens[0], "output_tokens": tokens[1], "cost_usd": cost, **more}
        self.tell(
            "model_response", status="success", parent_event_id=begin, took=took,
            payload={"output_messages": answer, **used}, **about,
        )  # fmt: skip

    def tool(
        self, name: str, args: Any, took: float, result: Any = None, error: str | None = None
    ) -> None:
        """Call a tool."""
        call: dict[str, Any] = {"tool_name": name, "call_id": f"call-{next(_numbers)}"}
        begin = self.tell("tool_call", status="started", payload={"args": args}, **call)
        if error is not None:
            payload = {"error_type": "TimeoutError", "error": error}
            attributes = {"exception.type": "TimeoutError", "exception.message": error}
            self.tell(
                "tool_result", status="error", parent_event_id=begin, took=took, payload=payload,
                attributes=attributes, **call,
            )  # fmt: skip
            return
        self.tell(
            "tool_result", status="success", parent_event_id=begin, took=took,
            payload={"result": result}, **call,
        )  # fmt: skip


def message(role: str, *parts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one message in the form of OpenTelemetry's conventions."""
    return [{"role": role, "parts": list(parts)}]


def text(content: str) -> dict[str, Any]:
    """Return a part that is a text."""
    return {"type": "text", "content": content}


def picture() -> str:
    """Return a picture of a route over a map, as PNG in base64."""
    width, height = 360, 150
    rows = []
    for y in range(height):
        row = bytearray(b"\0")
        for x in range(width):
            sea = (x * 3 + y * 5) % 97 < 3
            bend = 108 - 62 * (1 - ((x - 180) / 150) ** 2)
            near = abs(y - bend)
            if 30 < x < 330 and near < 2.2:
                row += bytes((214, 72, 58))
            elif min((x - 30) ** 2 + (y - 108) ** 2, (x - 330) ** 2 + (y - 108) ** 2) < 40:
                row += bytes((32, 44, 70))
            elif (x - 60) ** 2 / 8000 + (y - 130) ** 2 / 2200 < 1 or (x - 320) ** 2 / 5200 + (
                y - 92
            ) ** 2 / 3800 < 1:
                row += bytes((208, 222, 196))
            else:
                row += bytes((176, 206, 230)) if sea else bytes((190, 217, 238))
        rows.append(bytes(row))

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"".join(rows), 9)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b64encode(png).decode()


def trip(teller: Teller, session: str, run: str) -> None:
    """Tell of a trip that two sub-agents plan, with a tool that fails, an approval and a hand-off."""
    teller.session = session
    teller.begin("travel-desk", run, "Lisbon for two, 12 to 15 December, under 900 euros")
    teller.tell(
        "system_instruction",
        payload={"instruction": "You plan trips. Never book without an approval."},
    )
    teller.tell(
        "user_message",
        took=0.1,
        payload={
            "message": "We are two and want to be in Lisbon from the 12th to the 15th of December. Not more than 900 euros in all, and no flight before 8."
        },
    )
    teller.model(
        message("user", text("Lisbon for two, 12 to 15 December, under 900 euros")),
        message(
            "assistant",
            {"type": "reasoning", "content": "Flights decide the budget, so look for those first. The hotel can be looked for at the same time by the other agent."},
            text("I will look for flights and a hotel side by side, and come back with one offer."),
        ),
        1.9, (1840, 212), reasoning_output_tokens=96,
    )  # fmt: skip
    teller.tell("sub_agent_invoked", took=0.05, payload={"agent_id": "flight-finder"})
    teller.begin(
        "flight-finder", f"{run}-flights", "Two seats to LIS, out on 12, back on 15 December"
    )
    teller.tool(
        "search_flights",
        {"from": "FRA", "to": "LIS", "out": "2026-12-12", "back": "2026-12-15", "seats": 2},
        1.3,
        [
            {"flight": "TP 571", "departs": "09:40", "price": 184.2},
            {"flight": "LH 1166", "departs": "07:10", "price": 161.9},
        ],
    )
    teller.tool(
        "hold_seats",
        {"flight": "TP 571", "seats": ["14C", "14D"]},
        3.0,
        error="the airline's server did not answer within 3 s",
    )
    teller.tool(
        "hold_seats",
        {"flight": "TP 571", "seats": ["14C", "14D"]},
        0.8,
        {"hold": "TP571-88213", "until": "18:00"},
    )
    teller.tell(
        "decision", payload={"decision": "TP 571 at 09:40: LH 1166 is cheaper and leaves before 8"}
    )
    teller.end(result="TP 571, 368.40 euros, held until 18:00")
    teller.begin("hotel-finder", f"{run}-hotel", "Three nights near Alfama for two")
    teller.tool(
        "search_hotels",
        {"city": "Lisbon", "nights": 3, "guests": 2, "most": 170},
        0.9,
        [
            {"hotel": "Casa do Tejo", "night": 149, "rating": 8.9},
            {"hotel": "Alfama Yard", "night": 164, "rating": 9.1},
        ],
    )
    teller.model(
        "Which hotel is the better offer?",
        message("assistant", text("Casa do Tejo: 447 euros for three nights, and quiet at night by its reviews.")),
        1.2, (980, 64),
    )  # fmt: skip
    teller.end(result="Casa do Tejo, 447 euros")
    teller.tool(
        "draw_route",
        {"from": "FRA", "to": "LIS"},
        0.4,
        [{"type": "blob", "mime_type": "image/png", "modality": "image", "content": picture()}],
    )
    teller.tell(
        "policy_check",
        took=0.1,
        status="passed",
        payload={"policy_name": "budget", "rule": "at most 900 euros", "observed": 815.4},
    )
    teller.tell(
        "human_approval",
        status="requested",
        payload={
            "approver": "M. Ferreira",
            "question": "Book TP 571 and Casa do Tejo for 815.40 euros?",
        },
    )
    teller.tell(
        "human_approval",
        took=6.4,
        status="approved",
        payload={"approver": "M. Ferreira", "answer": "Yes, both."},
    )
    teller.tell("agent_handoff", payload={"from": "travel-desk", "to": "booking-clerk"})


def booked(teller: Teller, run: str) -> None:
    """Tell the end of a trip that went well."""
    teller.begin("booking-clerk", f"{run}-book", "Book TP 571 and Casa do Tejo")
    teller.tool(
        "pay",
        {"amount": 815.4, "currency": "EUR", "card": "[REDACTED]"},
        1.6,
        {"paid": True, "receipt": "R-20814"},
    )
    teller.tool("book_flight", {"hold": "TP571-88213"}, 1.1, {"ticket": "047-2201183340"})
    teller.end(result="booked")
    teller.tell(
        "assistant_message",
        took=0.2,
        payload={
            "message": "Booked: TP 571 on 12 December at 09:40 and three nights at Casa do Tejo, 815.40 euros in all. Have a good trip!"
        },
    )
    teller.end()


def asking(
    teller: Teller,
    session: str,
    run: str,
    question: str,
    answer: str,
    n: int,
    agent: str = "support",
) -> None:
    """Tell of a short question."""
    teller.session = session
    teller.begin(agent, run, question)
    teller.tell("user_message", payload={"message": question})
    teller.tool(
        "find_booking", {"ticket": f"047-220118{3300 + n}"}, 0.3 + 0.1 * n, {"status": "confirmed"}
    )
    teller.model(
        question, message("assistant", text(answer)), 0.9 + 0.2 * n, (620 + 90 * n, 48 + 7 * n)
    )
    teller.tell("assistant_message", payload={"message": answer})
    teller.end()


class Recording:
    """One process's recording into the journal, in this process."""

    def __init__(self, directory: Path, service: str) -> None:
        self.hop = Hop()
        self.processor = DurableLogRecordProcessor(
            self.hop.exporter(), directory=directory, pipeline="otlp"
        )
        self.provider = LoggerProvider(
            resource=Resource({"service.name": service}), shutdown_on_exit=False
        )
        self.provider.add_log_record_processor(self.processor)
        self.sink = OTelSink(self.provider)


def killed(directory: Path, at: int) -> None:
    """Record in a process of its own, which is gone before a payment has answered."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    teller = Teller(Recording(directory, "travel-desk").sink, at)
    trip(teller, "trip-lisbon-0412", "run-7c21")
    teller.begin("booking-clerk", "run-7c21-book", "Book TP 571 and Casa do Tejo")
    teller.tell(
        "tool_call",
        status="started",
        tool_name="pay",
        call_id="call-pay",
        payload={"args": {"amount": 815.4, "currency": "EUR", "card": "[REDACTED]"}},
    )
    os.kill(os.getpid(), 9)


def record(directory: Path) -> None:
    """Record the story.

    Args:
        directory: A new directory.
    """
    now = time.time_ns()
    killed(directory, now - 47 * 60 * SECOND)
    desk, support = Recording(directory, "travel-desk"), Recording(directory, "support")
    questions = [
        (
            "Can I take a surfboard on TP 571?",
            "Yes: 50 euros each way, to be announced 48 hours before.",
        ),
        ("When does check-in open?", "36 hours before the flight, so on Thursday at 21:40."),
        ("Is breakfast included?", "Yes, from 7 to 10:30."),
        ("I need an invoice for our company.", "It is on its way to the address of your booking."),
        (
            "Can we move the flight to the 16th?",
            "Yes, for 70 euros a person. Shall I ask for the approval?",
        ),
    ]
    for number, (question, answer) in enumerate(questions):
        teller = Teller(support.sink, now - (300 - 55 * number) * 60 * SECOND)
        asking(teller, f"chat-{8841 + number}", f"run-s{number}", question, answer, number)
    teller = Teller(desk.sink, now - 26 * 60 * SECOND)
    trip(teller, "trip-lisbon-0413", "run-91aa")
    teller.tell("checkpoint", payload={"checkpoint_id": "cp-3", "label": "before paying"})
    booked(teller, "run-91aa")
    desk.processor.force_flush(20_000)
    support.processor.force_flush(20_000)
    desk.hop.down = True
    teller = Teller(desk.sink, now - 95 * SECOND)
    asking(
        teller,
        "trip-porto-0117",
        "run-b0f3",
        "Porto in January, one person, by train if it can be done",
        "By train it is 9 h 40 from Madrid. Shall I look for flights to Madrid?",
        6,
        "travel-desk",
    )


if __name__ == "__main__":
    record(Path(sys.argv[1]))
    os._exit(0)  # as it is: what is pending stays so
