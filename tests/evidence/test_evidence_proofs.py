"""What is handed to third parties: the proof of one event, a person's content that is gone, who signs outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider

from tests.support.attack import times
from tests.support.collector import Collector
from tests.support.sealed import Sealed, key_files, verify
from wakelog.cli import main
from wakelog.evidence import Sealing, Signer, prove, seal_folder, verify_proof
from wakelog.evidence._merkle import leaf_of, path_of, root_of
from wakelog.evidence._seal import make_seal
from wakelog.evidence._seal_file import read_seals
from wakelog.journal import (
    Cursor,
    Folder,
    Mark,
    dead_letters,
    folders,
    read,
    save_ledger,
    write_dead_letter,
)
from wakelog.otel import DurableLogRecordProcessor, DurableSpanProcessor
from wakelog.record import erased_part, salted_part, sealed_form
from wakelog.storage import segments

# One event


def ids(root: Path) -> list[str]:
    return [entry.record.id for entry in read(root)]


def checked(folder: Path, key: Path) -> subprocess.CompletedProcess[str]:
    """Run the verifier as somebody does who has no Wakelog."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "verify_proof.py", "proof.json", "event.jsonl", str(key)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_each_event_is_proved_with_nothing_but_python_and_the_key(
    tmp_path: Path, capsys: Any
) -> None:
    sealed = Sealed(tmp_path)
    for count in (1, 2, 3, 7, 8):
        sealed.write(*(f"event {number}" for number in range(count)))
        sealed.seal()
    sealed.journal.close()
    pem = sealed.public.read_text()
    for event in ids(sealed.root):
        proof = prove(sealed.root, event)
        said = verify_proof.check(json.loads(proof.bundle), proof.line, pem)
        assert said["writer"] == sealed.folder.name
        assert len(proof.bundle) <= 2000

    out = tmp_path / "proof"
    assert main(["prove", event, str(sealed.root), "--output", str(out)]) == 0
    done = checked(out, sealed.public)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("PROVED: this event is line ")


def test_a_proof_of_anything_else_is_refused(tmp_path: Path) -> None:
    sealed = Sealed(tmp_path)
    sealed.write("one", "two", "three")
    sealed.journal.close()
    _, others = key_files(tmp_path, "others")
    first, second, _ = ids(sealed.root)
    proof, other = prove(sealed.root, first), prove(sealed.root, second)
    bundle, pem = json.loads(proof.bundle), sealed.public.read_text()
    wrong = [
        (bundle, other.line, pem),
        (bundle, proof.line.replace(b"one", b"two"), pem),
        (bundle, proof.line, others.read_text()),
        ({**bundle, "index": bundle["index"] + 1}, proof.line, pem),
        ({**bundle, "path": b64encode(b64decode(bundle["path"])[32:]).decode()}, proof.line, pem),
        ({**bundle, "seal": bundle["seal"].replace('"lines":4', '"lines":5')}, proof.line, pem),
        ({**bundle, "seal": bundle["seal"].replace('"process"', '"adopter"')}, proof.line, pem),
    ]
    for attempt in wrong:
        with pytest.raises(ValueError, match=r"fit|not|too"):
            verify_proof.check(*attempt)


def test_a_proof_from_sixteen_million_lines_has_at_most_2_kb() -> None:
    leaves = b"".join(leaf_of(b"%d" % n) for n in range(1000))
    path, key = path_of(leaves, 500), Ed25519PrivateKey.generate()
    fields = {
        "kind": "seal", "number": 10**9, "writer": "01a2250a-f490-7a33-bf1a-3a45dda7a37a", "previous": "0" * 64,
        "time": "2026-11-29T02:03:25.205703720Z", "by": "process", "segment": 10**7, "offset": 10**11,
        "size": 10**10, "first_line": 10**9, "lines": 2**24, "first_seq": 10**12, "last_seq": 10**12,
        "root": root_of(leaves).hex(), "closed": True,
    }  # fmt: skip
    seal = make_seal(fields, "0" * 32, key.sign)
    from base64 import b64encode

    joined = b64encode(b"".join((path * 3)[:24])).decode()
    assert (
        len(
            json.dumps(
                {"wakelog_proof": 1, "index": 2**24, "path": joined, "seal": seal.text.decode()}
            )
        )
        <= 2000
    )


