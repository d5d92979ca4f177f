"""Prove one event of a sealed journal to a third party who has only Python and the public key.

It writes three files to a directory: event.jsonl, the event's line; proof.json, the seal over it and the path to the seal's
root; and verify_proof.py, a short program that checks the other two. Values in files beside the line are named by digest.

With --json, nothing is written:
  {"path", "line", "proof": {"wakelog_proof", "index", "path", "seal"}}
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import orjson

from wakelog._printable import printable
from wakelog.cli._parser import add_file
from wakelog.cli._paths import add_path, journal_of, print_json
from wakelog.cli._place import journal_at
from wakelog.errors import JournalError
from wakelog.evidence import prove, verify_proof
from wakelog.runtime import SYSTEM, make_directories, open_to_read


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("id", metavar="ID", help="the complete id of the event")
    add_path(parser, "a journal directory, or one writer's folder")
    add_file(
        parser,
        "--output",
        "write the files to this directory (proof)",
        metavar="DIRECTORY",
        default="proof",
    )
    parser.add_argument("--json", action="store_true", help="print JSON and write nothing")


def run(arguments: argparse.Namespace) -> int:
    """Prove one event.

    Raises:
        JournalError: If there is no journal at the path, or reading or writing fails.
        ConfigurationError: If there is no such event, or no seal covers it yet.
    """
    root, writer = journal_at(journal_of(arguments, reads=True))
    proof = prove(root, arguments.id, writer)
    if arguments.json:
        bundle = orjson.loads(proof.bundle)
        print_json({"path": str(root), "line": proof.line.decode().rstrip("\n"), "proof": bundle})
        return 0
    output = Path(arguments.output)
    try:
        make_directories(output)
        with open_to_read(str(verify_proof.__file__)) as file:
            program = file.read()
        SYSTEM.write_whole(output / "event.jsonl", proof.line)
        SYSTEM.write_whole(output / "proof.json", proof.bundle)
        SYSTEM.write_whole(output / "verify_proof.py", program)
    except OSError as error:
        raise JournalError("write to", output, error.strerror or error) from error
    where = printable(str(output))
    sys.stdout.write(
        f"{where}/event.jsonl, proof.json ({len(proof.bundle):,} bytes) and verify_proof.py: with the "
        f"public key {proof.seal.signer},\n"
        f"python {where}/verify_proof.py {where}/proof.json {where}/event.jsonl PUBLIC_KEY.pem\n"
    )
    return 0
