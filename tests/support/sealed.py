"""Sealed journals, and what somebody does to one who knows how its lines are checked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from wakelog.cli import main
from wakelog.evidence import FileAnchor, Sealing, Signer, public_pem
from wakelog.evidence._sealer import Signing
from wakelog.journal import Journal, Space
from wakelog.record import Resource, encode, uuid7
from wakelog.storage import segment_name, segments

RESOURCE = Resource({"service.name": "tests"})
CRC = re.compile(rb',"crc":"[0-9a-f]{8}"\}$')


def key_files(folder: Path, name: str = "seal") -> tuple[Path, Path]:
    """Make a key pair as PEM files."""
    folder.mkdir(parents=True, exist_ok=True)
    key = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    private.chmod(0o600)
    public.write_text(public_pem(key.public_key().public_bytes_raw()))
    return private, public


class Sealed:
    """A journal that is sealed when the test says so, with an anchor that holds every seal."""

    def __init__(self, folder: Path, *, by: str = "process", **settings: Any) -> None:
        self.root = folder / "journal"
        self.private, self.public = key_files(folder / "keys")
        self.anchor = folder / "elsewhere.jsonl"
        sealing = Sealing(self.private, anchors=(FileAnchor(self.anchor),))
        self.signer = Signer.from_file(self.private)
        self.signing = Signing(sealing, self.signer, by)
        self.by = by
        settings.setdefault("segment_bytes", 1500)
        self.journal = Journal(self.root, listener=self.signing, **settings)

    @property
    def folder(self) -> Path:
        [folder] = [path for path in self.root.iterdir() if (path / "lock").exists()]
        return folder

    def write(self, *bodies: str) -> None:
        for body in bodies:
            self.journal.append(uuid7(), encode({"body": body}, 1 << 20), RESOURCE)

    def seal(self) -> None:
        for writer in self.journal.open_writers:
            self.signing.seal(writer.folder.path, self.by)

    def verify(self, *more: object, capsys: Any) -> dict[str, Any]:
        """Run `wakelog verify` with the public key."""
        return verify(self.root, self.public, *more, capsys=capsys)


def verify(root: Path, public: Path, *more: object, capsys: Any) -> dict[str, Any]:
    capsys.readouterr()
    code = main(["verify", str(root), "--keys", str(public), "--json", *map(str, more)])
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert code == (0 if said["fits"] else 1)
    return said


def lines_of(folder: Path) -> dict[int, list[bytes]]:
    """Return the lines of each segment, the header first."""
    return {
        index: (folder / segment_name(index)).read_bytes().splitlines()
        for index in segments(folder)
    }


def write_anew(folder: Path, lines: dict[int, list[bytes]]) -> None:
    """Write lines with numbers and checksums that fit, as somebody does who knows the format."""
    seq = crc = 0
    for index, found in lines.items():
        out = []
        for place, old in enumerate(found):
            line, data = old, json.loads(old)
            if place == 0:
                line = re.sub(rb'"last_seq":\d+', b'"last_seq":%d' % seq, line)
                line = re.sub(rb'"last_crc":"[0-9a-f]{8}"', b'"last_crc":"%08x"' % crc, line)
            elif "id" in data:
                seq += 1
                line = re.sub(rb'"seq":\d+', b'"seq":%d' % seq, line, count=1)
            body = CRC.sub(b"", line)
            crc = crc32(body, crc)
            out.append(b'%b,"crc":"%08x"}\n' % (body, crc))
        (folder / segment_name(index)).write_bytes(b"".join(out))


Alter = Callable[[dict[int, list[bytes]]], None]


def altered(folder: Path, alter: Alter) -> None:
    """Change lines, and have all checksums fit again."""
    lines = lines_of(folder)
    alter(lines)
    write_anew(folder, lines)


def edit(lines: dict[int, list[bytes]]) -> None:
    lines[1][2] = lines[1][2].replace(b"event 2", b"event X")


def delete(lines: dict[int, list[bytes]]) -> None:
    del lines[1][2]


def insert(lines: dict[int, list[bytes]]) -> None:
    lines[1].insert(2, lines[1][2].replace(b"event 2", b"event Y"))


def reorder(lines: dict[int, list[bytes]]) -> None:
    lines[1][2], lines[1][3] = lines[1][3], lines[1][2]


__all__ = ["Sealed", "Space", "altered", "delete", "edit", "insert", "key_files", "reorder"]