def test_the_verifier_agrees_with_cryptography_about_signatures() -> None:
    for number in range(8):
        key = Ed25519PrivateKey.generate()
        public, message = key.public_key().public_bytes_raw(), os.urandom(number * 40)
        signature = key.sign(message)
        assert verify_proof.is_signature(public, message, signature)
        for place in (0, 31, 32, 63):
            bad = bytearray(signature)
            bad[place] ^= 1 << number
            assert not verify_proof.is_signature(public, message, bytes(bad))
        assert not verify_proof.is_signature(public, message + b"x", signature)
        more = int.from_bytes(signature[32:], "little") + verify_proof.ORDER
        malleable = signature[:32] + more.to_bytes(32, "little")
        assert not verify_proof.is_signature(public, message, malleable)


def test_the_verifier_is_short_and_of_the_standard_library_alone() -> None:
    text = Path(str(verify_proof.__file__)).read_text()
    assert len(text.splitlines()) <= 150
    imports = {
        line.split()[1] for line in text.splitlines() if line.startswith(("import ", "from "))
    }
    assert imports == {"__future__", "base64", "hashlib", "json", "re", "sys"}


def test_an_event_that_is_not_sealed_yet_says_so(tmp_path: Path, capsys: Any) -> None:
    sealed = Sealed(tmp_path)
    sealed.write("one")
    [event] = ids(sealed.root)
    assert main(["prove", event, str(sealed.root)]) == 1
    assert "no seal covers the event yet" in capsys.readouterr().err
    sealed.journal.close()


# Erasing


def recorded(tmp_path: Path, **more: Any) -> tuple[Path, Path, Path]:
    """Record what two people said, each under a name of its own."""
    private, public = key_files(tmp_path / "keys")
    durable = DurableLogRecordProcessor(
        None, directory=tmp_path / "j", sealing=Sealing(private, **more), pipeline="p"
    )
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(durable)
    logger = provider.get_logger("x")
    for number in range(10):
        user = "ann" if number % 2 else "bob"
        attributes: dict[str, Any] = {
            "user.id": user,
            "gen_ai.input.messages": f"{user} says {number}",
            "other": number,
        }
        logger.emit(LogRecord(body=f"{user} was here", attributes=attributes))
    durable.close(5)
    return tmp_path / "j", private, public


def everything(root: Path) -> bytes:
    """Return all bytes of all files, names too."""
    found = list(root.rglob("*"))
    return b"\n".join(
        os.fsencode(path) + (path.read_bytes() if path.is_file() else b"") for path in found
    )


def erase(root: Path, private: Path, *more: str, capsys: Any) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main(
        ["erase", str(root), "--where", "user.id=ann", "--seal-key", str(private), "--json", *more]
    )
    return code, json.loads(capsys.readouterr().out)


def test_what_a_person_said_is_gone_and_every_line_still_fits(tmp_path: Path, capsys: Any) -> None:
    root, private, public = recorded(tmp_path)
    [folder] = folders(root)
    lines = {index: (folder / f"{index:08d}.jsonl").read_bytes() for index in segments(folder)}
    assert b"ann says" in everything(root)

    code, would = erase(root, private, capsys=capsys)
    assert (code, would["values"], would["applied"]) == (0, 5, False)
    assert b"ann says" in everything(root)
    code, did = erase(root, private, "--apply", capsys=capsys)
    assert (code, did["values"], len(did["records"])) == (0, 5, 5)

    assert b"ann says" not in everything(root)
    assert b"ann was here" not in everything(root)
    assert b"bob says" in everything(root)
    for index, before in lines.items():
        after = (folder / f"{index:08d}.jsonl").read_bytes()
        assert list(map(len, after.splitlines())) == list(map(len, before.splitlines()))
        assert list(map(sealed_form, after.splitlines())) == list(
            map(sealed_form, before.splitlines())
        )
    said = verify(root, public, capsys=capsys)
    assert said["fits"], said["misfits"]
    assert said["evidence"]["writers"][0]["erased"] == 5
    bodies = [entry.record.body for entry in read(root)]
    assert bodies.count("bob was here") == 5
    assert len(bodies) == 10
    # A second time there is nothing left, and what was not signed for is missed.
    assert erase(root, private, "--apply", capsys=capsys)[1]["values"] == 0
    path = folder / "00000001.jsonl"
    line = next(one for one in path.read_bytes().splitlines() if b"bob says 0" in one)
    part = line[cut] if (cut := salted_part(line)) is not None else b""
    path.write_bytes(path.read_bytes().replace(part, erased_part(part)))
    misfit = verify(root, public, capsys=capsys)["misfits"][0]
    assert (misfit["line"], "no seal says so" in misfit["what"]) == (2, True)


