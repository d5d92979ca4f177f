"""Log records that carry their lines, and are rebuilt when somebody looks at them."""

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
"""The fields of ``LogRecord``; a test holds them to it."""

_NO_CONTEXT: Final = Context()
_fields_in: Any = vars(LogRecord)["__dict__"].__get__


class LineLogRecord(LogRecord):
    """A log record that carries its line, and has the fields of a rebuilt one when somebody looks at it.

    Args:
        rebuild: Makes the record.
        entry: What it is made of.
        replayed: Whether it is marked as one that has waited for an outage to end.
        encoded: The record as OTLP has it, None where it has not been encoded.
    """

    __slots__ = ("_entry", "_rebuild", "_replayed", "encoded")

    def __init__(
        self,
        rebuild: Callable[[Entry, bool], ReadWriteLogRecord],
        entry: Entry,
        replayed: bool,  # noqa: FBT001 - handed on for every record
        encoded: bytes | None,
    ) -> None:
        self._rebuild, self._replayed = rebuild, replayed
        self._entry: Entry | None = entry
        self.encoded = encoded

    def __getattr__(self, name: str) -> Any:
        """Rebuild the record, at the first look at a field.

        Raises:
            AttributeError: When log records have no such field.
        """
        if name not in FIELDS:
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(message)
        return self.__dict__[name]

    @property
    def context(self) -> Context:  # what the batch processor puts there is empty
        """The context that it was emitted in, of which nothing is known here."""
        return _NO_CONTEXT

    @context.setter
    def context(self, context: Context) -> None:
        del context  # nor kept: one for each record would be one more object that lives as long

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override] # it is read-only here
        """The fields, for what looks at all of them."""
        fields: dict[str, Any] = _fields_in(self)
        entry = self._entry
        if entry is not None and len(fields) < len(FIELDS):
            for name, value in vars(self._rebuild(entry, self._replayed).log_record).items():
                fields.setdefault(name, value)
            self._entry = None  # an exporter may keep the record, and need not keep the line too
        return fields

    def __copy__(self) -> LineLogRecord:
        """Return itself: the batch processor copies what others may hold, and nobody holds this."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Be copied deeply, and sent elsewhere, as a record with its fields."""
        return _log_record_of, (self.__dict__,)


def _log_record_of(fields: dict[str, Any]) -> LogRecord:
    record = object.__new__(LogRecord)
    vars(record).update(fields)
    return record


class PreparedRecord(ReadWriteLogRecord):
    """A log record whose attributes are already what OpenTelemetry takes, so it looks no further.

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
