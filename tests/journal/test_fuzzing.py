"""Readers and recovery on files with random damage: an answer or an error of Wakelog's own, and never a wrong one."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import random
import re
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.attack import ATTACKING, SEED_VARIABLE
from tests.support.attack import SEED as SEED_OF_THE_RUN
from tests.support.delivering import Bench, Hop
from tests.support.fuzzing import CONVERSATION, Corpus, arrived_at, choose, damage, make
from wakelog import AgentEvent
from wakelog.audit import JournalSessionLog
from wakelog.cli import main
from wakelog.errors import WakelogError
from wakelog.events import semconv as s
from wakelog.gateway import create_with_callback
from wakelog.journal import books, read

# The same each time but under attack, so that no usual run depends on luck.
SEED = SEED_OF_THE_RUN if ATTACKING or os.environ.get(SEED_VARIABLE) else 1
EXECUTIONS = 6000 if ATTACKING else 60
SECONDS = 30
NEW = 99
COMMANDS = (
    "verify --keys {key}",
    "show",
    "show --json --full",
    "status --json",
    "sessions",
    "stats --json",
    "doctor",
    "dead-letters list",
    "prune",
    "export",
    "repair",
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make(tmp_path_factory.mktemp("corpus"))


@contextlib.contextmanager
def no_hang() -> Iterator[None]:
    """Fail where it takes longer than anything here may."""

    def fail(*_: object) -> None:
        raise TimeoutError(f"no answer within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def command(line: str, *paths: object) -> str:
    """Run a command, which has to succeed or say why it cannot, and return what it prints."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*line.split(), *map(str, paths)])
    assert code in (0, 1), (line, code)
    assert "Traceback" not in err.getvalue()
    return out.getvalue()


def records(path: Path) -> dict[str, Any]:
    found = {}
    with contextlib.suppress(WakelogError):
        for entry in read(path):
            found[entry.record.id] = entry.record.body
    return found


def check_books(root: Path) -> Counter[str]:
    """Return how many records of each writer are delivered, after holding the books against each other."""
    delivered: Counter[str] = Counter()
    for exact in (False, True):
        with contextlib.suppress(WakelogError):
            for one in books(root, exact=exact):
                figures = (one.delivered, one.pending, one.dead_lettered, one.evicted, one.corrupt)
                assert min(one.accepted, *figures) >= 0, one
                assert sum(figures) == one.accepted, one
                delivered[one.writer] = one.delivered
    return delivered


def check_journal(corpus: Corpus, root: Path, damaged: set[str], *, once: bool) -> None:
    """Read a damaged journal, deliver from it, mend it, and hold the answers against what was recorded.

    Args:
        corpus: What was recorded.
        root: The journal.
        damaged: The names of the damaged files.
        once: Whether each was damaged in one place. A line is believed where nothing is left to check it
            with, so a second damage behind the first may be read.
    """
    before = records(root)
    known = corpus.writers.keys()
    assert before.keys() <= known or not once, "a record that was never recorded"
    for line in COMMANDS:
        command(line.format(key=corpus.key), root)
    check_books(root)

    hop = Hop()
    with contextlib.suppress(WakelogError):
        bench = Bench(root, hop, max_batch=8)
        try:
            bench.drain(200)
        finally:
            bench.close()
    sent = arrived_at(hop)
    arrived = sent | corpus.delivered
    of_writer = Counter(corpus.writers[one] for one in arrived & known)
    delivered = check_books(root)
    if once:
        assert sent <= known, "a record that was never recorded"
        for record in hop.records:
            body = corpus.bodies.get(str((record.log_record.attributes or {})[s.LOG_RECORD_UID]))
            assert record.log_record.event_name or body in (None, record.log_record.body)
        for writer in {*corpus.writers.values()} - corpus.spans:
            assert delivered[writer] <= of_writer[writer], f"{writer}: not all of that has arrived"
    if damaged <= {"ledger"}:
        assert arrived >= corpus.deliverable, "records are missing after damage to a hint"

    command("repair --apply", root)
    assert records(root).keys() >= before.keys(), "repairing has cost a record"
    command("verify", root)


def check_index(corpus: Corpus, root: Path) -> None:
    """Ask for sessions and records through a damaged index."""
    whole = corpus.path / "journal"
    for line in ("sessions --json", "stats --json", "show --json"):
        assert command(line, root).replace(str(root), str(whole)) == command(line, whole), line


