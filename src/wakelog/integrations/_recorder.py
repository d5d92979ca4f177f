"""``Recorder``: what every integration does with what another library hands it."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, cast

from opentelemetry import trace
from opentelemetry._logs import get_logger_provider
from opentelemetry.sdk._logs import LoggerProvider

from wakelog import context
from wakelog.errors import InvalidEventTypeError, RedactionError
from wakelog.events import EVENT_TYPES, AgentEvent
from wakelog.events import semconv as s
from wakelog.journal import Durability
from wakelog.logger import AgentLogger, current
from wakelog.otel import OTelSink
from wakelog.record import from_line, to_line
from wakelog.redaction import RedactionConfig, redact
from wakelog.sinks import NullSink

_log = logging.getLogger("wakelog")

_REPORT_SECONDS = 60.0
_NOT_CONFIGURED = (
    "nothing is set up to record them: call wakelog.configure(), or give the integration a logger"
)

# Keys that are a field of an agent event, by the names that people write.
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
# Where the text of a call stands in an event's payload; elsewhere it is the key "message".
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


class _Busy(threading.local):
    recording = False


_busy = _Busy()


class Recorder:
    """Records what another library logs, and never raises into it.

    What is not accepted is counted by reason in ``refused``, and reported by the logger
    ``wakelog`` at most once a minute.

    Args:
        log: Where to record, and how to redact. None for what ``wakelog.configure`` has set up,
            and without that OpenTelemetry's global logger provider; both are looked up at each
            record, so it does not matter what is set up first.
    """

    def __init__(self, log: AgentLogger | None = None) -> None:
        self._given = log
        self.refused: Counter[str] = Counter()
        self._report_after = 0.0
        # A cache of the logger over OpenTelemetry's global provider.
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
        """Record one thing that was logged.

        Args:
            scope: The name of the logger that it comes from.
            text: What it says.
            fields: Everything else that was given with it, a new dict. ``event_name`` names an
                event; ``event_type`` with one of Wakelog's event types makes it an agent event.
            severity_number: OpenTelemetry's severity, None when it is not known.
            severity_text: The level in OpenTelemetry's words, or in the library's own.
            timestamp: When it happened, in nanoseconds since 1970; now by default.
        """
        if _busy.recording:
            # What recording itself causes to be logged would never end; a signal's handler may be
            # in the middle of a write.
            self.refused["Recursive"] += 1
            return
        _busy.recording = True
        try:
            log = self._given or current() or self._global()
            if log is None:
                self.refuse("NotConfigured", _NOT_CONFIGURED)
            elif type(log.sink) is not NullSink:
                event_type = fields.get("event_type")
                if (
                    event_type.__class__ is not str
                    or (event := _agent_event(log, event_type, text, dict(fields), timestamp))
                    is None
                ):
                    _write_log(log, scope, text, fields, severity_number, severity_text, timestamp)
                else:
                    log.record(event)
        except Exception as error:  # noqa: BLE001 - it is somebody else's program: count, report
            self.refuse(type(error).__name__, error)
        finally:
            _busy.recording = False

    def _global(self) -> AgentLogger | None:
        provider = get_logger_provider()
        if self._over_global is None or self._over_global[0] is not provider:
            if not isinstance(provider, LoggerProvider):
                return None
            self._over_global = (provider, AgentLogger(sink=OTelSink(provider, required=True)))
        return self._over_global[1]

    def refuse(self, reason: str, cause: object) -> None:
        """Count what was not accepted, and say so when that was not said in the last minute.

        Args:
            reason: The error's name.
            cause: What happened.
        """
        self.refused[reason] += 1
        now = time.monotonic()
        if now >= self._report_after:
            self._report_after = now + _REPORT_SECONDS
            _log.error(
                "%d log records were not recorded so far, the last one because: %s",
                self.refused.total(),
                cause,
            )


def exception_fields(error: BaseException) -> dict[str, Any]:
    """Return what the conventions say of an exception: ``exception.*``, with the qualified type."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - a broken __str__ must cost the text and not the record
        message = ""
    try:
        stacktrace = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - as above
        stacktrace = ""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else _qualified(kind)
    fields = {s.EXCEPTION_TYPE: name, s.EXCEPTION_MESSAGE: message}
    if stacktrace:
        fields[s.EXCEPTION_STACKTRACE] = stacktrace
    return fields


