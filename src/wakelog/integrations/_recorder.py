"""``Recorder``: records what integrations receive from other libraries."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from typing import Any, Final

from opentelemetry._logs import get_logger_provider
from opentelemetry.context import get_current
from opentelemetry.sdk._logs import LoggerProvider

from wakelog import context
from wakelog.errors import InvalidEventTypeError
from wakelog.events import EVENT_TYPES, AgentEvent
from wakelog.events import semconv as s
from wakelog.journal import Durability
from wakelog.logger import AgentLogger, current
from wakelog.otel import OTelSink, disabled, span_context_of
from wakelog.record import kept, text_of, traceback_of, type_name
from wakelog.runtime import Burst, ForkOrder, let_through, notice_fork, reset_in_child
from wakelog.sinks import NullSink

_log = logging.getLogger("wakelog")

_NOT_CONFIGURED = (
    "nothing is set up to record them: call wakelog.configure(), or give the integration a logger"
)

# Keys that become fields of an agent event, by their usual names.
_FIELDS: Final = {
    "tool": "tool_name",
    "agent": "agent_name",
    "workflow": "workflow_name",
} | {
    name: name
    for name in (
        "tool_name",
        "agent_name",
        "workflow_name",
        "provider",
        "model",
        "status",
        "run_id",
        "session_id",
        "tenant_id",
        "call_id",
        "parent_event_id",
    )
}
_MAPS: Final = ("risk", "metadata")
# The payload key for the text of a call; "message" for other event types.
_TEXT_KEYS: Final = {
    "user_message": "message",
    "system_instruction": "instruction",
    "error": "error",
    "decision": "decision",
    "retrieval_query": "query",
}
_BOUND: Final = (
    (context.run_id, s.RUN_ID),
    (context.session_id, s.CONVERSATION_ID),
    (context.agent, s.AGENT_NAME),
    (context.workflow, s.WORKFLOW_NAME),
    (context.tenant_id, s.TENANT_ID),
    (context.parent_id, s.PARENT_ID),
)


# Threads that are recording. Not in `threading.local`, whose meaning of a thread would change when
# gevent or eventlet patch the process.
_recording: set[int] = set()


def _is_recording(thread: int) -> bool:
    """Return whether a thread of this process, and not of the parent process, is recording."""
    notice_fork()
    return thread in _recording


def _keep_own() -> None:
    _recording.intersection_update([threading.get_ident()])


reset_in_child(_keep_own, ForkOrder.LOCKS)


class Recorder:
    """Records what another library logs, and never raises in the library's calls.

    Records that are not accepted are counted by reason in ``refused``, and logged by the logger
    ``wakelog`` at most once a minute.

    Args:
        log: The logger, with its redaction. None for the logger of ``wakelog.configure``, and
            without it OpenTelemetry's global logger provider; both are looked up at each record, so
            the order of setting up does not matter.
    """

    def __init__(self, log: AgentLogger | None = None) -> None:
        self._given = log
        self.refused: Counter[str] = Counter()
        self._burst = Burst()
        # Cache of the logger for OpenTelemetry's global provider.
        self._over_global: tuple[object, AgentLogger] | None = None

    def record(
        self,
        scope: str,
        text: Any,
        fields: dict[str, Any],
        *,
        severity_number: int | None,
        severity_text: str,
        timestamp: int | None = None,
    ) -> None:
        """Record one call of a logging library.

        Args:
            scope: The name of the library's logger.
            text: The message.
            fields: All other values of the call, in a new dict. ``event_name`` names an event;
                ``event_type`` with one of Wakelog's event types makes it an agent event.
            severity_number: OpenTelemetry's severity, None if it is not known.
            severity_text: The level by OpenTelemetry's name, or by the library's own.
            timestamp: When it happened, in nanoseconds since 1970; now by default.
        """
        me = threading.get_ident()
        if me in _recording and _is_recording(me):
            # Recording what recording itself logs would never end; and a signal handler may have
            # interrupted a write.
            self.refused["Recursive"] += 1
            return
        _recording.add(me)
        try:
            log = self._given or self.logger()
            if log is not None and type(log.sink) is not NullSink:
                event_type = fields.get("event_type")
                if (
                    type(event_type) is not str
                    or (event := _agent_event(log, event_type, text, dict(fields), timestamp))
                    is None
                ):
                    _write_log(log, scope, text, fields, severity_number, severity_text, timestamp)
                else:
                    log.put(event)
        except Exception as error:  # noqa: BLE001 - the program must go on: count, report
            self.refuse(type(error).__name__, error)
        finally:
            _recording.discard(me)

    def logger(self) -> AgentLogger | None:
        """Return the current logger; None, which is counted, if nothing is set up."""
        log = self._given or current() or self._global()
        if log is None and not disabled():
            self.refuse("NotConfigured", _NOT_CONFIGURED)
        return log

    def _global(self) -> AgentLogger | None:
        if disabled():
            return None  # the SDK's provider would discard everything
        provider = get_logger_provider()
        if self._over_global is None or self._over_global[0] is not provider:
            if not isinstance(provider, LoggerProvider):
                return None
            self._over_global = (provider, AgentLogger(sink=OTelSink(provider, required=True)))
        return self._over_global[1]

    def refuse(self, reason: str, cause: object) -> None:
        """Count a record that was not accepted, and log this at most once a minute.

        Args:
            reason: The error's name.
            cause: The error.
        """
        if isinstance(cause, BaseException):
            let_through(cause)
        self.refused[reason] += 1
        if self._burst.is_due():
            _log.error(
                "%d log records were not recorded so far, the last one because: %s",
                self.refused.total(),
                text_of(cause),
            )


def exception_fields(error: BaseException) -> dict[str, Any]:
    """Return the conventions' attributes of an exception: ``exception.*``, with qualified type."""
    fields = {s.EXCEPTION_TYPE: type_name(type(error)), s.EXCEPTION_MESSAGE: text_of(error)}
    if stacktrace := traceback_of(error):
        fields[s.EXCEPTION_STACKTRACE] = stacktrace
    return fields


