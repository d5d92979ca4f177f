"""The key with another process alone: what programs without it delete, and what is signed of that."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider

from tests.support.sealed import RESOURCE, key_files, verify
from tests.support.waiting import until
from wakelog.cli import main
from wakelog.errors import QuotaExceededError
from wakelog.evidence import FileAnchor, OutsideSealer, Sealing, Signer
from wakelog.evidence._seal import make_seal
from wakelog.evidence._seal_file import read_seals
from wakelog.journal import Journal, Space, folders, wanted_deletion
from wakelog.otel import DurableLogRecordProcessor
from wakelog.record import encode, uuid7
from wakelog.storage import SEALS, segments

SPACE = Space(quota_bytes=60_000, quota_policy="evict_oldest")


def signer_of(tmp_path: Path, keep: float = 0.0) -> tuple[OutsideSealer, Path]:
    """Make what signs, in another process than the programs that record."""
    private, public = key_files(tmp_path / "keys")
    sealing = Sealing(private, anchors=(FileAnchor(tmp_path / "elsewhere.jsonl"),))
    signer = Signer.from_file(private)
    outside = OutsideSealer(tmp_path / "j", sealing, signer, lambda _: True, keep=keep)
    return outside, public


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[[int], DurableLogRecordProcessor]]:
    """A program that has been told that another process seals what it records."""
    durable = DurableLogRecordProcessor(
        None, directory=tmp_path / "j", sealing=Sealing(), pipeline="p", space=SPACE,
        segment_bytes=7500,
    )  # fmt: skip
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(durable)
    logger = provider.get_logger("x")

    def record(count: int) -> DurableLogRecordProcessor:
        for number in range(count):
            logger.emit(LogRecord(body=f"event {number} " + "x" * 300))
        return durable

    yield record
    durable.close(5)


Record = Callable[[int], DurableLogRecordProcessor]


def test_without_a_signature_nothing_is_deleted_and_the_quota_refuses(
    tmp_path: Path, program: Record, caplog: pytest.LogCaptureFixture
) -> None:
    durable = program(300)

    [folder] = folders(tmp_path / "j")
    assert segments(folder)[0] == 1
    assert wanted_deletion(folder) is not None
    assert durable.refused["QuotaExceededError"] > 50
    assert "wakelog ship --follow --seal-key" in caplog.text
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 60_000


def test_what_is_signed_for_is_deleted_and_recording_goes_on(
    tmp_path: Path, program: Record, capsys: Any
) -> None:
    outside, public = signer_of(tmp_path)
    durable = program(300)
    refused = durable.refused.total()
    [folder] = folders(tmp_path / "j")

    for _ in range(20):
        outside.seal_all()
        durable.journal._quota._tried_at = -1e9  # time has gone by
        program(10)
    assert durable.refused.total() < refused + 100
    assert segments(folder)[0] > 3
    durable.close(5)
    outside.seal_all()

    said = verify(tmp_path / "j", public, "--anchors", tmp_path / "elsewhere.jsonl", capsys=capsys)
    assert said["fits"], said["misfits"]
    [writer] = said["evidence"]["writers"]
    assert writer["deleted"][-1]["reason"] == "quota, asked for by the process"
    assert (writer["unsealed"], writer["closed"]) == (0, True)


def test_what_was_sealed_a_short_time_ago_is_not_signed_away(
    tmp_path: Path, program: Record
) -> None:
    outside, _ = signer_of(tmp_path, keep=3600)
    program(300)
    [folder] = folders(tmp_path / "j")
    outside.seal_all()
    before = segments(folder)
    outside.seal_all()
    program(50)

    assert segments(folder) == before
    assert all(seal is None or seal.kind == "seal" for _, _, seal in read_seals(folder))


def test_nobody_gets_a_signature_with_times_that_he_has_written_himself(
    tmp_path: Path, program: Record
) -> None:
    outside, _ = signer_of(tmp_path, keep=3600)
    program(300)
    [folder] = folders(tmp_path / "j")
    outside.seal_all()
    seals = [seal for _, _, seal in read_seals(folder) if seal is not None]
    other = Signer.from_file(key_files(tmp_path / "others")[0])
    with (folder / SEALS).open("wb") as file:
        previous = "0" * 64
        for seal in seals:
            fields = {n: v for n, v in seal.fields.items() if n != "signer"}
            fields.update(time="2020-01-01T00:00:00.000000000Z", previous=previous)
            forged = make_seal(fields, other.id, other.sign)
            previous = forged.digest
            file.write(forged.line())
    outside.seal_all()

    assert all(seal is None or seal.kind == "seal" for _, _, seal in read_seals(folder))


@pytest.mark.parametrize(
    "wish",
    [b"", b"[]", b'{"below":"3","reason":"x"}', b'{"below":-1,"reason":"x"}', b"\xff",
     b'{"below":true,"reason":"x"}', b'{"below":99999999999999,"reason":"' + b"x" * 5000 + b'"}'],
    ids=range(7),
)  # fmt: skip
def test_whatever_somebody_asks_for_costs_the_signer_nothing(
    tmp_path: Path, wish: bytes, capsys: Any
) -> None:
    outside, public = signer_of(tmp_path)
    journal = Journal(tmp_path / "j", segment_bytes=1500)
    for number in range(30):
        journal.append(uuid7(), encode({"body": number}, 1 << 20), RESOURCE)
    [folder] = folders(tmp_path / "j")
    (folder / "deletion_wanted").write_bytes(wish)
    outside.seal_all()
    journal.append(uuid7(), encode({"body": "later"}, 1 << 20), RESOURCE)
    outside.seal_all()
    journal.close()
    outside.seal_all()

    assert outside.failed == 0
    assert verify(tmp_path / "j", public, capsys=capsys)["fits"]


def test_a_program_that_knows_of_no_sealing_waits_too_once_somebody_seals_what_it_records(
    tmp_path: Path, capsys: Any
) -> None:
    outside, public = signer_of(tmp_path)
    journal = Journal(tmp_path / "j", segment_bytes=7500, space=SPACE)

    def record(count: int) -> None:
        for _ in range(count):
            with suppress(QuotaExceededError):
                journal.append(uuid7(), encode({"body": "x" * 300}, 1 << 20), RESOURCE)

    record(20)
    outside.seal_all()
    record(200)
    [folder] = folders(tmp_path / "j")
    assert segments(folder)[0] == 1
    outside.seal_all()
    outside.seal_all()
    journal.clean_up()
    record(100)
    assert segments(folder)[0] > 1
    journal.close()
    outside.seal_all()
    assert verify(tmp_path / "j", public, capsys=capsys)["fits"]


def test_prune_without_the_key_asks_nobody(tmp_path: Path) -> None:
    outside, _ = signer_of(tmp_path)
    journal = Journal(tmp_path / "j", segment_bytes=1500)
    for number in range(30):
        journal.append(uuid7(), encode({"body": number}, 1 << 20), RESOURCE)
    journal.close()
    outside.seal_all()
    [folder] = folders(tmp_path / "j")
    before = segments(folder)

    prune = ["prune", str(tmp_path / "j"), "--older-than", "0", "--undelivered", "--apply"]
    assert main(prune) == 0
    assert segments(folder) == before
    assert wanted_deletion(folder) is None


def test_a_restarted_signer_misses_seals_that_its_checkpoints_have(
    tmp_path: Path, capsys: Any
) -> None:
    from wakelog.cli._sealing import add_sealing, sealer_of

    outside, public = signer_of(tmp_path)
    journal = Journal(tmp_path / "j")
    for number in range(3):
        journal.append(uuid7(), encode({"body": number}, 1 << 20), RESOURCE)
        outside.seal_all()
    [folder] = folders(tmp_path / "j")
    first = (folder / SEALS).read_bytes().splitlines(keepends=True)[0]
    (folder / SEALS).write_bytes(first)
    journal.append(uuid7(), encode({"body": "later"}, 1 << 20), RESOURCE)

    parser = argparse.ArgumentParser()
    add_sealing(parser)
    key, elsewhere = str(tmp_path / "keys" / "seal.key"), str(tmp_path / "elsewhere.jsonl")
    given = ["--seal-key", key, "--checkpoints", elsewhere, "--seal-keep", "0"]
    sealer = sealer_of(tmp_path / "j", parser.parse_args(given), lambda _: True)
    assert sealer is not None
    with sealer.beside():
        pass
    journal.close()
    [misfit] = verify(tmp_path / "j", public, capsys=capsys)["misfits"]
    assert "the seal 2 is missing" in misfit["what"]


# Real processes

AGENT = """
import os, wakelog
log = wakelog.configure("a", service_name="s")
while True:
    receipt = log.user_message("x" * 200).receipt
    os.write(1, b"%d\\n" % (receipt.seq if receipt is not None else -1))
