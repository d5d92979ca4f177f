"""Journals with everything in them that Wakelog writes, and random damage to their files."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from opentelemetry.sdk.resources import Resource as SDKResource
from opentelemetry.sdk.trace import TracerProvider

from tests.support.delivering import DOWN, RESOURCE, TAKEN, Bench, Hop, refuses
from tests.support.sealed import key_files
from wakelog import AgentEvent, JSONLSink
from wakelog.audit import JournalSessionLog, ThreadKey
from wakelog.cli import main
from wakelog.events import semconv as s
from wakelog.evidence import Sealing, Signer
from wakelog.evidence._sealer import Signing
from wakelog.gateway import create_with_callback
from wakelog.journal import Journal, Space, folders, read
from wakelog.otel import DurableSpanProcessor
from wakelog.record import encode, uuid7

LONG = "long " * 400
CONVERSATION, EVENTS = ThreadKey("acme", "t-1"), 14
TOKENS = (
    b"\n",
    b"\0",
    b"{}",
    b"[]",
    b"null",
    b'"',
    b"\\",
    b"}\n{",
    b"-1",
    b"1e400",
    b"18446744073709551615",
    b"9223372036854775808",
    b'{"id":"',
    b',"seq":0,',
    b',"crc":"00000000"}\n',
    b'{"$wakelog":"blob"}',
    b"\xff\xfe",
    b"[" * 2000,
)
# Files that say nothing: they are locked, or filled with bytes that are given up on a full disk.
_SILENT = {"lock", "delivery", "reserve"}


@dataclass
class Corpus:
    """Files as Wakelog has written them, in one folder.

    Attributes:
        path: The folder: `journal`, `events.jsonl`, `gateway` and `audit` are in it.
        key: The public key of the seals.
        bodies: What each log record of the journal says, by its id, where it is on its line.
        writers: The writer of each.
        delivered: The ids of those that the next hop has taken already.
        deliverable: The ids of those that it takes in the end when nothing is damaged.
        spans: The writers of spans.
        to_forward: The numbers of the gateway's events.
        forwarded: Those of the events that its callback has taken already.
    """

    path: Path
    key: Path
    bodies: dict[str, Any] = field(default_factory=dict)
    writers: dict[str, str] = field(default_factory=dict)
    delivered: set[str] = field(default_factory=set)
    deliverable: set[str] = field(default_factory=set)
    spans: set[str] = field(default_factory=set)
    to_forward: set[int] = field(default_factory=set)
    forwarded: set[int] = field(default_factory=set)

    @property
    def files(self) -> list[Path]:
        """Every file that says anything, relative to the folder."""
        return sorted(
            one.relative_to(self.path)
            for one in self.path.rglob("*")
            if one.is_file() and one.name not in _SILENT
        )


def make(folder: Path) -> Corpus:
    """Write everything once."""
    corpus = Corpus(folder / "whole", key_files(folder / "keys")[1])
    root = corpus.path / "journal"
    root.mkdir(parents=True)
    _swept_and_evicted(root)
    _delivered_and_dead_lettered(root, corpus)
    _half_delivered(root, corpus)
    _sealed(root, folder / "keys" / "seal.key")
    _spans(root)
    _named_file(corpus.path / "events.jsonl")
    asyncio.run(_gateway(corpus.path / "gateway", corpus))
    asyncio.run(_conversation(corpus.path / "audit"))
    assert main(["sessions", str(root)]) == 0  # makes the index
    for entry in read(root):
        record = entry.record
        corpus.writers[record.id] = entry.writer
        if record.signal == "span":
            corpus.spans.add(entry.writer)
        elif record.body != "bad":
            corpus.deliverable.add(record.id)
        # Content beside its line may be damaged without the line.
        if isinstance(record.body, str) and not record.body.startswith(("long", "sealed")):
            corpus.bodies[record.id] = record.body
    names = {one.name for one in corpus.files}
    assert {"swept", "deleted", "ledger", "dead_letters.jsonl", "seals.jsonl"} <= names
    return corpus


def _swept_and_evicted(root: Path) -> None:
    # Of the first writer nothing is left but the sum.
    bench = Bench(root, Hop(), segment_bytes=600)
    bench.record(*range(6))
    bench.drain()
    bench.close()
    space = Space(retention_age=0, retention_writers=0)
    Journal(root, space=space).clean_up()
    assert not list(folders(root))
    space = Space(quota_bytes=45_000, quota_policy="evict_oldest")
    journal = Journal(root, space=space, segment_bytes=700)
    for number in range(90):
        content = encode({"body": f"evicted or not {number} {'x' * 60}"}, 1 << 20)
        journal.append(uuid7(), content, RESOURCE)
    journal.close()


def _delivered_and_dead_lettered(root: Path, corpus: Corpus) -> None:
    bench = Bench(root, hop := Hop(refuses("bad")), segment_bytes=900, max_batch=4)
    bench.delivery._sources = _OnlyOwn(bench.journal)
    bench.record(*(f"good {number}" for number in range(5)), "bad", "good 6", "bad", "good 8")
    bench.drain()
    _note(hop, corpus)
    bench.close()


def _half_delivered(root: Path, corpus: Corpus) -> None:
    """An outage, after which what is new has gone out before what is old."""
    hop = Hop()
    bench = Bench(root, hop, segment_bytes=900, max_batch=4, max_queue=4)
    bench.delivery._sources = _OnlyOwn(bench.journal)
    bench.record(*(f"before {number}" for number in range(3)))
    bench.drain()
    hop.script = lambda _: DOWN
    bench.record(*(f"during {number}" for number in range(20)))
    bench.step(2)
    hop.script = lambda _: TAKEN
    bench.step()
    hop.script = lambda batch: TAKEN if all("after" in body for body in batch) else DOWN
    content = encode({"body": LONG}, 600)
    bench.step()
    bench.record("after 0", "after 1")
    bench.step(2)
    bench.journal.append(uuid7(), content, RESOURCE)
    _note(hop, corpus)
    bench.close()


class _OnlyOwn:
    """Leaves what other writers have left alone."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def live(self) -> list[Path]:
        return [writer.folder.path for writer in self._journal.open_writers if writer.seq]

    def gone(self) -> Any:
        return iter(())


