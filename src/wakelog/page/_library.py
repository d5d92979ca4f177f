"""Queries of the page to the index, in threads."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from wakelog.index import Index

_THREADS: Final = 2  # a text search may take a second, and must not delay other queries
Found = TypeVar("Found")


class Library:
    """Runs queries on the index of a path, which is updated before each.

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
        """Run a query on the index in a thread.

        Raises:
            JournalError: If the journal cannot be read.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, self._answer, question
        )

    async def do(self, work: Callable[[], Found]) -> Found:
        """Run a slow function in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        """Wait for running queries, and close the files."""
        self._threads.shutdown(cancel_futures=True)
        for index in self._all:
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