def test_what_has_been_exported_is_listed(tmp_path: Path, capsys: Any) -> None:
    root, private, _ = recorded(tmp_path)
    [folder] = folders(root)
    cursor = Cursor(folder, Mark(), complete=True)
    save_ledger(folder, folder.name, cursor.read(4, 1 << 20).mark)
    cursor.close()

    _, did = erase(root, private, "--apply", capsys=capsys)
    assert [one["exported"] for one in did["records"]] == [True, True, False, False, False]


def test_dead_letters_and_damaged_lines_lose_it_too(tmp_path: Path, capsys: Any) -> None:
    root, private, _ = recorded(tmp_path)
    [path] = folders(root)
    folder = Folder.adopt(path)
    assert folder is not None
    for entry in read(root):
        write_dead_letter(path, entry, "rejected", "400: no")
    (path / "00000001.damaged").write_bytes(
        b'{"id":"x","body":"for ann\n{"id":"y","body":"for bob\n'
    )
    (path / "00000009.torn").write_bytes(b'{"id":"z","attributes":{"user.id":"ann","body":"ann sa')
    folder.release()

    _, did = erase(root, private, "--apply", capsys=capsys)
    assert (did["dead_letters"], did["aside"]) == (5, 2)
    text = everything(root)
    assert b"ann says" not in text
    assert b"ann was" not in text
    assert b"for ann" not in text
    assert b"for bob" in text
    left = list(dead_letters(path))
    assert len(left) == 10
    assert sum("bob says" in letter.line for letter in left) == 5


def test_content_on_the_line_stays_and_is_counted(tmp_path: Path, capsys: Any) -> None:
    root, private, public = recorded(tmp_path, erasable=False)
    code, did = erase(root, private, "--apply", capsys=capsys)
    assert (code, did["values"], len(did["inline"])) == (1, 0, 5)
    assert verify(root, public, capsys=capsys)["fits"]

    assert main(["erase", str(root), "--where", "user.id=ann"]) == 1
    assert "--apply erases it" not in capsys.readouterr().out


def test_the_words_of_the_index_go_with_them(tmp_path: Path, capsys: Any) -> None:
    root, private, _ = recorded(tmp_path)
    assert main(["sessions", str(root)]) == 0
    assert main(["show", str(root), "--text", "says"]) in (0, 1)
    erase(root, private, "--apply", capsys=capsys)
    assert b"ann says" not in everything(root)


def test_the_content_of_spans_is_erased_too(tmp_path: Path, capsys: Any) -> None:
    private, public = key_files(tmp_path / "keys")
    durable = DurableSpanProcessor(
        None, directory=tmp_path / "j", sealing=Sealing(private), pipeline="p"
    )
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(durable)
    tracer = provider.get_tracer("x")
    with tracer.start_as_current_span("chat", attributes={"user.id": "ann"}) as span:
        span.set_attribute("gen_ai.output.messages", "ann hears this")
    durable.close(5)

    [folder] = folders(tmp_path / "j")
    cursor = Cursor(folder, Mark(), complete=True)
    [entry] = cursor.read(10, 1 << 20).entries
    cursor.close()
    assert entry.record.attributes["gen_ai.output.messages"] == "ann hears this"
    erase(tmp_path / "j", private, "--apply", capsys=capsys)
    assert b"ann hears" not in everything(tmp_path / "j")
    assert verify(tmp_path / "j", public, capsys=capsys)["fits"]


def spans_of_ann(tmp_path: Path, **more: Any) -> tuple[Path, Path, Path, DurableSpanProcessor, Any]:
    private, public = key_files(tmp_path / "keys")
    durable = DurableSpanProcessor(
        None, directory=tmp_path / "j", sealing=Sealing(private), pipeline="p", **more
    )
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(durable)
    return tmp_path / "j", private, public, durable, provider.get_tracer("x")


