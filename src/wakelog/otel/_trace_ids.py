"""Ids of traces and spans that differ between a forked child and its parent."""

from __future__ import annotations

import random

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import INVALID_SPAN_ID, INVALID_TRACE_ID

from wakelog.runtime import ForkOrder, notice_fork, noticed, reset_in_child


class TraceIds(RandomIdGenerator):
    """Generates random ids, also in children that were forked without Python's knowledge.

    The SDK's generator uses the module ``random``, which only Python's own fork hook reseeds: the
    workers of a server that forks in C would all generate the same ids.
    """

    def __init__(self) -> None:
        self._seed()
        reset_in_child(self._seed, ForkOrder.IDENTITY)

    def _seed(self) -> None:
        self._random = random.Random()  # noqa: S311 - ids are not secret

    def generate_span_id(self) -> int:
        """Return 64 random bits, not all of them 0."""
        if not noticed[0]:
            notice_fork()
        while (span_id := self._random.getrandbits(64)) == INVALID_SPAN_ID:
            pass
        return span_id

    def generate_trace_id(self) -> int:
        """Return 128 random bits, not all of them 0."""
        if not noticed[0]:
            notice_fork()
        while (trace_id := self._random.getrandbits(128)) == INVALID_TRACE_ID:
            pass
        return trace_id
