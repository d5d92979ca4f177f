"""``FanOutSink``: writes each event to several sinks."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable

from wakelog import _arguments as a
from wakelog.errors import SinkError
from wakelog.events import AgentEvent
from wakelog.journal import Receipt
from wakelog.sinks._protocol import EventSink, flush


class FanOutSink:
    """Writes each event to several sinks.

    Each sink gets it, even if one before it fails. ``event.receipt`` is that of the first sink that
    returns one.

    Args:
        sinks: The sinks, in the order in which they are written.
    """

    # A logger's flush passes its time-out to a sink that has this.
    delivers = True

    def __init__(self, *sinks: EventSink) -> None:
        for number, sink in enumerate(sinks):
            a.check(
                **{f"sinks[{number}]": (sink, a.With("write", "a sink, which has a method write"))}
            )
        self.sinks = sinks

    def write(self, event: AgentEvent) -> None:
        """Write an event to every sink.

        Raises:
            SinkError: If at least one did not accept it; the message names it. The others have it.
        """
        receipt: Receipt | None = None
        settlings: list[tuple[EventSink, Callable[[], Awaitable[object]]]] = []
        failures: list[tuple[EventSink, Exception]] = []
        for sink in self.sinks:
            event.receipt = event.settling = None
            try:
                answer = sink.write(event)
                if inspect.iscoroutine(answer):
                    answer.close()
                    raise TypeError("its write has to be awaited")  # noqa: TRY301 - one way out
            except Exception as error:  # noqa: BLE001 - the other sinks must still get the event
                failures.append((sink, error))
                continue
            answered: Receipt | None = event.receipt
            receipt = answered if receipt is None else receipt
            if event.settling is not None:
                settlings.append((sink, event.settling))
        event.receipt = receipt
        event.settling = (lambda: self._settle(settlings)) if settlings else None
        self._raise(failures, "did not accept the event")

    def flush(self, timeout: float | None = None) -> bool:
        """Flush every sink that can be flushed.

        Args:
            timeout: The longest wait in total, in seconds, for sinks that accept a time-out.

        Returns:
            Whether no sink has returned False.

        Raises:
            SinkError: If at least one could not be flushed.
            ConfigurationError: If the time-out is not a number.
        """
        timeout = None if timeout is None else a.wait_of(timeout)
        began = time.monotonic()
        failures: list[tuple[EventSink, Exception]] = []
        done = True
        for sink in self.sinks:
            try:
                done &= flush(sink, timeout, began)
            except Exception as error:  # noqa: BLE001 - the other sinks must still be flushed
                failures.append((sink, error))
        self._raise(failures, "could not be flushed")
        return done

    def close(self) -> None:
        """Close every sink that can be closed.

        Raises:
            SinkError: If at least one could not be closed.
        """
        failures: list[tuple[EventSink, Exception]] = []
        for sink in self.sinks:
            try:
                getattr(sink, "close", lambda: None)()
            except Exception as error:  # noqa: BLE001 - the other sinks must still be closed
                failures.append((sink, error))
        self._raise(failures, "could not be closed")

    async def _settle(
        self, settlings: list[tuple[EventSink, Callable[[], Awaitable[object]]]]
    ) -> None:
        failures: list[tuple[EventSink, Exception]] = []
        for sink, settling in settlings:
            try:
                await settling()
            except Exception as error:  # noqa: BLE001 - the other sinks must still be settled
                failures.append((sink, error))
        self._raise(failures, "did not accept the event")

    def _raise(self, failures: list[tuple[EventSink, Exception]], what: str) -> None:
        if not failures:
            return
        said = "; ".join(f"{type(s).__name__}: {type(e).__name__}: {e}" for s, e in failures)
        message = f"{len(failures)} of {len(self.sinks)} sinks {what}: {said}"
        raise SinkError(message) from failures[0][1]
