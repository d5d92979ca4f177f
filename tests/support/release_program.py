"""Records and delivers with whichever release of Wakelog is on the path, until standard input ends.

    release_program.py NAME LARGEST

It says on standard output, with one write a line, the id of each record once it is accepted. What it
delivers to is for its environment to say. One record in ten is a text of LARGEST characters. It uses no
name that the first candidate lacks.
"""

from __future__ import annotations

import logging
import os
import sys
import threading

import wakelog

logging.basicConfig(format="%(levelname)s %(name)s %(message)s", level=logging.INFO)


def wait_for_the_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


def main(name: str, largest: int) -> None:
    ended = threading.Event()
    threading.Thread(target=wait_for_the_end, args=(ended,), daemon=True).start()
    log = wakelog.configure("clerk", service_name="shop", metadata={"recorder": name})
    number = 0
    while not ended.wait(0.002):
        text = "x" * (200 if number % 10 else largest)
        event = log.emit("custom", {"number": number, "text": text})
        assert event.receipt is not None
        os.write(1, f"{event.receipt.id}\n".encode())
        number += 1
    wakelog.shutdown(30)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