@pytest.mark.parametrize("longest", [1024 * 1024, 4096])
def test_a_span_is_selected_by_its_events(tmp_path: Path, longest: int, capsys: Any) -> None:
    """Its event has the bound attributes; the span itself has not."""
    root, private, public, durable, tracer = spans_of_ann(tmp_path, max_line_bytes=longest)
    for user in ("ann", "bob"):
        with tracer.start_as_current_span("execute_tool", attributes={"app": "x"}) as span:
            said = {"user.id": user, "gen_ai.tool.call.arguments": f"{user} says " * 500}
            span.add_event("wakelog.tool_call", said)
    durable.close(5)

    code, did = erase(root, private, "--apply", capsys=capsys)
    assert (code, len(did["records"])) == (0, 1)
    assert b"ann says" not in everything(root)
    assert b"bob says" in everything(root)
    assert verify(root, public, capsys=capsys)["fits"]
    assert erase(root, private, "--apply", capsys=capsys)[1]["values"] == 0


def test_the_start_of_a_span_that_is_the_persons_only_later_is_erased_too(
    tmp_path: Path, capsys: Any
) -> None:
    root, private, public, durable, tracer = spans_of_ann(tmp_path)
    span = tracer.start_span("chat", attributes={"gen_ai.input.messages": "ann asks"})
    span.set_attribute("user.id", "ann")
    pid = os.fork()
    if pid == 0:  # its end is in another folder
        span.end()
        durable.close(5)
        os._exit(0)
    os.waitpid(pid, 0)
    durable.close(5)

    code, did = erase(root, private, "--apply", capsys=capsys)
    assert (code, len(did["records"])) == (0, 2)
    assert b"ann asks" not in everything(root)
    assert verify(root, public, capsys=capsys)["fits"]


def test_an_event_whose_attributes_are_in_a_file_is_found(tmp_path: Path, capsys: Any) -> None:
    private, public = key_files(tmp_path / "keys")
    durable = DurableLogRecordProcessor(
        None, directory=tmp_path / "j", sealing=Sealing(private), pipeline="p", max_line_bytes=4096
    )
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(durable)
    many = {f"app.{number}": "x" * 50 for number in range(100)}
    attributes = {**many, "user.id": "ann", "gen_ai.input.messages": "ann says"}
    provider.get_logger("x").emit(LogRecord(body="ann says", attributes=attributes))
    durable.close(5)

    code, _ = erase(tmp_path / "j", private, "--apply", capsys=capsys)
    assert code == 0
    assert b"ann says" not in everything(tmp_path / "j")
    assert verify(tmp_path / "j", public, capsys=capsys)["fits"]


def test_it_has_to_be_said_whose_and_with_which_key(tmp_path: Path, capsys: Any) -> None:
    root, _, _ = recorded(tmp_path)
    assert main(["erase", str(root)]) == 1
    assert "say whose content" in capsys.readouterr().err
    assert main(["erase", str(root), "--session", "s", "--apply"]) == 1
    assert "--apply needs --seal-key" in capsys.readouterr().err


# The shipping process as the signer


