"""The audit channel and the session log: what happened to a run, and how to resume it.

An ``AuditSink`` accepts typed records, returns nothing and never raises. A ``SessionLog`` stores
conversations by tenant and thread, and a ``SessionGraph`` is one conversation read from it.
"""

from __future__ import annotations

from wakelog.audit._breach import UsageAxis, UsageLimitBreach
from wakelog.audit._channel import AuditCounts
from wakelog.audit._graph import SessionGraph, link_to
from wakelog.audit._journal import JournalSessionLog
from wakelog.audit._keys import ThreadKey
from wakelog.audit._log import Logged, SessionLog
from wakelog.audit._memory import InMemorySessionLog
from wakelog.audit._postgres import PostgresSessionLog
from wakelog.audit._sinks import (
    AuditSink,
    FanOutAuditSink,
    LoggerAuditSink,
    SessionAuditSink,
    current_audit_sink,
    using_audit_sink,
)
from wakelog.audit._sqlite import SQLiteSessionLog

__all__ = [
    "AuditCounts",
    "AuditSink",
    "FanOutAuditSink",
    "InMemorySessionLog",
    "JournalSessionLog",
    "Logged",
    "LoggerAuditSink",
    "PostgresSessionLog",
    "SQLiteSessionLog",
    "SessionAuditSink",
    "SessionGraph",
    "SessionLog",
    "ThreadKey",
    "UsageAxis",
    "UsageLimitBreach",
    "current_audit_sink",
    "link_to",
    "using_audit_sink",
]