"""


class Agent:
    """A program that records as fast as it can, at a small quota and without the key."""

    def __init__(self, root: Path, quota: int = 400_000) -> None:
        env = {
            **os.environ,
            "WAKELOG_DIR": str(root),
            "WAKELOG_SEALING": "true",
            "WAKELOG_SEGMENT_BYTES": "20000",
            "WAKELOG_QUOTA_BYTES": str(quota),
            "WAKELOG_QUOTA_POLICY": "evict_oldest",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", AGENT],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.last = 0
        self.refused = 0
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            seq = int(line)
            self.last, self.refused = max(seq, self.last), self.refused + (seq < 0)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


def ship(root: Path, tmp_path: Path) -> subprocess.Popen[bytes]:
    """Sign beside the agents; nobody listens at the endpoint, so nothing is delivered."""
    command = [
        sys.executable, "-m", "wakelog", "ship", str(root), "--follow", "--all",
        "--endpoint", "http://127.0.0.1:9", "--protocol", "http/protobuf",
        "--seal-key", str(tmp_path / "keys" / "seal.key"), "--seal-interval", "0.05", "--seal-keep", "0",
        "--checkpoints", str(tmp_path / "elsewhere.jsonl"),
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def declared(root: Path) -> int:
    return sum(
        seal is not None and seal.kind == "deletion"
        for folder in folders(root)
        for _, _, seal in read_seals(folder)
    )


def more_declared(root: Path, before: int) -> bool:
    return declared(root) > before + 2


def any_goes_on(agents: list[Agent], at: list[int]) -> bool:
    return any(one.last > last for one, last in zip(agents, at, strict=True))


def test_agents_that_are_killed_and_a_signer_that_is_killed_leave_a_journal_that_fits(
    tmp_path: Path, capsys: Any
) -> None:
    _, public = key_files(tmp_path / "keys")
    root = tmp_path / "j"
    agents = [Agent(root), Agent(root)]
    shipping: list[subprocess.Popen[bytes]] = []
    acknowledged: list[int] = []
    try:
        # Nobody signs: the quota is reached, and nothing goes.
        until(lambda: all(one.refused for one in agents), "the quota", seconds=60)
        assert all(segments(folder)[:1] in ([], [1]) for folder in folders(root))
        for _ in range(2):
            shipping.append(ship(root, tmp_path))
            before, at = declared(root), [one.last for one in agents]
            until(partial(more_declared, root, before), "signed deletions", seconds=60)
            until(partial(any_goes_on, agents, at), "recording to go on", seconds=60)
            shipping[-1].kill()
            shipping[-1].wait()
            agents[0].kill()
            acknowledged.append(agents[0].last)
            agents[0] = Agent(root)
            until(lambda: agents[0].last > 0 or agents[0].refused > 0, "the next agent", seconds=60)
    finally:
        for process in shipping:
            process.kill()
            process.wait()
        for one in agents:
            one.kill()
            acknowledged.append(one.last)

    sealing = Sealing(tmp_path / "keys" / "seal.key")
    signer = sealing.signer()
    assert signer is not None
    OutsideSealer(root, sealing, signer, lambda _: True, keep=0).seal_all()
    said = verify(root, public, "--anchors", tmp_path / "elsewhere.jsonl", capsys=capsys)
    assert said["fits"], said["misfits"]
    # Folders with nothing but checkpoints, of what has shipped, need no seals.
    writers = [one for one in said["evidence"]["writers"] if one["seals"]]
    assert [one for one in writers if one["unsealed"]] == []
    # Where an agent was killed when it had just deleted everything, there is no line to close it with.
    left = [one["writer"] for one in writers if not one["closed"]]
    assert [name for name in left if segments(root / name)] == []
    assert any(one["deleted"] for one in writers)
    sealed = sorted((one["last_seq"] for one in writers), reverse=True)
    for reached, promised in zip(sealed, sorted(acknowledged, reverse=True), strict=False):
        assert reached >= promised