def _write_log(
    log: AgentLogger,
    scope: str,
    text: Any,
    fields: dict[str, Any],
    severity_number: int | None,
    severity_text: str,
    timestamp: int | None,
) -> None:
    durability = None
    if type(fields.get("durability")) is Durability:  # a text of that name is an attribute
        durability = fields.pop("durability")
    event_name = fields.pop("event_name", None)
    if event_name is not None and type(event_name) is not str:
        fields["event_name"], event_name = event_name, None
    sink = log.sink
    if not isinstance(sink, OTelSink):
        # Other sinks only accept agent events.
        if event_name:
            fields["event_name"] = event_name
        payload = {"message": text, "level": severity_text, "logger": scope}
        event = log.event(
            "custom", payload, attributes=fields, time_unix_nano=timestamp, durability=durability
        )
        log.put(event)
        return
    for variable, name in _BOUND:
        if (value := variable.get()) is not None:
            fields.setdefault(name, value)
    if context.attributes and (around := context.bound_attributes()) is not None:
        fields = {**around, **fields}
    sink.write_log(
        scope,
        log.copied(text),
        log.copied(fields),
        severity_number=severity_number,
        severity_text=severity_text,
        event_name=event_name or "",
        timestamp=timestamp or time.time_ns(),
        span_context=span_context_of(here) if (here := get_current()) else None,
        durability=durability,
    )


def _agent_event(
    log: AgentLogger, event_type: str, text: Any, fields: dict[str, Any], timestamp: int | None
) -> AgentEvent | None:
    """Return an agent event for a logging call; None if its type is not a known one."""
    del fields["event_type"]
    given: dict[str, Any] = {"time_unix_nano": timestamp}
    if type(fields.get("durability")) is Durability:
        given["durability"] = fields.pop("durability")
    payload: dict[str, Any] = {}
    if type(given_payload := kept(fields.get("payload"))) is dict:
        payload.update(given_payload)
        del fields["payload"]
    known = EVENT_TYPES[event_type].payload if event_type in EVENT_TYPES else {}
    for key in list(fields):
        if key in known:
            payload[key] = fields.pop(key)
        elif key in _FIELDS and fields[key] is not None:
            given[_FIELDS[key]] = text_of(fields.pop(key))
        elif key in _MAPS and type(values := kept(fields[key])) is dict:
            given[key] = values
            del fields[key]
    if event_type == "error" and s.EXCEPTION_TYPE in fields:
        payload["error_type"] = payload["exception_type"] = fields.pop(s.EXCEPTION_TYPE)
        payload["error"] = fields.pop(s.EXCEPTION_MESSAGE, text)
        payload["stacktrace"] = fields.pop(s.EXCEPTION_STACKTRACE, None)
    if text is not None:
        key = _TEXT_KEYS.get(event_type, "message")
        payload["message" if key in payload else key] = text
    try:
        return log.event(event_type, payload, attributes=fields or None, **given)
    except InvalidEventTypeError:
        return None
