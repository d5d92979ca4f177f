"""Sealing: when, by whom, what with threads, forks, crashes, deletions, and who holds seals elsewhere."""

from __future__ import annotations

import asyncio
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider

from tests.support.collector import Collector
from tests.support.sealed import RESOURCE, Sealed, key_files, verify
from tests.support.waiting import until
from wakelog.errors import ConfigurationError, JournalError
from wakelog.evidence import FileAnchor, Sealing, Signer, TimestampAnchor, seal_folder
from wakelog.evidence._merkle import Tree, leaf_of, path_of, root_of
from wakelog.evidence._seal_file import last_seal, read_seals
from wakelog.evidence._sealer import Sealer, Signing
from wakelog.journal import Journal, Space, folders, save_ledger
from wakelog.journal import books as books_of
from wakelog.otel import DurableLogRecordProcessor
from wakelog.record import encode, uuid7
from wakelog.storage import SEALS, segments

# The inputs and roots with which Certificate Transparency's implementations test their trees.
INPUTS = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_the_tree_is_that_of_rfc_9162() -> None:
    leaves = [leaf_of(bytes.fromhex(text)) for text in INPUTS]
    assert [root_of(b"".join(leaves[: n + 1])).hex() for n in range(len(leaves))] == ROOTS
    path = path_of(b"".join(leaves), 0)
    assert path == [leaves[1], root_of(b"".join(leaves[2:4])), root_of(b"".join(leaves[4:]))]


