"""A program that streams into a directory, to be killed in the middle.

    python stream_program.py DIRECTORY SESSION FIRST COUNT [hold]

It writes the chunks FIRST … FIRST + COUNT - 1 of one message and says each, once it is written.
With ``hold`` it then waits to be killed, without ending the message.
"""

from __future__ import annotations

import os
import sys
import time

from wakelog.streams import SessionStreams


def main() -> None:
    """Stream, and say what was written."""
    directory, session_id, first, count = (
        sys.argv[1],
        sys.argv[2],
        int(sys.argv[3]),
        int(sys.argv[4]),
    )
    streams = SessionStreams(directory, watch_interval=None)
    stream = streams.stream(session_id)
    os.write(1, f"stream {stream.stream_id}\n".encode())
    for number in range(first, first + count):
        stream.write(f"{number} ")
        os.write(1, f"{number}\n".encode())
    if sys.argv[5:] == ["hold"]:
        time.sleep(600)
    stream.end()
    streams.close()


if __name__ == "__main__":
    main()