def arrived_at(hop: Hop) -> set[str]:
    """Return the ids of the records that a next hop has taken, without stand-ins for dead letters."""
    taken = (record.log_record for record in hop.records)
    return {str((one.attributes or {})[s.LOG_RECORD_UID]) for one in taken if not one.event_name}


def _note(hop: Hop, corpus: Corpus) -> None:
    corpus.delivered |= arrived_at(hop)


def _sealed(root: Path, key: Path) -> None:
    signing = Signing(Sealing(key), Signer.from_file(key), "process")
    journal = Journal(root, segment_bytes=900, listener=signing)
    for number in range(6):
        content = encode({"body": f"sealed {number}"}, 1 << 20, apart=frozenset({"a"}))
        journal.append(uuid7(), content, RESOURCE)
        if number == 3:
            for writer in journal.open_writers:
                signing.seal(writer.folder.path, "process")
    journal.close()


def _spans(root: Path) -> None:
    for ends in (False, True):
        resource = SDKResource({"service.name": "tests"})
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        processor = DurableSpanProcessor(
            None, directory=root, segment_bytes=900, max_line_bytes=700, pipeline="default"
        )
        provider.add_span_processor(processor)
        tracer = provider.get_tracer("t")
        never_ended = tracer.start_span("never ended")
        for number in range(3):
            with tracer.start_as_current_span(f"span {number}") as span:
                span.add_event("e", {"text": LONG if number == 1 else "short"})
        if ends:
            never_ended.end()
        provider.shutdown()


def _named_file(path: Path) -> None:
    for number in range(2):
        with JSONLSink(path) as sink:
            for text in ("short", LONG * 150 * number):
                sink.write(AgentEvent("user_message", payload={"message": text}, session_id="s"))


async def _gateway(base: Path, corpus: Corpus) -> None:
    async def send(event: Any) -> bool:
        if len(corpus.forwarded) >= 3:
            return False
        corpus.forwarded.add(event["n"])
        return True

    logger = create_with_callback(send, str(base), retry_delay_seconds=0.01, pipeline="fuzz")
    for number in range(6):
        corpus.to_forward.add(number)
        await logger({"session_id": f"s-{number % 2}", "n": number})
    await asyncio.sleep(0.1)
    await logger.close()


