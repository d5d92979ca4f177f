"""A journal that a third party can verify: record, verify, prove one event, erase, and detect an alteration.

    pip install 'wakelog[evidence]'
    python examples/sealed_journal.py --directory sealed

It creates a key in the directory, as ``openssl genpkey -algorithm ed25519`` would, and runs the commands of
docs/evidence.md one after another, as a person would type them. In production, create the key once, and keep it
where the agent cannot read it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

try:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )
except ImportError as error:
    raise SystemExit(f"{error}: pip install 'wakelog[evidence]'") from None

import wakelog
from wakelog.evidence import FileAnchor, Sealing


def make_key(private: Path, public: Path) -> None:
    """Write a key pair as PEM; only the owner can read the private key."""
    key = Ed25519PrivateKey.generate()
    private.touch(mode=0o600)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    public.write_bytes(pem)


def record(journal: Path, key: Path, anchor: Path) -> None:
    """Record two sessions, and seal them."""
    log = wakelog.configure(
        "assistant",
        service_name="shop",
        directory=journal,
        sealing=Sealing(key, anchors=(FileAnchor(anchor),)),
    )
    for session, name in (("s-1", "Ann"), ("s-2", "Bob")):
        with log.run(session_id=session):
            log.user_message(f"I am {name}. Where is my parcel?")
            log.tool_call("find_parcel", {"customer": name})
    wakelog.shutdown()


def run(*command: object, quiet: bool = False) -> str:
    """Run a command, print it with its output, and return the output."""
    words = [str(word) for word in command]
    print("\n$", " ".join(words), flush=True)
    done = subprocess.run(
        [sys.executable, *(["-m"] if words[0] == "wakelog" else []), *words],
        capture_output=True,
        text=True,
        check=False,
    )
    print("..." if quiet else (done.stdout + done.stderr).rstrip())
    return done.stdout


def main() -> None:
    """Record, verify, prove, erase, alter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, default=Path("sealed"))
    place: Path = parser.parse_args().directory
    place.mkdir(parents=True)
    private, public, anchor = place / "seal.key", place / "seal.pub", place / "elsewhere.jsonl"
    journal, proof = place / "journal", place / "proof"
    make_key(private, public)
    record(journal, private, anchor)

    verify = ("wakelog", "verify", journal, "--keys", public, "--anchors", anchor)
    run(*verify)

    text = run("wakelog", "show", journal, "--session", "s-2", "--json", quiet=True)
    event = json.loads(text)["sessions"][0]["runs"][0]["steps"][0]["id"]
    run("wakelog", "prove", event, journal, "--output", proof)
    run(proof / "verify_proof.py", proof / "proof.json", proof / "event.jsonl", public)

    run("wakelog", "erase", journal, "--session", "s-1", "--seal-key", private, "--apply")
    run("wakelog", "show", journal, "--session", "s-1")
    run(*verify)

    # An attacker with access to the disk changes the name of the tool.
    [segment] = journal.glob("*/00000001.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b"find_parcel", b"sell_parcel", 1))
    run(*verify)


if __name__ == "__main__":
    main()
