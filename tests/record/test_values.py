"""Any object may be recorded: it raises nothing into the agent, and is asked to do nothing."""

# The objects here break what types promise.
# mypy: disable-error-code="misc, assignment, method-assign, arg-type, dict-item, return-value, override, no-any-return"

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import enum
import logging
import sys
import threading
import types
from collections import ChainMap, OrderedDict, UserDict, UserList, UserString, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, MagicMock, Mock, create_autospec

import orjson
import pydantic
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

import wakelog
from tests.support.journaled import Journaled
from wakelog import (
    AgentEvent,
    AgentLogger,
    BufferedSink,
    JSONLSink,
    MemorySink,
    RedactionConfig,
    RedactionError,
    redact,
)
from wakelog.audit import InMemorySessionLog, SessionAuditSink, ThreadKey
from wakelog.gateway import EventSessionLogger
from wakelog.integrations.genai import WakelogCompletionHook
from wakelog.integrations.logging import WakelogHandler
from wakelog.integrations.structlog import WakelogProcessor
from wakelog.journal import read
from wakelog.record import decode, encode, kept, to_line

BOOM = "somebody else's object"


def boom(*_: object, **__: object) -> Any:
    raise RuntimeError(BOOM)


class Acts:
    """Does something when it is asked for what other libraries' objects are asked for."""

    done: list[str] = []  # noqa: RUF012 - shared on purpose

    def _act(self, name: str) -> Any:
        Acts.done.append(name)
        return {"side effect": name}

    def dict(self) -> Any:
        return self._act("dict")

    def tolist(self) -> Any:
        return self._act("tolist")

    def to_dict(self) -> Any:
        return self._act("to_dict")

    def model_dump(self) -> Any:
        return self._act("model_dump")

    def _asdict(self) -> Any:
        return self._act("_asdict")

    def json(self) -> Any:
        return self._act("json")

    def items(self) -> Any:
        return self._act("items")

    def keys(self) -> Any:
        return self._act("keys")

    def __iter__(self) -> Any:
        return self._act("__iter__")

    def __len__(self) -> int:
        self._act("__len__")
        return 0

    def __bool__(self) -> bool:
        self._act("__bool__")
        return False

    def __eq__(self, other: object) -> bool:
        self._act("__eq__")
        return True

    def __hash__(self) -> int:
        return 1

    @property
    def value(self) -> Any:
        return self._act("value")

    @property
    def __dataclass_fields__(self) -> Any:
        return self._act("__dataclass_fields__")


class Proxy:
    """Answers whatever it is asked, as a proxy of something remote does."""

    asked: list[str] = []  # noqa: RUF012 - shared on purpose

    def __getattr__(self, name: str) -> Any:
        Proxy.asked.append(name)
        return lambda *_, **__: Proxy.asked.append(f"{name}()")


class Hostile:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    __str__ = __repr__ = __iter__ = __len__ = __bool__ = __eq__ = __hash__ = __fspath__ = boom


class Liar:
    def __init__(self, claimed: type) -> None:
        self.claimed = claimed

    @property
    def __class__(self) -> Any:
        return self.claimed


class RaisingClass:
    @property
    def __class__(self) -> Any:
        raise RuntimeError(BOOM)


class RaisingMeta(type):
    def __getattribute__(cls, name: str) -> Any:
        raise RuntimeError(name)

    __subclasscheck__ = __instancecheck__ = __hash__ = boom


class OfRaisingMeta(metaclass=RaisingMeta):
    pass


class RaisingMapping(Mapping[str, int]):
    __getitem__ = __iter__ = __len__ = boom


