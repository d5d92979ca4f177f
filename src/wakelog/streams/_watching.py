"""The thread that reads what other processes write, while there are readers."""

from __future__ import annotations

import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING

from wakelog.errors import WakelogError
from wakelog.runtime import Background, Burst

if TYPE_CHECKING:
    from wakelog.streams._streams import SessionStreams

_OWNERS_SECONDS = 0.5
_ADOPT_SECONDS = 1.0


class Watcher:
    """Checks the directory at an interval; ends when there are no readers or the streams are gone.

    Args:
        streams: The streams.
        interval: The interval in seconds; None for a single check.

    Attributes:
        thread: The thread.
    """

    def __init__(self, streams: SessionStreams, interval: float | None) -> None:
        self._streams = weakref.ref(streams)
        self._interval = interval
        self.ended = False
        self._stopped = threading.Event()
        self._burst = Burst()
        self.thread = Background(self.run, "wakelog-streams")

    def stop(self) -> None:
        """Stop the thread, and wait for its end."""
        self._stopped.set()
        self.thread.join()

    def run(self) -> None:
        """Refresh the lanes until there are no readers."""
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
                if self._burst.is_due():
                    message = (
                        f"wakelog: readers of streams see nothing of other processes now: {error}"
                    )
                    print(message, file=sys.stderr)
            with streams.lanes.lock:
                if self._interval is None or not streams.lanes.watches:
                    # Set under the lock, so that a new reader starts another watcher.
                    self.ended = True
                    return
            del streams
            self._stopped.wait(self._interval)
