"""The seal: one line of ``seals.jsonl``, its fields, and its signature.

Each line names the number and the digest of the line before, and is signed. The signature covers
the line itself up to the signature, so that JSON need not be encoded again for verifying it::

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
"""The kinds of lines: for lines of a segment, for deleted segments, and for erased blobs."""
PROCESS, SHIPPER, ADOPTER = "process", "shipper", "adopter"
"""The signers: the recording process, a delivering one, or one that found the folder later."""
FIRST = "0" * 64
"""The first line's digest of the line before it."""
_DOMAIN = b"wakelog seal 1\n"
_SIGNATURE, _EXTRA = b',"signature":"', b',"marks":"'
MARK_BYTES = 2
"""How many bytes of each line's hash are stored beside the seal, to find a changed line."""
SCOPE = "wakelog.evidence"
"""The scope of checkpoint records."""
_OF_CHECKPOINT = b'"event_name":"%b"' % s.CHECKPOINT.encode()
_FIELDS_OF_CHECKPOINT = frozenset(
    {"id", "seq", "timestamp", "event_name", "severity_number", "severity_text", "crc"}
)


@dataclass(frozen=True, slots=True)
class Seal:
    """One parsed line. ``PublicKeys`` verifies its signature.

    Attributes:
        kind: ``seal``, ``deletion`` or ``erasure``.
        number: Its number in the file, from 1.
        writer: The name of its folder.
        previous: The digest of the line before, in hexadecimal.
        time: The time of signing by the signer's clock, RFC 3339 in UTC.
        by: The signer: ``process``, ``shipper`` or ``adopter``.
        signer: The id of the key.
        fields: All signed fields by name.
        signature: The signature.
        text: The line up to and including the signature, which is exported, anchored and used in
            proofs.
        marks: The first bytes of the lines' hashes, which are not signed; may be empty.
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
        """The SHA-256 of the text in hexadecimal, which the next line contains."""
        return sha256(self.text).hexdigest()

    @property
    def signed(self) -> bytes:
        """The signed bytes."""
        return _DOMAIN + self.text[: self.text.rfind(_SIGNATURE)]

    @property
    def segment(self) -> int:
        """The number of its segment."""
        return int(self.fields.get("segment", 0))

    @property
    def offset(self) -> int:
        """The offset of the first byte that it covers."""
        return int(self.fields.get("offset", 0))

    @property
    def size(self) -> int:
        """The number of bytes that it covers."""
        return int(self.fields.get("size", 0))

    @property
    def end(self) -> int:
        """The offset after the last byte that it covers."""
        return self.offset + self.size

    @property
    def last_seq(self) -> int:
        """The greatest record number that it or an earlier seal covers."""
        return int(self.fields.get("last_seq", 0))

    @property
    def closed(self) -> bool:
        """Whether the writer has ended, so that no line may follow."""
        return bool(self.fields.get("closed"))

    def line(self) -> bytes:
        """Return the complete line, with its newline."""
        if not self.marks:
            return self.text + b"\n"
        return b'%b%b%b"}\n' % (self.text[:-1], _EXTRA, b64encode(self.marks))


def make_seal(fields: dict[str, Any], signer: str, signature_of: Any, marks: bytes = b"") -> Seal:
    """Return the seal with these fields, after signing them.

    Args:
        fields: The fields, beginning with ``kind``, ``number``, ``writer``, ``previous``, ``time``
            and ``by``.
        signer: The key's id.
        signature_of: Returns the signature of bytes.
        marks: The unsigned marks.
    """
    signed = orjson.dumps({**fields, "signer": signer})[:-1]
    signature = bytes(signature_of(_DOMAIN + signed))
    text = b'%b%b%b"}' % (signed, _SIGNATURE, b64encode(signature))
    seal = parse_seal(text)
    if seal is None:
        raise ValueError("a signer has to return the bytes of the signature")
    return Seal(**{**{name: getattr(seal, name) for name in Seal.__slots__}, "marks": marks})


def parse_seal(line: bytes) -> Seal | None:
    """Parse a line; return None if it is not a seal."""
    line = line.rstrip(b"\n")
    text, separator, extra = line.partition(_EXTRA)
    try:
        marks = b64decode(extra[:-2], validate=True) if separator else b""
        if separator:
            text += b"}"
        data = orjson.loads(text)
        # The signature must be the last field; otherwise unsigned fields could follow it.
        if not text.endswith(b'%b%b"}' % (_SIGNATURE, data["signature"].encode())):
            return None
        signature = b64decode(stated := data.pop("signature"), validate=True)
        if b64encode(signature) != stated.encode():
            return None  # unused bits in the last character would not be verified
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
    """Return the body, attributes and scope of the record of a seal."""
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
    """Return the seal on a checkpoint's line; None if it is anything else, or has more fields."""
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
    """Tell whether a line is a segment's header, and not a record."""
    if not line.startswith(b'{"writer":'):
        return False
    try:
        return "id" not in orjson.loads(line)
    except ValueError:
        return False