def check_named_file(path: Path) -> None:
    """Read a damaged file that a sink has written."""
    records(path)
    for line in ("show --json", "sessions", "stats"):
        command(line, path)


async def forwarded(base: Path, wanted: set[int]) -> set[int]:
    """Forward what a gateway's folder still has to be forwarded, until all that is wanted has been."""
    taken: set[int] = set()
    all_taken = asyncio.Event()

    async def take(event: Any) -> bool:
        taken.add(event["n"])
        if taken >= wanted:
            all_taken.set()
        return True

    async with create_with_callback(
        take, base, retry_delay_seconds=0.01, pipeline="fuzz"
    ) as logger:
        await logger({"session_id": "new", "n": NEW})
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(all_taken.wait(), 10)
        assert await logger.flush(10)
    return taken


def check_gateway(corpus: Corpus, base: Path, damaged: set[str]) -> None:
    """Start a gateway where another one has left damaged files."""
    wanted = {NEW}
    if all(name.endswith(".forwarded") for name in damaged):
        wanted |= corpus.to_forward - corpus.forwarded
    assert asyncio.run(forwarded(base, wanted)) >= wanted


async def check_conversation(root: Path, *, once: bool) -> None:
    """Read a damaged conversation, go on with it, and read it again."""
    log = JournalSessionLog(root, segment_bytes=900)
    try:
        for load in (log.load_archived, log.load_since):
            with contextlib.suppress(WakelogError):
                for one in await load(CONVERSATION):
                    assert one.event.payload == {"message": str(one.ordinal)} or not once
        with contextlib.suppress(WakelogError):
            event = AgentEvent("user_message", payload={"message": "new"})
            ordinal = await log.append(CONVERSATION, [event])
            read = {one.ordinal: one.event.payload for one in await log.load_since(CONVERSATION)}
            assert read[ordinal] == event.payload or not once
    finally:
        log.close()


def execute(corpus: Corpus, number: int, place: Path) -> None:
    """Damage a copy of the corpus and check what is made of it.

    Args:
        corpus: The files as they were written.
        number: Which execution; with the seed it decides what is damaged.
        place: Where to put the copy.
    """
    rng = random.Random(f"{SEED}/{number}")
    shutil.copytree(corpus.path, place)
    chosen = choose(rng, corpus.files)
    done = [damage(rng, place, name, corpus.files) for name in chosen]
    once = all(one.once for one in done)
    parts = {name.parts[0] for name in chosen}
    try:
        with no_hang():
            if [name.name for name in chosen] == ["index.sqlite"]:
                check_index(corpus, place / "journal")
            if "journal" in parts:
                ours = {name.name for name in chosen if name.parts[0] == "journal"}
                check_journal(corpus, place / "journal", ours, once=once)
            if "events.jsonl" in parts:
                check_named_file(place / "events.jsonl")
            if "audit" in parts:
                asyncio.run(check_conversation(place / "audit", once=once))
            if "gateway" in parts:
                ours = {name.name for name in chosen if name.parts[0] == "gateway"}
                check_gateway(corpus, place / "gateway", ours)
    except BaseException as error:
        error.add_note(
            f"WAKELOG_TEST_SEED={SEED}, execution {number}: {'; '.join(one.what for one in done)}"
        )
        raise
    shutil.rmtree(place)


def test_a_damaged_name_of_a_writer_in_one_session_s_file_holds_up_no_other(
    corpus: Corpus, tmp_path: Path
) -> None:
    base = tmp_path / "gateway"
    shutil.copytree(corpus.path / "gateway", base)
    [file] = (base / "s-1").glob("*.jsonl")
    file.write_bytes(re.sub(rb'("writer":")[^"]{8}', rb"\1" + bytes(8), file.read_bytes()))
    others = {number for number in corpus.to_forward - corpus.forwarded if number % 2 == 0}
    assert others

    assert asyncio.run(forwarded(base, {*others, NEW})) >= {*others, NEW}


@pytest.mark.attack
@pytest.mark.timeout(1200)
def test_whatever_is_damaged_the_answer_is_right_or_an_error_of_wakelog_s_own(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(logging.getLogger("wakelog"), "disabled", True)
    for number in range(EXECUTIONS):
        execute(corpus, number, tmp_path / "damaged")
    with capsys.disabled():
        print(f" {EXECUTIONS} executions, {len(corpus.files)} files, seed {SEED}", end=" ")