class HalfMapping(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        return boom() if key == "b" else 1

    def __iter__(self) -> Iterator[str]:
        return iter("abc")

    __len__ = boom


class EndlessSequence(Sequence[int]):
    def __getitem__(self, index: Any) -> Any:
        return index

    __len__ = boom


class Unfolding(Mapping[str, object]):
    """Gives two new ones of its kind, for ever."""

    def __getitem__(self, key: str) -> object:
        return Unfolding()

    def __iter__(self) -> Iterator[str]:
        return iter("ab")

    __len__ = boom


@dataclasses.dataclass
class RaisingField:
    a: int = 1
    b: int = 2

    def __getattribute__(self, name: str) -> Any:
        return boom() if name == "__dict__" else object.__getattribute__(self, name)

    @property
    def c(self) -> int:
        return boom()


RaisingField.b = property(boom, lambda *_: None)


@dataclasses.dataclass
class RaisingInstance:
    a: int = 1
    __getattribute__ = boom
    __repr__ = boom


class Model(pydantic.BaseModel):
    a: int = 1

    @pydantic.computed_field
    @property
    def total(self) -> float:
        raise RuntimeError(BOOM)


class TextModel(Model):
    def __str__(self) -> str:
        return "its own text"


class SerializedModel(pydantic.BaseModel):
    secret: str = pydantic.Field("hidden", exclude=True)
    a: int = 1

    @pydantic.field_serializer("a")
    def _a(self, _: int) -> int:
        raise RuntimeError(BOOM)


class RaisingValue(enum.Enum):
    RED = 1

    @property
    def value(self) -> Any:
        raise RuntimeError(BOOM)


class RaisingStr(str):
    __slots__ = ()
    __str__ = __repr__ = __len__ = __iter__ = encode = isascii = boom


class RaisingInt(int):
    __int__ = __index__ = __str__ = __repr__ = __eq__ = __lt__ = __hash__ = boom


class RaisingDict(dict[str, object]):
    __iter__ = __getitem__ = __len__ = items = keys = values = get = copy = boom


class RaisingList(list[object]):
    __iter__ = __getitem__ = __len__ = __bool__ = boom


class RaisingZone(dt.tzinfo):
    utcoffset = dst = tzname = boom


class RaisingPath:
    __fspath__ = boom
    __repr__ = boom


class RaisingError(Exception):
    __str__ = __repr__ = __getattribute__ = boom


class NotText:
    def __str__(self) -> str:
        return 5  # noqa: PLE0307 - on purpose


class OddText:
    def __str__(self) -> str:
        return RaisingStr("odd")


class Deep:
    def __repr__(self) -> str:
        return repr(self)


def released() -> memoryview:
    view = memoryview(b"x")
    view.release()
    return view


def generator() -> Iterator[int]:
    Acts.done.append("generator")
    yield 1


# What each is on a line; None where only that it comes out is said.
OBJECTS: dict[str, tuple[Callable[[], Any], Any]] = {
    "object that acts": (Acts, f"<{__name__}.Acts object>"),
    "proxy": (Proxy, f"<{__name__}.Proxy object>"),
    "hostile": (Hostile, f"<{__name__}.Hostile object>"),
    **{
        f"liar about {kind.__name__}": ((lambda kind=kind: Liar(kind)), f"<{__name__}.Liar object>")
        for kind in (str, int, float, bytes, dict, list, tuple, enum.Enum, dt.datetime, AgentEvent, type(None))
    },
    "raising __class__": (RaisingClass, f"<{__name__}.RaisingClass object>"),
    "raising metaclass": (OfRaisingMeta, f"<{__name__}.OfRaisingMeta object>"),
    "class of a raising metaclass": (lambda: OfRaisingMeta, None),
    "raising mapping": (RaisingMapping, f"<{__name__}.RaisingMapping object>"),
    "mapping that raises for a key": (HalfMapping, {"a": 1, "b": "[wakelog: RuntimeError while it was read]", "c": 1}),
    "dataclass with a raising field": (RaisingField, {"a": 1, "b": "[wakelog: RuntimeError while it was read]"}),
    "dataclass that raises": (RaisingInstance, {"a": 1}),
    "model": (Model, {"a": 1}),
    "model with a text": (TextModel, "its own text"),
    "model with a serializer": (SerializedModel, {"a": 1}),
    "enum": (lambda: RaisingValue.RED, 1),
    "str": (lambda: RaisingStr("text"), "text"),
    "int": (lambda: RaisingInt(7), 7),
    "dict": (lambda: RaisingDict(a=1), {"a": 1}),
    "list": (lambda: RaisingList([1]), [1]),
    "datetime of a raising zone": (lambda: dt.datetime(2026, 1, 2, tzinfo=RaisingZone()), None),
    "path": (RaisingPath, f"<{__name__}.RaisingPath object>"),
    "exception": (RaisingError, f"<{__name__}.RaisingError object>"),
    "text that is none": (NotText, f"<{__name__}.NotText object>"),
    "text of a subclass": (OddText, "odd"),
    "text without an end": (Deep, f"<{__name__}.Deep object>"),
    "released memory": (released, None),
    "generator": (generator, None),
    "mock": (Mock, None),
    "magic mock": (MagicMock, None),
    "async mock": (AsyncMock, None),
    "specified mock": (lambda: create_autospec(pydantic.BaseModel, instance=True), None),
    "mock of a mapping": (lambda: MagicMock(spec=dict), None),
    "lock": (threading.Lock, None),
    "module": (lambda: sys, None),
    "function": (lambda: boom, None),
    "type": (lambda: int, "<class 'int'>"),
    "array": (lambda: __import__("array").array("i", [1, 2]), [1, 2]),
    "namespace": (lambda: types.SimpleNamespace(a=Hostile()), "<types.SimpleNamespace object>"),
    "ordered dict": (lambda: OrderedDict(a=1), {"a": 1}),
    "user dict": (lambda: UserDict(a=1), {"a": 1}),
    "user list": (lambda: UserList([1]), [1]),
    "user string": (lambda: UserString("text"), "text"),
    "chain map": (lambda: ChainMap({"a": 1}), {"a": 1}),
    "deque": (lambda: deque([1]), [1]),
    "values": ({"a": 1}.values, [1]),
    "range": (lambda: range(3), "range(0, 3)"),
    "default dict": (lambda: defaultdict(list, a=[1]), {"a": [1]}),
    "unhashable as a key": (lambda: {types.SimpleNamespace: 1}, {"<class 'types.SimpleNamespace'>": 1}),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_acts() -> Iterator[None]:
    Acts.done.clear()
    Proxy.asked.clear()
    yield
    assert Acts.done == []
    assert Proxy.asked == []


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_has_its_form_on_a_line(name: str) -> None:
    make, form = OBJECTS[name]

    line = encode({"body": make()}, 2**20)

    body: Any = decode(b'{"id":"1"%b}' % line).body
    if form is not None:
        assert body == form
    assert orjson.dumps(to_line(make()))


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize(
    "inside", [lambda v: v, lambda v: [v], lambda v: {"k": (v,)}, lambda v: {"password": v}]
)
def test_redaction_raises_for_no_object(name: str, inside: Callable[[Any], Any]) -> None:
    redacted = redact(inside(OBJECTS[name][0]()))

    assert orjson.dumps(to_line(redacted))


@pytest.mark.parametrize("name", [name for name in OBJECTS if "unhashable" not in name])
def test_redaction_raises_for_no_key(name: str) -> None:
    value = OBJECTS[name][0]()
    try:
        given = {value: "a@b.example"}
    except Exception:
        return

    assert "a@b.example" not in orjson.dumps(to_line(redact(given))).decode()


@pytest.mark.parametrize("redacted", [True, False], ids=["redacted", "as it is"])
@pytest.mark.parametrize("name", OBJECTS)
def test_the_tool_runs_whatever_it_is_given_returns_or_raises(
    tmp_path: Path, name: str, redacted: bool
) -> None:
    value = OBJECTS[name][0]()
    journaled = Journaled(tmp_path / "journal")
    ran: list[int] = []
    memory, log = MemorySink(), journaled.log
    file = JSONLSink(tmp_path / "events.jsonl")
    for sink in (log.sink, memory, file, BufferedSink(memory)):
        log = AgentLogger("a", sink=sink, redact_payloads=redacted)

        @log.tool
        def act(one: object, *, two: object) -> object:
            ran.append(1)
            return one

        assert act(value, two=[value]) is value
        with log.run(value, metadata={"v": value}), wakelog.bound(session_id=value, tier=value):
            with log.model("m", input=value) as call:
                call.respond(value, finish_reasons=value, extra=value)
            with log.tool("t", value, attributes={"v": value}) as tool:
                assert tool.result(value) is value
            log.emit("custom", {"v": value}, risk={"v": value})
            log.emit("custom", value)
            log.tool_call("t", value)
            log.tool_result("t", value)
        if isinstance(sink, BufferedSink):
            sink.close()
    file.close()

    assert len(ran) == 4
    assert len(journaled.records()) == 12
    assert len(list(read(tmp_path / "events.jsonl"))) == 12
    assert len(memory.events) == 24
    journaled.close()


@pytest.mark.parametrize("name", OBJECTS)
def test_logging_records_any_object(tmp_path: Path, name: str) -> None:
    value = OBJECTS[name][0]()
    journaled = Journaled(tmp_path)
    handler, processor = WakelogHandler(log=journaled.log), WakelogProcessor(journaled.log)
    logger = logging.Logger("tests.shop")  # noqa: LOG001 - one that no other test sees
    logger.addHandler(handler)

    logger.info("x", extra={"v": value, "event_type": value, "payload": value})
    logger.info(
        "x",
        extra={"event_type": "tool_call", "tool": value, "payload": {"v": value}, "risk": value},
    )
    for key in ("event", "v", "level", "logger", "timestamp", "exc_info", "positional_args"):
        processor(None, "info", {"event": "x", key: value})
    structlog.wrap_logger(
        logger, processors=[structlog.stdlib.ProcessorFormatter.wrap_for_formatter]
    ).info("x", v=value)

    assert (handler.refused, processor.refused) == ({}, {})
    assert len(journaled.records()) == 10
    journaled.close()


@pytest.mark.parametrize("redacted", [True, False], ids=["redacted", "as it is"])
@pytest.mark.parametrize("name", OBJECTS)
def test_the_gateway_and_audit_record_any_object(tmp_path: Path, name: str, redacted: bool) -> None:
    value = OBJECTS[name][0]()
    log = InMemorySessionLog()
    sink = SessionAuditSink(log, ThreadKey("t", "s"))

    async def run() -> int:
        gateway = EventSessionLogger(tmp_path, redact_payloads=redacted)
        for event in (value, {"session_id": "s", "v": value}, {"session_id": value}):
            assert await gateway(event)
        await gateway.close()
        sink.emit("custom", {"v": value}, attributes={"v": value})
        return len(await log.load_since(ThreadKey("t", "s")))

    assert asyncio.run(run()) == 1
    assert sink.counts().failed == 0


@pytest.mark.parametrize("name", OBJECTS)
def test_messages_of_an_instrumentation_may_hold_any_object(tmp_path: Path, name: str) -> None:
    value = OBJECTS[name][0]()
    journaled = Journaled(tmp_path)
    hook = WakelogCompletionHook(journaled.log)

    hook.on_completion(inputs=[value], outputs=[[value]], system_instruction=[])

    assert hook.refused == {}
    assert len(journaled.records()) == 1
    journaled.close()


def test_an_exception_that_raises_from_everything_is_recorded_and_goes_on(tmp_path: Path) -> None:
    journaled = Journaled(tmp_path)

    with pytest.raises(RaisingError), journaled.log.run(), journaled.log.tool("t"):
        raise RaisingError
    journaled.log.error(RaisingError())

    kinds = [record.event_name for record in journaled.records()]
    assert kinds.count("wakelog.error") == 2
    assert len(kinds) == 6
    journaled.close()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_what_is_to_end_the_program_is_not_swallowed(error: type[BaseException]) -> None:
    class Interrupted:
        def __str__(self) -> str:
            raise error

    for convert in (to_line, kept, redact):
        with pytest.raises(error):
            convert([Interrupted()])


def test_only_the_callers_own_detector_makes_redaction_fail(tmp_path: Path) -> None:
    class Fails:
        def redact(self, value: str, strategy: object) -> str:
            raise RuntimeError(BOOM)

    log = AgentLogger(
        "a", sink=MemorySink(), redaction_config=RedactionConfig(detectors=(Fails(),))
    )

    with pytest.raises(RedactionError):
        log.emit("custom", {"v": "x"})


def test_a_value_that_unfolds_for_ever_ends() -> None:
    for convert in (to_line, kept):
        assert orjson.dumps(to_line(convert({"a": Unfolding(), "b": EndlessSequence()})))


def test_another_thread_may_change_what_is_being_recorded() -> None:
    value: dict[int, Any] = {n: {"n": [n]} for n in range(100)}
    names: set[int] = set(range(100))
    stop = threading.Event()

    def change() -> None:
        number = 100
        while not stop.is_set():
            number += 1
            value[number] = {"n": [number]}
            names.add(number)
            value.pop(number - 100, None)
            names.discard(number - 100)

    threads = [threading.Thread(target=change) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(300):
            for convert in (to_line, kept, redact):
                convert({"value": value, "names": names})
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_numpys_arrays_and_numbers_are_lists_and_numbers() -> None:
    numpy = pytest.importorskip("numpy")

    assert to_line(numpy.array([[1, 2], [3, 4]])) == [[1, 2], [3, 4]]
    assert to_line([numpy.float32(0.5), numpy.int64(7), numpy.bool_(True)]) == [0.5, 7, True]
    assert redact({"v": numpy.array(["a@b.example"])}) == {"v": ["[REDACTED]"]}


class Named(str):
    """Stands for one of the objects, which Hypothesis itself could not handle."""

    __slots__ = ()


def with_objects(value: Any) -> Any:
    match value:
        case Named():
            return OBJECTS[str(value)][0]()
        case dict():
            return {key: with_objects(item) for key, item in value.items()}
        case list():
            return [with_objects(item) for item in value]
        case tuple():
            return tuple(with_objects(item) for item in value)
    return value


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    | st.datetimes() | st.uuids() | st.decimals() | st.sampled_from(list(OBJECTS)).map(Named),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    | st.tuples(inner, inner),
    max_leaves=12,
)  # fmt: skip


@given(PLAIN)
@settings(deadline=None, max_examples=200)
def test_any_value_has_a_line_and_a_copy_that_has_one(value: Any) -> None:
    copy = kept(with_objects(value))

    assert orjson.dumps(to_line(with_objects(value)))
    assert encode({"body": copy}, 2**24)
    assert orjson.dumps(to_line(redact(copy)))
    assert to_line(kept(copy)) == to_line(copy)
