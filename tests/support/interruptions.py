"""Interruptions: what a signal's handler does, at every moment at which it may come.

CPython runs the handlers of signals, and since 3.12 finalizers, where a function begins, where a call
returns and where a loop goes round. Here something happens at each such moment in Wakelog's code, and in
the standard library's threading, one after another.
"""

from __future__ import annotations

import dis
import sys
import threading
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from types import CodeType, FrameType
from typing import Any

import wakelog

_OURS = wakelog.__path__[0]
_SCOPE = (_OURS, threading.__file__)


class Interrupted(BaseException):
    """What a handler raises."""


class TimedOutError(TimeoutError):
    """What a handler raises that ends what takes too long: an ``OSError``, and none of the system's."""


def raise_interrupted() -> None:
    """Do what a handler does that raises, as Ctrl-C does."""
    raise Interrupted


def raise_timed_out() -> None:
    """Do what the handler of an alarm does."""
    raise TimedOutError


@lru_cache
def _moments(code: CodeType) -> frozenset[int]:
    """Return before which instructions of a function handlers may run.

    What a handler raises after a call is caught where the call stands, and here it is raised by the
    instruction that follows. So a call that is the last one of its ``try`` or ``with`` is left out.
    """
    instructions = list(dis.get_instructions(code))
    caught: Any = getattr(dis.Bytecode(code), "exception_entries")  # noqa: B009 - no stub has it

    def catcher(offset: int) -> object:
        return next((e.target for e in reversed(caught) if e.start <= offset < e.end), None)

    after = {
        following.offset
        for instruction, following in pairwise(instructions)
        if (
            instruction.opname == "RESUME"
            or (instruction.opname.startswith("CALL") and "INTRINSIC" not in instruction.opname)
        )
        and catcher(instruction.offset) == catcher(following.offset)
    }
    loops = {i.argval for i in instructions if i.opname.startswith("JUMP_BACKWARD")}
    return frozenset(after | loops)


class Interruption:
    """One interruption of an action.

    Args:
        happens: What happens; it may raise.
        moment: At which of the moments, from 0.
    """

    def __init__(self, happens: Callable[[], object], moment: int) -> None:
        self._happens, self._left = happens, moment
        self.came = False
        """Whether the action lasted to that moment."""
        self.where = ""
        """In which function it came, and in which line."""

    def of(self, action: Callable[[], object]) -> None:
        """Do something, and be in the way once."""
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            action()
        finally:
            sys.settrace(before)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if self.came or not frame.f_code.co_filename.startswith(_SCOPE):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode" and frame.f_lasti in _moments(frame.f_code):
            if self._left == 0:
                self.came = True
                self.where = f"{frame.f_code.co_qualname}, line {frame.f_lineno}"
                self._happens()
            self._left -= 1
        return self._trace