@settings(max_examples=15, deadline=None)
@given(
    size=st.sampled_from([0, 1, 4095, 4096, 4097, 8191, 8192, 12289, 16383]),
    parts=st.integers(1, 7),
)
def test_a_tree_that_takes_its_leaves_in_parts_has_the_same_root(size: int, parts: int) -> None:
    leaves = [leaf_of(b"%d" % number) for number in range(size)]
    tree = Tree()
    for part in range(parts):
        tree.add(b"".join(leaves[part * size // parts : (part + 1) * size // parts]))
    assert tree.finish() == root_of(b"".join(leaves))
    assert tree.size == size


def seals_of(root: Path) -> list[dict[str, Any]]:
    return [
        seal.fields
        for folder in folders(root)
        for _, _, seal in read_seals(folder)
        if seal is not None
    ]


def recording(
    tmp_path: Path, exporter: Any = None, interval: float = 0.05, **more: Any
) -> tuple[DurableLogRecordProcessor, Any]:
    if not (tmp_path / "seal.key").exists():
        key_files(tmp_path)
    sealing = Sealing(tmp_path / "seal.key", interval, (FileAnchor(tmp_path / "elsewhere.jsonl"),))
    durable = DurableLogRecordProcessor(
        exporter, 20, directory=tmp_path / "j", sealing=sealing, pipeline="p", **more
    )
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(durable)
    return durable, provider.get_logger("x")


def test_a_seal_is_made_by_interval_with_each_segment_and_at_the_end(
    tmp_path: Path, capsys: Any
) -> None:
    durable, logger = recording(tmp_path, segment_bytes=2000)
    logger.emit(LogRecord(body="one"))
    until(lambda: seals_of(tmp_path / "j"), "the seal of the interval")
    for number in range(40):
        logger.emit(LogRecord(body=f"event {number}"))
    durable.close(5)

    said = verify(tmp_path / "j", tmp_path / "seal.pub", capsys=capsys)
    [writer] = said["evidence"]["writers"]
    [folder] = folders(tmp_path / "j")
    assert said["fits"]
    assert (writer["last_seq"], writer["closed"], writer["unsealed"]) == (41, True, 0)
    assert {seal["segment"] for seal in seals_of(tmp_path / "j")} == set(segments(folder))
    assert len(segments(folder)) > 2


def test_with_a_long_interval_an_ended_segment_is_sealed_all_the_same(tmp_path: Path) -> None:
    durable, logger = recording(tmp_path, interval=3600, segment_bytes=2000)
    for number in range(40):
        logger.emit(LogRecord(body=f"event {number}"))

    until(lambda: seals_of(tmp_path / "j"), "the seal of an ended segment")
    durable.close(5)


def test_all_that_threads_record_is_sealed(tmp_path: Path, capsys: Any) -> None:
    durable, logger = recording(tmp_path, interval=0.01, segment_bytes=20_000)

    def emit() -> None:
        for number in range(200):
            logger.emit(LogRecord(body=f"event {number}"))

    threads = [threading.Thread(target=emit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    durable.close(5)

    said = verify(tmp_path / "j", tmp_path / "seal.pub", capsys=capsys)
    [writer] = said["evidence"]["writers"]
    assert (said["fits"], writer["last_seq"], writer["unsealed"]) == (True, 1600, 0)


def test_a_forked_child_seals_a_folder_of_its_own(tmp_path: Path, capsys: Any) -> None:
    durable, logger = recording(tmp_path)
    logger.emit(LogRecord(body="parent"))
    until(lambda: seals_of(tmp_path / "j"), "the parent's seal")
    child = os.fork()
    if child == 0:
        try:
            logger.emit(LogRecord(body="child"))
            durable.close(5)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    durable.close(5)

    said = verify(tmp_path / "j", tmp_path / "seal.pub", capsys=capsys)
    assert said["fits"]
    assert [one["closed"] for one in said["evidence"]["writers"]] == [True, True]
    assert [one["unsealed"] for one in said["evidence"]["writers"]] == [0, 0]


def killed(folder: Path, count: int = 5) -> Path:
    """Leave a writer whose process is gone, with some lines that nobody has sealed."""
    sealed = Sealed(folder)
    sealed.write(*(f"sealed {number}" for number in range(count)))
    sealed.seal()
    sealed.write(*(f"unsealed {number}" for number in range(count)))
    for writer in sealed.journal.open_writers:  # as the kernel does at the end of a process
        writer.abandon()
    return sealed.root


def test_what_a_crash_left_unsigned_is_attested_by_the_adopter_and_marked_so(
    tmp_path: Path, capsys: Any
) -> None:
    root = killed(tmp_path)
    public = tmp_path / "keys" / "seal.pub"
    before = verify(root, public, capsys=capsys)
    assert before["evidence"]["writers"][0]["unsealed"] == 5

    sealing = Sealing(tmp_path / "keys" / "seal.key", 3600)
    signer = sealing.signer()
    assert signer is not None
    sealer = Sealer(sealing, signer, export=False)
    journal = Journal(root, listener=sealer)
    sealer.watch(journal)
    journal.append(uuid7(), encode({"body": "the next process"}, 1 << 20), RESOURCE)
    sealer.adopt()
    journal.close()

    after = verify(root, public, capsys=capsys)
    gone = after["evidence"]["writers"][0]
    assert (after["fits"], gone["unsealed"], gone["adopted"], gone["closed"]) == (True, 0, 5, True)
    assert any("their process had ended" in sentence for sentence in after["evidence"]["shows"])


def test_a_signer_that_fails_costs_no_event_and_is_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    works = False
    good = Signer.from_file(key_files(tmp_path)[0])

    def sign(text: bytes) -> bytes:
        if not works:
            raise ConnectionError("the signing service is away")
        return good.sign(text)

    sealing = Sealing(Signer(sign, good.public_key), 3600)
    signing = Signing(sealing, Signer(sign, good.public_key), "process")
    journal = Journal(tmp_path / "j", listener=signing)
    receipt = journal.append(uuid7(), encode({"body": "x"}, 1 << 20), RESOURCE)
    [folder] = folders(tmp_path / "j")

    assert signing.seal(folder, "process") is None
    assert (receipt.seq, signing.failed, last_seal(folder)) == (1, 1, None)
    assert "the signing service is away" in caplog.text
    works = True
    assert signing.seal(folder, "process") is not None
    journal.close()


class Panic(BaseException):
    """As a library in Rust raises it."""


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, Panic])
@pytest.mark.parametrize("who", ["signer", "anchor"])
def test_sealing_goes_on_after_what_ends_threads(
    tmp_path: Path, error: type[BaseException], who: str
) -> None:
    key, _ = key_files(tmp_path)
    good = Signer.from_file(key)
    errors = [error("gone")]

    def once(who_asks: str) -> None:
        if who_asks == who and errors:
            raise errors.pop()

    def sign(text: bytes) -> bytes:
        once("signer")
        return good.sign(text)

    def anchor(seal: bytes) -> None:
        once("anchor")

    sealing = Sealing(Signer(sign, good.public_key), 0.01, (anchor,))
    processor = DurableLogRecordProcessor(None, directory=tmp_path / "j", sealing=sealing)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    provider.get_logger("tests").emit(LogRecord(body="one"))
    until(lambda: not errors)
    provider.get_logger("tests").emit(LogRecord(body="two"))
    [folder] = folders(tmp_path / "j")

    def is_sealed() -> bool:
        seal = last_seal(folder)
        return seal is not None and seal.last_seq == 2

    until(is_sealed)
    provider.shutdown()


@pytest.mark.parametrize("wrong", ["text", b"short", object()])
def test_a_signer_whose_public_key_cannot_be_one_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="32 bytes of an Ed25519 key"):
        Sealing(Signer(lambda text: text, wrong))


def test_a_seal_that_a_crash_cut_off_is_made_again(tmp_path: Path, capsys: Any) -> None:
    sealed = Sealed(tmp_path)
    sealed.write("one")
    sealed.seal()
    path = sealed.folder / SEALS
    whole = path.read_bytes()
    sealed.write("two")
    for cut in range(1, len(whole), 97):
        path.write_bytes(whole + whole[:cut])
        seal_folder(sealed.folder, sealed.signer, "process")  # as the next process does
        said = sealed.verify(capsys=capsys)
        assert said["fits"], (cut, said["misfits"])
        assert said["evidence"]["writers"][0]["seals"] == 2
    sealed.journal.close()


@pytest.mark.parametrize("place", range(1, 600, 37))
def test_a_seal_in_which_a_byte_is_changed_does_not_fit(
    tmp_path: Path, place: int, capsys: Any
) -> None:
    sealed = Sealed(tmp_path)
    sealed.write("one", "two")
    sealed.seal()
    sealed.journal.close()
    path = sealed.folder / SEALS
    text = bytearray(path.read_bytes())
    signed = text.index(b'","marks":')  # what stands behind it is a hint, and proves nothing
    text[place % signed] ^= 1
    path.write_bytes(text)

    assert not sealed.verify(capsys=capsys)["fits"]


# What is deleted on purpose


def delivered(sealed: Sealed) -> None:
    """Have a ledger say that everything is delivered."""
    from wakelog.journal import Cursor, Mark

    cursor = Cursor(sealed.folder, Mark(), complete=True)
    save_ledger(sealed.folder, sealed.folder.name, cursor.read(10_000, 1 << 30).mark)
    cursor.close()


def test_what_retention_deletes_is_signed_for(tmp_path: Path, capsys: Any) -> None:
    sealed = Sealed(tmp_path, space=Space(retention_bytes=1))
    sealed.write(*(f"event {number}" for number in range(40)))
    folder = sealed.folder
    delivered(sealed)
    before = len(segments(folder))
    sealed.journal.clean_up()
    assert len(segments(folder)) < before
    sealed.write("after")
    sealed.journal.close()

    said = sealed.verify("--anchors", sealed.anchor, capsys=capsys)
    [writer] = said["evidence"]["writers"]
    assert said["fits"], said["misfits"]
    assert writer["deleted"][-1]["reason"] == "retention"
    assert writer["last_seq"] == 41


def test_what_is_evicted_at_the_quota_is_signed_for(tmp_path: Path, capsys: Any) -> None:
    space = Space(quota_bytes=60_000, quota_policy="evict_oldest")
    sealed = Sealed(tmp_path, space=space, segment_bytes=7500)
    for number in range(300):
        sealed.write(f"event {number} " + "x" * 200)
    sealed.journal.close()

    said = sealed.verify(capsys=capsys)
    [writer] = said["evidence"]["writers"]
    assert said["fits"], said["misfits"]
    assert writer["deleted"][-1]["reason"] == "quota"
    assert books_of(sealed.root)[0].evicted > 0


def test_segments_that_go_without_a_signature_are_named(tmp_path: Path, capsys: Any) -> None:
    sealed = Sealed(tmp_path)
    sealed.write(*(f"event {number}" for number in range(40)))
    sealed.seal()
    sealed.journal.close()
    delivered(sealed)

    # Another process, which has no key, deletes nothing of it ...
    other = Journal(sealed.root, space=Space(retention_bytes=1, retention_age=0.001))
    before = segments(sealed.folder)
    other.clean_up()
    other.close()
    assert segments(sealed.folder) == before
    # ... and what somebody deletes by hand is missed.
    (sealed.folder / "00000001.jsonl").unlink()
    [misfit] = sealed.verify(capsys=capsys)["misfits"]
    assert "no signed line says that it was deleted" in misfit["what"]


def test_the_folder_of_a_dead_writer_keeps_its_seals_when_its_segments_go(
    tmp_path: Path, capsys: Any
) -> None:
    sealed = Sealed(tmp_path)
    sealed.write(*(f"event {number}" for number in range(10)))
    sealed.journal.close()
    delivered(sealed)
    folder = sealed.folder
    space = Space(retention_age=0.001, retention_bytes=1)
    other = Journal(sealed.root, space=space, listener=sealed.signing)
    other.clean_up()
    other.close()

    said = sealed.verify("--anchors", sealed.anchor, capsys=capsys)
    assert segments(folder) == []
    assert said["fits"], said["misfits"]
    assert said["evidence"]["writers"][0]["last_seq"] == 10


def test_nothing_is_deleted_when_the_deletion_cannot_be_signed(tmp_path: Path) -> None:
    good = Signer.from_file(key_files(tmp_path)[0])

    def sign(text: bytes) -> bytes:
        raise ConnectionError("away")

    signing = Signing(Sealing(good), Signer(sign, good.public_key), "process")
    journal = Journal(
        tmp_path / "j", segment_bytes=1500, listener=signing, space=Space(retention_bytes=1)
    )
    for _ in range(30):
        journal.append(uuid7(), encode({"body": "x"}, 1 << 20), RESOURCE)
    [folder] = folders(tmp_path / "j")
    from wakelog.journal import Cursor, Mark

    cursor = Cursor(folder, Mark())
    save_ledger(folder, folder.name, cursor.read(1000, 1 << 30).mark)
    cursor.close()
    before = segments(folder)

    with pytest.raises(JournalError, match="the signer failed"):
        journal.clean_up()
    assert segments(folder) == before
    journal.close()


# Settings


def test_a_key_that_cannot_be_used_is_refused_with_the_reason(tmp_path: Path) -> None:
    private, public = key_files(tmp_path)
    private.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        Sealing(private)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Sealing(tmp_path / "none")
    public.chmod(0o600)
    with pytest.raises(ConfigurationError, match="openssl genpkey"):
        Sealing(public)
    with pytest.raises(ConfigurationError, match="above 0"):
        Sealing(interval=0)


def test_variables_switch_sealing_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, _ = key_files(tmp_path)
    assert Sealing.from_environment() is None
    monkeypatch.setenv("WAKELOG_SEAL_KEY", str(private))
    monkeypatch.setenv("WAKELOG_SEAL_INTERVAL", "7")
    monkeypatch.setenv("WAKELOG_CHECKPOINTS", str(tmp_path / "c"))
    found = Sealing.from_environment()
    assert found == Sealing(str(private), 7.0, (FileAnchor(str(tmp_path / "c")),))
    monkeypatch.setenv("WAKELOG_SEALING", "false")
    assert Sealing.from_environment() is None
    monkeypatch.setenv("WAKELOG_SEALING", "true")
    monkeypatch.setenv("WAKELOG_SEAL_INTERVAL", "soon")
    with pytest.raises(ConfigurationError, match="WAKELOG_SEAL_INTERVAL='soon'"):
        Sealing.from_environment()


# Who holds seals elsewhere


def test_checkpoints_reach_a_collector_and_its_file_is_an_anchor(
    tmp_path: Path, collector: Collector, capsys: Any
) -> None:
    exporter = OTLPLogExporter(endpoint=f"{collector.http_endpoint}/v1/logs", timeout=2)
    durable, logger = recording(tmp_path, exporter, interval=3600)
    for number in range(5):
        logger.emit(LogRecord(body=f"event {number}"))
    durable.close(10)
    found = [one for one in collector.log_records() if one.event_name == "wakelog.checkpoint"]
    assert len(found) == 1
    logs = tmp_path / "collector" / "logs.jsonl"

    said = verify(tmp_path / "j", tmp_path / "seal.pub", "--anchors", logs, capsys=capsys)
    assert said["fits"], said["misfits"]
    assert said["evidence"]["anchored"] == 1
    [folder] = folders(tmp_path / "j")
    shutil.rmtree(folder)
    said = verify(tmp_path / "j", tmp_path / "seal.pub", "--anchors", logs, capsys=capsys)
    assert "folder is not there" in said["misfits"][0]["what"]


TSA_CONFIG = """
[tsa]
default_tsa = one
[one]
dir = {folder}
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = sha256
[ca]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
[stamping]
basicConstraints = CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
"""


class Authority:
    """A time-stamp authority: `openssl ts` behind HTTP."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.config = folder, folder / "tsa.cnf"
        self.root = folder / "ca.pem"
        self.config.write_text(TSA_CONFIG.format(folder=folder))
        (folder / "serial").write_text("01\n")
        run = self._openssl
        ec = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        run("req", "-x509", *ec, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=tests", "-days", "2",
            "-config", "/dev/null", "-addext", "basicConstraints=critical,CA:true")  # fmt: skip
        run(
            "req",
            *ec,
            "-keyout",
            "tsa.key",
            "-out",
            "tsa.csr",
            "-subj",
            "/CN=stamps",
            "-config",
            "/dev/null",
        )
        run("x509", "-req", "-in", "tsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", "tsa.pem", "-days", "2", "-extfile", str(self.config), "-extensions", "stamping")  # fmt: skip
        self.server = http.server.HTTPServer(("127.0.0.1", 0), self._handler())
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def _openssl(self, *command: str) -> None:
        done = subprocess.run(
            ["openssl", *command], cwd=self.folder, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        authority = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = authority.folder / "asked.tsq"
                asked.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
                authority._openssl(
                    "ts", "-reply", "-queryfile", "asked.tsq", "-out", "answer.tsr",
                    "-config", str(authority.config), "-section", "one",
                )  # fmt: skip
                self.send_response(200)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.end_headers()
                self.wfile.write((authority.folder / "answer.tsr").read_bytes())

            def log_message(self, *_: object) -> None:
                return

        return Handler


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine, which is the time-stamp authority here")
    made = Authority(tmp_path / "tsa")
    yield made
    made.close()


def test_a_time_stamp_authority_is_an_anchor(
    tmp_path: Path, authority: Authority, capsys: Any
) -> None:
    sealed = Sealed(tmp_path)
    stamps = tmp_path / "stamps.jsonl"
    sealed.write("one")
    sealed.seal()
    anchor = TimestampAnchor(authority.url, stamps)
    seal = last_seal(sealed.folder)
    assert seal is not None
    anchor(seal.text)
    anchor(seal.text)  # not due yet
    sealed.journal.close()
    assert len(stamps.read_text().splitlines()) == 1

    more = ("--anchors", stamps, "--tsa", authority.root)
    said = sealed.verify(*more, capsys=capsys)
    assert said["fits"], said["misfits"]
    assert said["evidence"]["writers"][0]["stamped"]
    assert any("time-stamp authority had" in one for one in said["evidence"]["shows"])
    # Without the authority's root nothing is claimed, and another's answer does not count.
    without = sealed.verify("--anchors", stamps, capsys=capsys)
    assert without["evidence"]["writers"][0]["stamped"] is None
    line = json.loads(stamps.read_text())
    line["rfc3161"] = b64encode(b"no answer").decode()
    stamps.write_text(json.dumps(line, separators=(",", ":")) + "\n")
    assert sealed.verify(*more, capsys=capsys)["evidence"]["writers"][0]["stamped"] is None


def test_a_seal_with_a_time_that_has_passed_long_before_its_stamp_is_named(
    tmp_path: Path, authority: Authority, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = time.time_ns() - 7200 * 10**9
    sealed = Sealed(tmp_path)
    sealed.write("one")
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: earlier)
        sealed.seal()
    sealed.journal.close()
    seal = next(seal for _, _, seal in read_seals(sealed.folder) if seal is not None)
    TimestampAnchor(authority.url, tmp_path / "stamps.jsonl")(seal.text)

    more = ("--anchors", tmp_path / "stamps.jsonl", "--tsa", authority.root)
    [misfit] = sealed.verify(*more, capsys=capsys)["misfits"]
    assert "may have been written later than it says" in misfit["what"]


def test_an_authority_that_is_away_costs_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    signer = Signer.from_file(key_files(tmp_path)[0])
    anchor = TimestampAnchor("http://127.0.0.1:1/", tmp_path / "stamps.jsonl", timeout=1)
    signing = Signing(Sealing(signer, anchors=(anchor,)), signer, "process")
    journal = Journal(tmp_path / "j", listener=signing)
    journal.append(uuid7(), encode({"body": "x"}, 1 << 20), RESOURCE)
    [folder] = folders(tmp_path / "j")

    assert signing.seal(folder, "process") is not None
    assert signing.failed == 1
    assert "an anchor did not store a seal" in caplog.text
    journal.close()


def test_a_killed_program_leaves_chains_that_fit(tmp_path: Path, capsys: Any) -> None:
    key_files(tmp_path)
    program = (
        "import wakelog, os; log = wakelog.configure('a', service_name='s')\n"
        "log.user_message('begun')\nprint('begun', flush=True)\n"
        "while True: log.user_message('event')\n"
    )
    env = {
        **os.environ,
        "WAKELOG_DIR": str(tmp_path / "j"),
        "WAKELOG_SEAL_KEY": str(tmp_path / "seal.key"),
        "WAKELOG_SEAL_INTERVAL": "0.05",
    }
    process = subprocess.Popen([sys.executable, "-c", program], env=env, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    until(lambda: seals_of(tmp_path / "j"), "a seal")
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()

    [folder] = folders(tmp_path / "j")
    signer = Signer.from_file(tmp_path / "seal.key")
    seal_folder(folder, signer, "adopter", closing=True)
    said = verify(tmp_path / "j", tmp_path / "seal.pub", capsys=capsys)
    assert said["fits"], said["misfits"]
    assert said["evidence"]["writers"][0]["unsealed"] == 0
