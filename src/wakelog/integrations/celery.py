"""Celery: propagates the context from the sender of a task to the worker.

    from wakelog.integrations import celery
    celery.install()

in the program that sends tasks and in the worker.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from celery.signals import before_task_publish, task_postrun, task_prerun

from wakelog import propagation
from wakelog.context import CARRIER

__all__ = ["install", "uninstall"]

# The blocks of the tasks that are running, by their ids.
_running: dict[str, ExitStack] = {}


def install() -> None:
    """Propagate run, session, agent, tenant, parent and trace with every task. Idempotent."""
    before_task_publish.connect(_send, dispatch_uid="wakelog.send")
    task_prerun.connect(_begin, dispatch_uid="wakelog.begin")
    task_postrun.connect(_end, dispatch_uid="wakelog.end")


def uninstall() -> None:
    """Stop propagating the context."""
    before_task_publish.disconnect(_send, dispatch_uid="wakelog.send")
    task_prerun.disconnect(_begin, dispatch_uid="wakelog.begin")
    task_postrun.disconnect(_end, dispatch_uid="wakelog.end")


def _send(headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is not None:
        for name, value in propagation.headers().items():
            headers.setdefault(name, value)


def _begin(task_id: str = "", task: Any = None, **_: Any) -> None:
    request = getattr(task, "request", None)
    names = (CARRIER.lower(), "traceparent", "tracestate", "baggage")
    found = {
        name: value for name in names if isinstance(value := getattr(request, name, None), str)
    }
    if CARRIER.lower() in found:
        stack = ExitStack()
        stack.enter_context(propagation.carried(found))
        _running[task_id] = stack


def _end(task_id: str = "", **_: Any) -> None:
    if (stack := _running.pop(task_id, None)) is not None:
        stack.close()
