"""The exit of a program that did not close its gateways: pending events are forwarded in limited time.

The event loop in which they were forwarded has ended by then. A callback or transport that is bound
to it, such as a coroutine function, is not called in another loop; its events wait for the
program's next start.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import time
from typing import TYPE_CHECKING

from wakelog.runtime import ForkOrder, notice_fork, reset_in_child
from wakelog.runtime.daemon_threads import DaemonThreads

if TYPE_CHECKING:
    from wakelog.gateway._forwarding import Forwarder

_log = logging.getLogger("wakelog")

_GRACE_SECONDS = 1.0
# Forwarders that have received events and have not been closed, with their time limits.
_open: dict[Forwarder, float] = {}


def watch(forwarder: Forwarder, seconds: float) -> None:
    """Register a forwarder, so that its pending events are forwarded when the program exits.

    Args:
        forwarder: The forwarder, after its event loop has begun.
        seconds: The longest time for that.
    """
    for other in [one for one in list(_open) if one.is_over]:
        _open.pop(other, None)
    _open[forwarder] = seconds


def settle(forwarder: Forwarder) -> None:
    """Unregister a forwarder, because it was closed."""
    _open.pop(forwarder, None)


@atexit.register
def _at_exit() -> None:
    notice_fork()
    left, begun = dict(_open), time.monotonic()
    _open.clear()
    deadline = begun + max(left.values(), default=0.0)
    for forwarder, seconds in left.items():
        if forwarder.books.pending or forwarder.is_over:
            until = min(deadline, time.monotonic() + seconds)
            _finish(forwarder, max(0.0, until - time.monotonic()))


def _finish(forwarder: Forwarder, seconds: float) -> None:
    loop = forwarder.loop
    bound = False
    if loop is not None and loop.is_running():  # in a thread that still runs
        ending = asyncio.run_coroutine_threadsafe(forwarder.close(seconds), loop)
        try:
            ending.result(seconds + _GRACE_SECONDS)
        except TimeoutError:
            ending.cancel()
    elif forwarder.downstream.works_in_any_loop:
        forwarder.detach()
        _run(forwarder, seconds)
    else:
        bound = True
    if left := forwarder.books.pending:
        told = (
            "%d events were not forwarded at exit: %s. %s. Call `await logger.close()` at the end"
        )
        why = (
            "the callback or transport belongs to an event loop that has ended"
            if bound
            else f"they were not accepted within {seconds:.3g} s"
        )
        lost = forwarder.memory is not None
        _log.warning(
            told,
            left,
            why,
            "They were in memory and are lost"
            if lost
            else "The next start on the directory forwards them",
        )


def _run(forwarder: Forwarder, seconds: float) -> None:
    loop = asyncio.new_event_loop()
    try:
        loop.set_default_executor(DaemonThreads("wakelog-gateway-exit"))
        loop.run_until_complete(forwarder.end_in_this_loop(seconds))
    finally:
        loop.close()


reset_in_child(_open.clear, ForkOrder.THREADS)
