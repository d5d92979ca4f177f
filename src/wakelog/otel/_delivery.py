"""Delivery: from the journal to the next hop, with proof.

A thread reads the journal by position and sends what is recorded now before what was left behind.
Only what the next hop has accepted, or what has been set aside as a dead letter, moves the ledger.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

from wakelog.errors import JournalError, WakelogError
from wakelog.journal import Chunk, Claim, Folder, Journal, set_aside_torn_tail
from wakelog.journal._background import Alarm, Background
from wakelog.journal._ledger import load
from wakelog.otel._circuit import Circuit, Clock, Throttle
from wakelog.otel._lane import Lane, WriterLanes
from wakelog.otel._outage import Outage
from wakelog.otel._quiet import quietly
from wakelog.otel._road import Road
from wakelog.otel._tally import Tally
from wakelog.otel._verdict import Outcome, Verdict

_log = logging.getLogger("wakelog")

# A batch stays below what servers take by default: gRPC's limit is 4 MiB.
_CHUNK_BYTES = 3 * 1024 * 1024
_PROBE_RECORDS = 8
_FIRST_SEARCH_PAUSE, _ORPHAN_SEARCH_SECONDS = 0.5, 10.0
# How long an exit waits for a sign of life from the next hop.
_PATIENCE_SECONDS = 0.8
# What is recorded now waits for one round of what was left behind, so that one is kept short.
_ROUND_SECONDS = 0.3
_LOOK_SECONDS = 0.05


class Sources(Protocol):
    """Where the records to deliver come from."""

    def live(self) -> list[Path]:
        """Return the folders that are being written now."""
        ...

    def gone(self) -> Iterator[Folder]:
        """Adopt, one by one, the folders of writers that are gone, oldest first."""
        ...


class OwnJournal:
    """This process's writer, and writers that are gone."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def live(self) -> list[Path]:
        """Return the folder of this process's writer, once it has written something."""
        writer = self._journal.writer
        return [] if writer is None or writer.seq == 0 else [writer.folder.path]

    def gone(self) -> Iterator[Folder]:
        """Adopt the folders of writers that are gone."""
        return self._journal.orphans()