def _qualified(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _write_log(
    log: AgentLogger,
    scope: str,
    text: Any,
    fields: dict[str, Any],
    severity_number: int | None,
    severity_text: str,
    timestamp: int | None,
) -> None:
    durability = fields.pop("durability") if _asks(fields) else None
    event_name = fields.pop("event_name", None)
    if event_name is not None and not isinstance(event_name, str):
        fields["event_name"], event_name = event_name, None
    sink = log.sink
    if not isinstance(sink, OTelSink):
        # Other sinks know agent events only.
        if event_name:
            fields["event_name"] = event_name
        payload = {"message": text, "level": severity_text, "logger": scope}
        event = log.event(
            "custom", payload, attributes=fields, time_unix_nano=timestamp, durability=durability
        )
        log.record(event)
        return
    for variable, name in _BOUND:
        if (value := variable.get()) is not None:
            fields.setdefault(name, value)
    if (around := context.bound_attributes()) is not None:
        fields = {**around, **fields}
    if log.redact_payloads:
        text, fields = _redacted(text, fields, log.redaction_config)
    sink.write_log(
        scope,
        text,
        fields,
        severity_number=severity_number,
        severity_text=severity_text,
        event_name=event_name or "",
        timestamp=timestamp or time.time_ns(),
        span_context=_span_context(),
        durability=durability,
    )


def _redacted(
    text: Any, fields: dict[str, Any], config: RedactionConfig | None
) -> tuple[Any, dict[str, Any]]:
    try:
        return redact(text, config), redact(fields, config)
    except RedactionError:
        # An object that cannot say what it is: what the line makes of it has a text.
        return redact(from_line(to_line(text)), config), redact(_plain(fields), config)


def _agent_event(
    log: AgentLogger, event_type: str, text: Any, fields: dict[str, Any], timestamp: int | None
) -> AgentEvent | None:
    """Make an agent event of what was logged; None when it has none of the types there are."""
    del fields["event_type"]
    given: dict[str, Any] = {"time_unix_nano": timestamp}
    if _asks(fields):
        given["durability"] = fields.pop("durability")
    payload: dict[str, Any] = {}
    if isinstance(fields.get("payload"), Mapping):
        payload.update(fields.pop("payload"))
    known = EVENT_TYPES[event_type].payload if event_type in EVENT_TYPES else {}
    for key in list(fields):
        if key in known:
            payload[key] = fields.pop(key)
        elif key in _FIELDS and fields[key] is not None:
            given[_FIELDS[key]] = str(fields.pop(key))
        elif key in _MAPS and isinstance(fields[key], Mapping):
            given[key] = dict(fields.pop(key))
    if event_type == "error" and s.EXCEPTION_TYPE in fields:
        payload["error_type"] = payload["exception_type"] = fields.pop(s.EXCEPTION_TYPE)
        payload["error"] = fields.pop(s.EXCEPTION_MESSAGE, text)
        payload["stacktrace"] = fields.pop(s.EXCEPTION_STACKTRACE, None)
    if text is not None:
        key = _TEXT_KEYS.get(event_type, "message")
        payload["message" if key in payload else key] = text
    try:
        try:
            return log.event(event_type, payload, attributes=fields or None, **given)
        except RedactionError:
            payload, fields = _plain(payload), _plain(fields)
            return log.event(event_type, payload, attributes=fields or None, **given)
    except InvalidEventTypeError:
        return None


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return what the line makes of values, all of which have a text."""
    return cast("dict[str, Any]", from_line(to_line(values)))


def _asks(fields: dict[str, Any]) -> bool:
    """Tell whether the caller asks for a durability; a text of that name is the caller's own."""
    return "durability" in fields and isinstance(fields["durability"], Durability)


def _span_context() -> tuple[int, int, int] | None:
    span_context = trace.get_current_span().get_span_context()
    if not span_context.is_valid:
        return None
    return span_context.trace_id, span_context.span_id, span_context.trace_flags
