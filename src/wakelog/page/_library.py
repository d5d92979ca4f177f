"""Reading a journal for the page: questions to the index, each in a thread of its own."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from wakelog.index import Index

_THREADS: Final = 2  # a search of the text may take a second, and nobody else shall wait for it
Found = TypeVar("Found")


class Library:
    """Answers questions from the index of a path, which is brought up to date before each.

    Args:
        path: A journal, a writer's folder, or a file or directory of lines.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._own = threading.local()
        self._all: list[Index] = []
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="wakelog-page")

    async def ask(self, question: Callable[[Index], Found]) -> Found:
        """Ask the index something, in another thread.

        Raises:
            JournalError: When the journal cannot be read.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, self._answer, question
        )

    async def do(self, work: Callable[[], Found]) -> Found:
        """Do something that takes its time, in another thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        """Wait for the questions that are being answered, and close the files."""
        self._threads.shutdown(cancel_futures=True)
        for index in self._all:
            with suppress(
                Exception
            ):  # sqlite3 objects to another thread, and closes with the process
                index.close()

    def _answer(self, question: Callable[[Index], Found]) -> Found:
        index: Index | None = getattr(self._own, "index", None)
        if index is None:
            index = self._own.index = Index(self.path)
            with self._lock:
                self._all.append(index)
        else:
            index.refresh()
        try:
            return question(index)
        except sqlite3.DatabaseError as error:
            self._own.index = None
            raise index.failed(error) from error