class Delivery:
    """The thread that delivers, and what others may ask of it.

    ``_lock`` guards nothing but waiting for ``_changed``: the thread announces through it
    that it has got further or failed.

    Args:
        journal: This process's journal.
        road: The way to the next hop.
        endpoint: The next hop, in words, for reports.
        schedule_delay: Seconds between two looks into the journal while little is emitted.
        replay_rate: The most records a second of what was left behind; None for no limit.
        sources: What to deliver; this process's writer, and writers that are gone, by default.
        clock: Tells monotonic seconds.
        threaded: Whether a thread takes the turns; else the caller does.
        tally: Where what happens is counted for metrics, if it is.
    """

    def __init__(
        self,
        journal: Journal,
        road: Road,
        *,
        endpoint: str,
        schedule_delay: float,
        replay_rate: float | None = None,
        sources: Sources | None = None,
        clock: Clock = time.monotonic,
        threaded: bool = True,
        tally: Tally | None = None,
    ) -> None:
        self._journal = journal
        self._road = road
        self._endpoint = endpoint
        self._schedule_delay = schedule_delay
        self._replay_rate = replay_rate
        self._sources = sources or OwnJournal(journal)
        self._clock = clock
        self._threaded = threaded
        self._tally = tally
        self._reset()
        if tally is not None:
            tally.accounts.ask(self.lanes_of)
        after_fork = weakref.WeakMethod(self._after_fork)
        os.register_at_fork(after_in_child=lambda: (method := after_fork()) and method())
        self._start()

    def _reset(self) -> None:
        self._circuit = Circuit(self._clock)
        self._throttle = Throttle(self._replay_rate, self._clock)
        self._outage = Outage(self._endpoint, self._journal.root, self._clock)
        self._live: dict[Path, WriterLanes] = {}
        # One orphan at a time is adopted: there may be more of them than descriptors.
        self._orphan: WriterLanes | None = None
        self._candidates: Iterator[Folder] | None = None
        self._done: set[Path] = set()
        self._finished_some = False
        self._passed_over: set[Path] = set()
        self._next_search, self._search_pause = 0.0, _FIRST_SEARCH_PAUSE
        # Writers to look at before the next round: are they further than one round away?
        self._maybe_behind: set[Path] = set()
        self._replay_records = self._road.max_batch
        self._stopping = self._finished = False
        self._deadline = 0.0
        self._alarm = Alarm()
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._wake_at = self._road.max_batch
        self._thread = Background(self._run, "wakelog-delivery")
        self.settled = 0
        """How many records have been delivered or set aside."""
        self.dead_lettered = 0
        """How many of them were set aside."""

    @property
    def failing(self) -> bool:
        """Whether the last attempt failed."""
        return self._circuit.failing

    @property
    def reason(self) -> str:
        """Why the last attempt that failed did; empty while all is well."""
        return self._outage.reason if self.failing else ""

    @property
    def circuit_state(self) -> int:
        """0 while all is well, 1 while an attempt is due after a failure, 2 until it is."""
        return (2 if self._circuit.pause() > 0 else 1) if self.failing else 0

    @property
    def idle(self) -> bool:
        """Whether the last look found nothing more to deliver."""
        return self._idle

    _idle = False

    def accepted(self, seq: int) -> None:
        """Learn that this process's writer has got to ``seq``. Cheap: called for every record."""
        if seq >= self._wake_at:
            self._wake_at = seq + self._road.max_batch
            self._alarm.ring()
        if not self._thread.running:
            self._start()

    def flush(self, timeout: float) -> bool:
        """Wait until the next hop has accepted what this process has recorded so far.

        Args:
            timeout: The longest wait, in seconds.

        Returns:
            Whether that is so: a record that was set aside was not accepted.
        """
        writer = self._journal.writer
        if writer is None:
            return True
        target, path = writer.seq, writer.folder.path
        deadline = time.monotonic() + timeout
        if not self._is_settled(path, target):
            self._circuit.hurry()
            self._alarm.ring()
        with self._lock:
            while not self._is_settled(path, target):
                left = deadline - time.monotonic()
                if left <= 0 or self._finished:
                    return False
                # Somebody else may be delivering this writer, who does not announce it here.
                self._changed.wait(left if path in self._live else min(left, _LOOK_SECONDS))
        return self.has_delivered(path, target)

    def shutdown(self, timeout: float) -> None:
        """Deliver what is pending of this process, if the next hop takes it, and stop.

        Args:
            timeout: The longest wait, in seconds. It ends earlier when the next hop is known to
                fail or accepts nothing for 0.8 s: what is pending is in the journal.
        """
        begun = time.monotonic()
        self._deadline = begun + timeout
        self._stopping = True
        self._alarm.ring()
        with self._lock:
            while not self._at_rest() and not self.failing:
                alive = max(begun, self._road.last_success)
                left = min(self._deadline, alive + _PATIENCE_SECONDS) - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
        self._deadline = 0.0
        if self._at_rest():
            self._road.shutdown()
        else:
            self._road.interrupt()

    def has_delivered(self, path: Path, seq: int) -> bool:
        """Tell whether the next hop has accepted everything of a writer up to a record."""
        if seq == 0:
            return True
        lanes = self._live.get(path)
        if lanes is not None:
            return lanes.settled(seq) and not lanes.given_up
        mark = load(path, path.name)
        return mark.seq >= seq and not mark.dead_lettered and not mark.evicted

    def lanes_of(self, path: Path) -> WriterLanes | None:
        """Return the lanes of a writer's folder while they are open here."""
        lanes, orphan = self._live.get(path), self._orphan
        if lanes is None and orphan is not None and orphan.path == path:
            lanes = orphan
        return None if lanes is None or lanes.closed else lanes

    def turn(self) -> float:
        """Do what is due. Whatever goes wrong, it is noted, and tried again in another turn.

        Returns:
            The seconds until there may be more to do.
        """
        if (pause := self._circuit.pause()) > 0:
            return pause
        try:
            busy = self._work()
        except WakelogError as error:
            self._failed(Verdict(Outcome.PENDING, str(error)))
        except Exception:  # noqa: BLE001 - a delivery thread that dies once would stay dead
            self._failed(Verdict(Outcome.PENDING, "an error inside Wakelog, worth a report"))
            _log.exception("delivery hit an unexpected error and goes on")
        else:
            if busy:
                return 0.0
            if not self.failing:
                throttled = self._throttle.pause()
                self._idle = throttled == 0
                if self._idle:
                    self._outage.caught_up()
                self._announce()
                return min(self._schedule_delay, throttled or self._schedule_delay)
        return self._circuit.pause() or self._schedule_delay

    def close(self) -> None:
        """Let go of every writer: nothing is delivered after that."""
        for lanes in (*self._live.values(), *([self._orphan] if self._orphan else [])):
            lanes.close()

    def _is_settled(self, path: Path, seq: int) -> bool:
        if seq == 0:
            return True
        lanes = self._live.get(path)
        return lanes.settled(seq) if lanes is not None else load(path, path.name).seq >= seq

    def _at_rest(self) -> bool:
        """Tell whether the thread has ended, or never begun, as in a forked child."""
        return self._finished or not self._thread.running

    def _start(self) -> None:
        if self._threaded and not self._stopping:
            self._thread.start()  # where the interpreter is exiting, the record is in the journal

    def _run(self) -> None:
        with quietly():
            pause = self._schedule_delay
            while not self._stopping:
                self._alarm.wait(pause)
                if not self._stopping:
                    pause = self.turn()
            # What was accepted while the last round was under way.
            while not self.failing and time.monotonic() < self._deadline and self.turn() == 0:
                pass
            self.close()
            with self._lock:
                self._finished = True
                self._changed.notify_all()

    def _work(self) -> bool:
        """Send one round of what is recorded now and one of what was left behind.

        Returns:
            Whether there may be more to do at once.
        """
        self._idle = False
        self._follow_live()
        probing, before = self.failing, self._circuit.failures
        busy = False
        for lanes in self._live.values():
            if lanes.live is not None and self._send(lanes, lanes.live, self._road.max_queue):
                busy = True
            if self._circuit.failures > before or (probing and busy):
                return busy
        if self._throttle.pause() > 0:
            return busy
        for lanes in self._live.values():
            if lanes.replay is not None and self._replay(lanes, lanes.replay):
                return True
            if self._circuit.failures > before:
                return busy
        while not self._stopping and (orphan := self._next_orphan()) is not None:
            try:
                if orphan.replay is not None and self._replay(orphan, orphan.replay):
                    return True
                if self._circuit.failures > before:
                    return busy
                self._finish_orphan(orphan)
            except JournalError as error:
                self._pass_over(orphan, error)
        return busy

    def _follow_live(self) -> None:
        """Have lanes for every writer that is being written and that nobody else delivers."""
        paths = self._sources.live()
        own = self._journal.writer
        for path in [path for path in self._live if path not in paths]:
            self._live.pop(path).close()
        for path in paths:
            if path not in self._live and (claim := Claim.take(path)) is not None:
                self._live[path] = WriterLanes(claim)
                if own is None or path.name != own.id:
                    self._maybe_behind.add(path)
                    if self._tally is not None:
                        self._tally.accounts.adopt(self._live[path])
        if self._maybe_behind and not self.failing:
            for path in self._maybe_behind & self._live.keys():
                self._live[path].split_if_behind(self._road.max_queue)
            self._maybe_behind.clear()

    def _next_orphan(self) -> WriterLanes | None:
        """Return the oldest writer that is gone and not dealt with in this search."""
        while self._orphan is None:
            if self._candidates is None:
                now = self._clock()
                if now < self._next_search:
                    return None
                # Somebody who looks whether a folder is free holds its lock for that moment, so
                # the second look comes soon after the first.
                self._next_search = now + self._search_pause
                self._search_pause = min(2 * self._search_pause, _ORPHAN_SEARCH_SECONDS)
                self._candidates = self._sources.gone()
            folder = next(self._candidates, None)
            if folder is None:
                self._candidates = None
                self._clean_up()
                return None
            claim = None
            try:
                if folder.path not in self._done:
                    claim = Claim.take(folder.path)
            finally:
                if claim is None:
                    folder.release()
            if claim is not None:
                orphan = WriterLanes(claim, folder)
                if self._tally is not None:
                    self._tally.recovered["writer"] += folder.path not in self._passed_over
                    self._tally.accounts.adopt(orphan)
                self._orphan = orphan
        return self._orphan

    def _finish_orphan(self, orphan: WriterLanes) -> None:
        if set_aside_torn_tail(orphan.path) is not None:
            _log.warning("a line that a crash cut off is set aside in %s", orphan.path)
            if self._tally is not None:
                self._tally.recovered["torn_line"] += 1
        self._done.add(orphan.path)
        self._finished_some = True
        self._orphan = None
        orphan.close()

    def _clean_up(self) -> None:
        """Have what was delivered since the last search deleted, where it need not be kept."""
        if not self._finished_some:
            return
        self._finished_some = False
        try:
            self._journal.clean_up()
        except JournalError as error:
            _log.warning("%s", error)

    def _pass_over(self, orphan: WriterLanes, error: JournalError) -> None:
        """Leave a writer whose files cannot be used to the next search: others shall not wait."""
        self._orphan = None
        orphan.close()
        if orphan.path not in self._passed_over:
            self._passed_over.add(orphan.path)
            _log.warning("what a process left behind is not delivered for now: %s", error)

    def _replay(self, lanes: WriterLanes, lane: Lane) -> bool:
        begun = self._clock()
        before = self.settled
        sent = self._send(lanes, lane, self._throttle.allows(self._replay_records))
        took = self._clock() - begun
        self._throttle.sent(self.settled - before)
        if took > _ROUND_SECONDS:
            self._replay_records = max(self._road.max_batch // 4, self._replay_records // 2, 1)
        elif took < _ROUND_SECONDS / 2:
            self._replay_records = min(self._road.max_queue, self._replay_records * 2)
        return sent

    def _send(self, lanes: WriterLanes, lane: Lane, most: int) -> bool:
        """Send one round of a lane, and return whether there was anything to do."""
        most = min(most, _PROBE_RECORDS) if self.failing else most
        chunk = lane.read(most, _CHUNK_BYTES)
        if not chunk.entries:
            lanes.dealt_with(lane, chunk.mark, 0)
            self._count_damage(chunk)
            return bool(chunk.damaged) or lane.finished
        writer = self._journal.writer
        now = None
        try:
            now = self._road.send(
                chunk.entries,
                lanes.path,
                replayed=lane.replayed,
                position=None if writer is None else lambda: writer.seq,
                # A backlog is read while the next hop answers.
                meanwhile=partial(lane.read_ahead, most, _CHUNK_BYTES) if lane.replayed else None,
            )
            if now.settled == len(chunk.entries):
                lanes.dealt_with(lane, chunk.mark, now.dead)
                self._count_damage(chunk)
            elif now.settled:
                lanes.dealt_with(lane, chunk.entries[now.settled - 1].mark, now.dead)
        finally:
            if now is None or now.settled < len(chunk.entries):
                lane.rewind()
        if writer is not None and lanes.writer == writer.id and lane is lanes.live:
            self._wake_at = lane.mark.seq + self._road.max_batch
        self.settled += now.settled
        self.dead_lettered += now.dead
        if self._tally is not None:
            done = chunk.entries[: now.settled]
            self._tally.settled(done, now.dead, replayed=lane.replayed)
        if now.stopped is not None:
            self._outage.settled(now.settled)
            self._failed(now.stopped)
            return False
        self._circuit.succeeded()
        self._outage.settled(now.settled)
        self._announce()
        return True

    def _count_damage(self, chunk: Chunk) -> None:
        if self._tally is not None and chunk.damaged:
            self._tally.recovered["damaged_line"] += len(chunk.damaged)

    def _failed(self, verdict: Verdict) -> None:
        self._circuit.failed(verdict.retry_after)
        if self._tally is not None:
            self._tally.pauses.append(self._circuit.pause())
        self._outage.failed(verdict.reason)
        self._maybe_behind |= self._live.keys()
        self._announce()

    def _announce(self) -> None:
        with self._lock:
            self._changed.notify_all()

    def _after_fork(self) -> None:
        lanes = [*self._live.values(), *([self._orphan] if self._orphan else [])]
        self._reset()
        for one in lanes:  # the descriptors are the parent's; closing ours leaves its locks alone
            one.close()
