"""Log records that carry their lines, and are rebuilt when a field is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from opentelemetry._logs import LogRecord
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LogRecordLimits, ReadWriteLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from wakelog.journal import Entry

UNLIMITED: Final = LogRecordLimits(
    max_attributes=LogRecordLimits.UNSET,
    max_attribute_length=LogRecordLimits.UNSET,
    max_log_record_attributes=LogRecordLimits.UNSET,
    max_log_record_attribute_length=LogRecordLimits.UNSET,
)
FIELDS: Final = frozenset(
    {
        "timestamp",
        "observed_timestamp",
        "context",
        "trace_id",
        "span_id",
        "trace_flags",
        "severity_text",
        "severity_number",
        "body",
        "attributes",
        "event_name",
        "exception",
    }
)
"""The fields of ``LogRecord``; a test checks that they are all of them."""

_NO_CONTEXT: Final = Context()
_fields_in: Any = vars(LogRecord)["__dict__"].__get__


class LineLogRecord(LogRecord):
    """A log record that carries its line, and is rebuilt from it when a field is read.

    Args:
        rebuild: Rebuilds the record.
        entry: The entry with the line.
        replayed: Whether it is marked as one that has waited for an outage to end.
        encoded: The record encoded for OTLP, None if it has not been encoded.
    """

    __slots__ = ("_entry", "_rebuild", "_replayed", "encoded")

    def __init__(
        self,
        rebuild: Callable[[Entry, bool], ReadWriteLogRecord],
        entry: Entry,
        replayed: bool,  # noqa: FBT001 - passed on for every record
        encoded: bytes | None,
    ) -> None:
        self._rebuild, self._replayed = rebuild, replayed
        self._entry: Entry | None = entry
        self.encoded = encoded

    def __getattr__(self, name: str) -> Any:
        """Rebuild the record when a field is read for the first time.

        Raises:
            AttributeError: If log records have no such field.
        """
        if name not in FIELDS:
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(message)
        return self.__dict__[name]

    @property
    def context(self) -> Context:  # the batch processor assigns an empty context
        """The context in which it was emitted, which is unknown here: always empty."""
        return _NO_CONTEXT

    @context.setter
    def context(self, context: Context) -> None:
        del context  # not stored: one more object for each record would have to be tracked

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override] # it is read-only here
        """The fields, for code that reads all of them."""
        fields: dict[str, Any] = _fields_in(self)
        entry = self._entry
        if entry is not None and len(fields) < len(FIELDS):
            for name, value in vars(self._rebuild(entry, self._replayed).log_record).items():
                fields.setdefault(name, value)
            self._entry = None  # an exporter that keeps the record need not keep the line too
        return fields

    def __copy__(self) -> LineLogRecord:
        """Return itself, not a copy: nobody else has this record and could change it."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to copy or pickle it: as a plain ``LogRecord`` with its fields."""
        return _log_record_of, (self.__dict__,)


def _log_record_of(fields: dict[str, Any]) -> LogRecord:
    record = object.__new__(LogRecord)
    vars(record).update(fields)
    return record


class PreparedRecord(ReadWriteLogRecord):
    """A log record whose attributes OpenTelemetry need not check, because they are already valid.

    Args:
        log_record: The record.
        resource: Its resource.
        instrumentation_scope: Its scope.
    """

    limits = UNLIMITED

    def __init__(
        self,
        log_record: LogRecord,
        resource: Resource,
        instrumentation_scope: InstrumentationScope | None,
    ) -> None:
        self.log_record = log_record
        self.resource = resource
        self.instrumentation_scope = instrumentation_scope
