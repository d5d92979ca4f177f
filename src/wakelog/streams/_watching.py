"""The thread that looks what other processes write, as long as somebody reads."""

from __future__ import annotations

import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING

from wakelog.errors import WakelogError

if TYPE_CHECKING:
    from wakelog.streams._streams import SessionStreams

_OWNERS_SECONDS = 0.5
_ADOPT_SECONDS = 1.0
_REPORT_SECONDS = 60.0


class Watcher:
    """Looks at the directory every so often; ends when nobody reads or the streams are gone.

    Args:
        streams: Whose directory it is.
        interval: How often, in seconds; only once when None.
    """

    def __init__(self, streams: SessionStreams, interval: float | None) -> None:
        self._streams = weakref.ref(streams)
        self._interval = interval
        self.ended = False
        self._stopped = threading.Event()
        self._reported = float("-inf")
        # No subclass: gevent may have put another class in the place of the one that was imported.
        self._thread = threading.Thread(target=self.run, name="wakelog-streams", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def is_alive(self) -> bool:
        """Tell whether the thread runs."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End, and wait for that."""
        self._stopped.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def run(self) -> None:
        """Refresh the lanes until nobody is interested."""
        owners_at = adopt_at = 0.0
        while not self._stopped.is_set():
            streams = self._streams()
            if streams is None:
                return
            now = time.monotonic()
            try:
                if now >= owners_at or now >= adopt_at:
                    owners_at = now + _OWNERS_SECONDS
                    gone = streams.lanes.refresh(owners=True)
                    if gone or now >= adopt_at:
                        adopt_at = now + _ADOPT_SECONDS
                        streams.adopt()
                else:
                    streams.lanes.refresh(owners=False)
            except WakelogError as error:
                self._report(error, now)
            with streams.lanes.lock:
                if self._interval is None or not streams.lanes.watches:
                    # Said under the lock, so that a reader who comes now starts another.
                    self.ended = True
                    return
            del streams
            self._stopped.wait(self._interval)

    def _report(self, error: WakelogError, now: float) -> None:
        if now - self._reported >= _REPORT_SECONDS:
            self._reported = now
            message = f"wakelog: readers of streams see nothing of other processes now: {error}"
            print(message, file=sys.stderr)
