"""The seal: one line of ``seals.jsonl``, what it says, and what is signed of it.

Each line follows the one before by its number and by its digest, and is signed. What is signed is the line
itself up to the signature, so nobody has to write JSON again in order to check it::

    {"kind":"seal","number":3,"writer":"01a1...","segment":1,...,"signature":"...","marks":"..."}
    |----------------------- signed ------------------------|
    |---------------------------- the text ----------------------------|
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from wakelog.events import semconv as s

SEAL, DELETION, ERASURE = "seal", "deletion", "erasure"
"""The kinds of lines: some lines of a segment, segments that are deleted, blobs that are erased."""
PROCESS, SHIPPER, ADOPTER = "process", "shipper", "adopter"
"""Who has signed: the process that records, one that ships it, or who found it after its end."""
FIRST = "0" * 64
"""What the first line says of the line before it."""
_DOMAIN = b"wakelog seal 1\n"
_SIGNATURE, _EXTRA = b',"signature":"', b',"marks":"'
MARK_BYTES = 2
"""Of each line's hash, so many bytes stand beside the seal: they tell which line does not fit."""
SCOPE = "wakelog.evidence"
"""The scope of the records that checkpoints are."""
_OF_CHECKPOINT = b'"event_name":"%b"' % s.CHECKPOINT.encode()
_FIELDS_OF_CHECKPOINT = frozenset(
    {"id", "seq", "timestamp", "event_name", "severity_number", "severity_text", "crc"}
)


@dataclass(frozen=True, slots=True)
class Seal:
    """One line that can be read. Whether to believe it, ``PublicKeys`` says.

    Attributes:
        kind: ``seal``, ``deletion`` or ``erasure``.
        number: Its place in the file, from 1.
        writer: The folder that it belongs to.
        previous: The digest of the line before, in hexadecimal.
        time: When it was signed, RFC 3339 in UTC, by the signer's clock.
        by: Who signed: ``process``, ``shipper`` or ``adopter``.
        signer: The id of the key.
        fields: Everything that is signed, by its name.
        signature: The signature.
        text: The line up to and with the signature: what is exported, anchored and proved with.
        marks: The beginnings of the lines' hashes, which are not signed; empty where there are none.
    """

    kind: str
    number: int
    writer: str
    previous: str
    time: str
    by: str
    signer: str
    fields: dict[str, Any]
    signature: bytes
    text: bytes
    marks: bytes = b""

    @property
    def digest(self) -> str:
        """The SHA-256 of the text, in hexadecimal, by which the next line names this one."""
        return sha256(self.text).hexdigest()

    @property
    def signed(self) -> bytes:
        """What the signature is of."""
        return _DOMAIN + self.text[: self.text.rfind(_SIGNATURE)]

    @property
    def segment(self) -> int:
        """The segment that it is about."""
        return int(self.fields.get("segment", 0))

    @property
    def offset(self) -> int:
        """Where the first byte stands that it covers."""
        return int(self.fields.get("offset", 0))

    @property
    def size(self) -> int:
        """How many bytes it covers."""
        return int(self.fields.get("size", 0))

    @property
    def end(self) -> int:
        """The place after the last byte that it covers."""
        return self.offset + self.size

    @property
    def last_seq(self) -> int:
        """The greatest number of a record that it covers, or that one before it has covered."""
        return int(self.fields.get("last_seq", 0))

    @property
    def closed(self) -> bool:
        """Whether the writer has ended, so that nothing comes after it."""
        return bool(self.fields.get("closed"))

    def line(self) -> bytes:
        """Return the whole line, with its newline."""
        if not self.marks:
            return self.text + b"\n"
        return b'%b%b%b"}\n' % (self.text[:-1], _EXTRA, b64encode(self.marks))


def make_seal(fields: dict[str, Any], signer: str, signature_of: Any, marks: bytes = b"") -> Seal:
    """Sign the fields of a line.

    Args:
        fields: What it says, ``kind``, ``number``, ``writer``, ``previous``, ``time`` and ``by`` first.
        signer: The key's id.
        signature_of: Signs bytes.
        marks: What stands beside it and is not signed.
    """
    signed = orjson.dumps({**fields, "signer": signer})[:-1]
    signature = bytes(signature_of(_DOMAIN + signed))
    text = b'%b%b%b"}' % (signed, _SIGNATURE, b64encode(signature))
    seal = parse_seal(text)
    if seal is None:
        raise ValueError("a signer has to return the bytes of the signature")
    return Seal(**{**{name: getattr(seal, name) for name in Seal.__slots__}, "marks": marks})


def parse_seal(line: bytes) -> Seal | None:
    """Read a line, None when it is no seal."""
    line = line.rstrip(b"\n")
    text, separator, extra = line.partition(_EXTRA)
    try:
        marks = b64decode(extra[:-2], validate=True) if separator else b""
        if separator:
            text += b"}"
        data = orjson.loads(text)
        # The signature is the last field, or what is signed is not what was read.
        if not text.endswith(b'%b%b"}' % (_SIGNATURE, data["signature"].encode())):
            return None
        signature = b64decode(stated := data.pop("signature"), validate=True)
        if b64encode(signature) != stated.encode():
            return None  # bits that are left over in the last character would be nobody's
        return Seal(
            kind=str(data["kind"]),
            number=int(data["number"]),
            writer=str(data["writer"]),
            previous=str(data["previous"]),
            time=str(data["time"]),
            by=str(data["by"]),
            signer=str(data["signer"]),
            fields=data,
            signature=signature,
            text=text,
            marks=marks,
        )
    except (ValueError, KeyError, TypeError, AttributeError, Error):
        return None


def checkpoint_of(seal: Seal) -> dict[str, Any]:
    """Return what the record says with which a seal leaves: its body, attributes and scope."""
    return {
        "body": f"checkpoint {seal.number} of writer {seal.writer}: sealed up to record {seal.last_seq}",
        "attributes": {
            s.CHECKPOINT_SEAL: seal.text.decode(),
            s.CHECKPOINT_WRITER: seal.writer,
            s.CHECKPOINT_NUMBER: seal.number,
            s.CHECKPOINT_LAST_SEQ: seal.last_seq,
            s.CHECKPOINT_DIGEST: seal.digest,
        },
        "scope": {"name": SCOPE},
    }


def seal_on(line: bytes) -> Seal | None:
    """Return the seal on the line of a checkpoint, None for a line that says anything else, or more."""
    if _OF_CHECKPOINT not in line:
        return None
    try:
        data = orjson.loads(line)
        seal = parse_seal(data["attributes"][s.CHECKPOINT_SEAL].encode())
        rest = {name: value for name, value in data.items() if name not in _FIELDS_OF_CHECKPOINT}
        said = (
            data["event_name"] == s.CHECKPOINT and seal is not None and rest == checkpoint_of(seal)
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return seal if said else None


def is_header(line: bytes) -> bool:
    """Tell whether a line is the first one of a segment, and no record."""
    if not line.startswith(b'{"writer":'):
        return False
    try:
        return "id" not in orjson.loads(line)
    except ValueError:
        return False