def test_the_shipping_process_signs_and_its_checkpoints_leave(
    tmp_path: Path, collector: Collector, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        monkeypatch.setenv(variable, "what the command sets for its own process")
    private, public = key_files(tmp_path / "keys")
    durable = DurableLogRecordProcessor(
        None, directory=tmp_path / "j", sealing=Sealing(), pipeline="default"
    )
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(durable)
    logger = provider.get_logger("x")
    for number in range(5):
        logger.emit(LogRecord(body=number))

    ship = [
        "ship", str(tmp_path / "j"), "--endpoint", collector.http_endpoint, "--protocol", "http/protobuf",
        "--seal-key", str(private), "--checkpoints", str(tmp_path / "elsewhere.jsonl"), "--all",
    ]  # fmt: skip
    assert main(ship) == 0
    logger.emit(LogRecord(body="after"))
    durable.close(5)
    assert main(ship) == 0

    [folder] = [one for one in folders(tmp_path / "j") if (one / "seals.jsonl").exists()]
    by = [seal.by for _, _, seal in read_seals(folder) if seal is not None]
    assert by == ["shipper", "adopter"]
    found = [one for one in collector.log_records() if one.event_name == "wakelog.checkpoint"]
    assert len(found) == 2
    for anchor in (tmp_path / "elsewhere.jsonl", tmp_path / "collector" / "logs.jsonl"):
        said = verify(tmp_path / "j", public, "--anchors", anchor, capsys=capsys)
        assert said["fits"], said["misfits"]
        assert said["evidence"]["anchored"] == 2


def test_prune_deletes_what_is_sealed_only_with_the_key(tmp_path: Path, capsys: Any) -> None:
    sealed = Sealed(tmp_path)
    sealed.write(*(f"event {number}" for number in range(40)))
    sealed.journal.close()
    prune = ["prune", str(sealed.root), "--older-than", "0", "--undelivered", "--apply"]
    before = segments(sealed.folder)
    assert main(prune) == 0
    assert segments(sealed.folder) == before
    assert main([*prune, "--seal-key", str(sealed.private)]) == 0
    assert segments(sealed.folder) == []
    said = sealed.verify(capsys=capsys)
    assert said["fits"], said["misfits"]
    assert said["evidence"]["writers"][0]["deleted"]


# Threads, processes, kills

PROGRAM = """
import os, sys, threading
import wakelog
log = wakelog.configure("a", service_name="s")
def work(number):
    while True:
        seq = log.user_message("x").receipt.seq
        os.write(1, b"%d %d\\n" % (os.getpid(), seq))
for _ in range(3):
    if os.fork() == 0:
        break
for number in range(8):
    threading.Thread(target=work, args=(number,)).start()
"""


@pytest.mark.attack
def test_chains_hold_over_threads_processes_and_kills(tmp_path: Path, capsys: Any) -> None:
    """8 threads in each of 4 processes, killed together: what was acknowledged is provable after the next seal."""
    private, public = key_files(tmp_path / "keys")
    root = tmp_path / "j"
    env = {
        **os.environ,
        "WAKELOG_DIR": str(root),
        "WAKELOG_SEAL_KEY": str(private),
        "WAKELOG_SEAL_INTERVAL": "0.05",
        "WAKELOG_SEGMENT_BYTES": "20000",
    }
    acknowledged: dict[int, int] = {}
    for _ in range(times(20)):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], env=env, stdout=subprocess.PIPE, start_new_session=True
        )
        assert process.stdout is not None
        seen: set[int] = set()
        for number, line in enumerate(process.stdout):
            pid, _, seq = line.partition(b" ")
            seen.add(int(pid))
            acknowledged[int(pid)] = max(acknowledged.get(int(pid), 0), int(seq))
            if number >= 4000 and len(seen) == 4:  # one may record much before others begin
                break
        os.killpg(process.pid, 9)
        for line in process.stdout.read().splitlines():
            pid, _, seq = line.partition(b" ")
            if seq.isdigit():
                acknowledged[int(pid)] = max(acknowledged.get(int(pid), 0), int(seq))
        process.stdout.close()
        process.wait()
        assert len(seen) == 4

    signer = Signer.from_file(private)
    unsigned = {one.name: 0 for one in folders(root)}
    for report in verify(root, public, capsys=capsys)["evidence"]["writers"]:
        unsigned[report["writer"]] = report["unsealed"]
    for folder in folders(root):
        seal_folder(folder, signer, "adopter", closing=True)
    said = verify(root, public, capsys=capsys)
    assert said["fits"], said["misfits"]
    writers = said["evidence"]["writers"]
    assert all((one["unsealed"], one["closed"]) == (0, True) for one in writers)
    assert sum(one["adopted"] for one in writers) >= sum(unsigned.values())
    # Every number that was acknowledged is below what some folder of that many records has sealed.
    sealed = sorted((one["last_seq"] for one in writers), reverse=True)
    for reached, promised in zip(sealed, sorted(acknowledged.values(), reverse=True), strict=False):
        assert reached >= promised
    pem = public.read_text()
    for folder in folders(root):
        events = [entry.record.id for entry in read(root, writer=folder.name)]
        for event in events[:: max(1, len(events) // 3)]:
            proof = prove(root, event, folder.name)
            verify_proof.check(json.loads(proof.bundle), proof.line, pem)


def test_threads_that_erase_and_seal_at_once_leave_one_chain(tmp_path: Path, capsys: Any) -> None:
    sealed = Sealed(tmp_path)
    sealed.write("one")
    done = threading.Event()

    def seal() -> None:
        while not done.is_set():
            sealed.seal()

    threads = [threading.Thread(target=seal) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(200):
        sealed.write(f"event {number}")
    done.set()
    for thread in threads:
        thread.join()
    sealed.journal.close()
    said = sealed.verify("--anchors", sealed.anchor, capsys=capsys)
    assert said["fits"], said["misfits"]