async def _conversation(root: Path) -> None:
    log = JournalSessionLog(root, segment_bytes=900)
    for number in range(1, EVENTS + 1):
        event = AgentEvent("user_message", payload={"message": f"{number}"})
        assert await log.append(CONVERSATION, [event]) == number
        if number == EVENTS - 2:
            await log.archive_before(CONVERSATION, EVENTS // 2)
    log.close()


# Damage

Mutation = Callable[[random.Random, bytearray], None]


def _flip(rng: random.Random, data: bytearray) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(rng: random.Random, data: bytearray) -> None:
    data[rng.randrange(len(data))] = rng.randrange(256)


def _digit(rng: random.Random, data: bytearray) -> None:
    """Another digit in the place of one: what still reads well."""
    if places := [place for place, byte in enumerate(data) if byte in b"0123456789"]:
        data[rng.choice(places)] = rng.choice(b"0123456789")


def _cut(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data)) :]


def _remove(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.randint(1, 200)]


def _double(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data))
    data[start:start] = data[start : start + rng.randint(1, 500)]


def _insert(rng: random.Random, data: bytearray) -> None:
    place = rng.randrange(len(data) + 1)
    data[place:place] = rng.choice(TOKENS)


def _number(rng: random.Random, data: bytearray) -> None:
    """A number that is too large, negative or none in the place of one."""
    places = [
        place
        for place, byte in enumerate(data)
        if data[place - 1 : place] == b":" and byte in b"0123456789"
    ]
    if places:
        start = end = rng.choice(places)
        while end < len(data) and data[end] in b"0123456789":
            end += 1
        data[start:end] = rng.choice(TOKENS)


def _zeros(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data))
    length = min(rng.randint(1, 512), len(data) - start)
    data[start : start + length] = bytes(length)


def _swap_lines(rng: random.Random, data: bytearray) -> None:
    lines = data.split(b"\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    data[:] = b"\n".join(lines)


MUTATIONS: tuple[Mutation, ...] = (
    _flip, _set, _digit, _digit, _cut, _remove, _double, _insert, _number, _zeros, _swap_lines,
)  # fmt: skip


def _kind(name: Path) -> str:
    """What sort of file it is, so that each sort is damaged as often as any other."""
    if name.parts[0] != "journal":
        return "".join(c for c in str(name) if not c.isdigit())
    if name.parent.suffix == ".blobs":
        return "blob"
    return "segment" if name.name[0].isdigit() else name.name


def choose(rng: random.Random, files: list[Path]) -> list[Path]:
    """Choose one to three files of those that are there."""
    kinds: dict[str, list[Path]] = {}
    for name in files:
        kinds.setdefault(_kind(name), []).append(name)
    chosen = rng.choices(sorted(kinds), k=rng.choice((1, 1, 2, 3)))
    return sorted({rng.choice(kinds[kind]) for kind in chosen})


class Damage(NamedTuple):
    """What was done to a file, in words, and whether in one place alone."""

    what: str
    once: bool


def damage(rng: random.Random, path: Path, name: Path, files: list[Path]) -> Damage:
    """Damage a file.

    Args:
        rng: What decides.
        path: The folder.
        name: The file, relative to it.
        files: All its files, relative to it.

    Returns:
        What was done.
    """
    file = path / name
    way = rng.random()
    if way < 0.05:
        file.unlink()
        return Damage(f"{name}: deleted", once=True)
    if way < 0.1:
        other = rng.choice([one for one in files if one.parent == name.parent])
        file.write_bytes((path / other).read_bytes() if (path / other).exists() else b"")
        return Damage(f"{name}: replaced by {other.name}", once=False)
    changed = bytearray(file.read_bytes())
    done = []
    for mutation in rng.choices(MUTATIONS, k=rng.choice((1, 1, 1, 2, 5))):
        if changed:
            mutation(rng, changed)
            done.append(mutation.__name__.strip("_"))
    file.write_bytes(changed)
    return Damage(f"{name}: {', '.join(done)}", once=len(done) == 1)
