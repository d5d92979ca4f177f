"""Checks that an event was in a sealed journal of Wakelog, with nothing but Python.

    python verify_proof.py PROOF.json EVENT.jsonl PUBLIC_KEY.pem

"wakelog prove ID" has written PROOF.json and the event's line. PUBLIC_KEY.pem is the signer's key: get it from a
person whom you trust. Exit code 0 means that the signer has signed this line, at the time and position printed. It
checks the hash (RFC 9162, 2.1.1), the path to the root (2.1.3.2) and the seal's signature (RFC 8032, 5.1.7).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys

# Ed25519 (RFC 8032, 5.1): the field, the order of the group, the curve's constant, the base point.
P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
PART = re.compile(
    rb'{"id":"[^"\\]*(?:\\.[^"\\]*)*","seq":\d+(?:,"signal":"[a-z_]+")?,"salted":\[(\d{1,9}),'
)
ERASED = re.compile(rb'"([0-9a-f]{64})","[01]*"')


def decode_point(data: bytes) -> tuple[int, int]:
    """Decode a point from 32 bytes (5.1.3)."""
    sign, y = divmod(int.from_bytes(data, "little"), 2**255)
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if y >= P or (x * x - square) % P or (x == 0 and sign):
        raise ValueError("32 bytes that are not a point of the curve")
    return (P - x if x & 1 != sign else x), y


def add(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    """Return the sum of two points (5.1.4, in affine coordinates: slower, but easier to read)."""
    (x1, y1), (x2, y2) = one, other
    t = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + t, -1, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - t, -1, P)
    return x % P, y % P


def times(number: int, point: tuple[int, int]) -> tuple[int, int]:
    """Return a multiple of a point."""
    if number == 0:
        return 0, 1
    rest = times(number >> 1, add(point, point))
    return add(rest, point) if number & 1 else rest


def is_signature(key: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether a signature of a message was made with a key (5.1.7)."""
    s = int.from_bytes(signature[32:], "little")
    try:
        a, r = decode_point(key), decode_point(signature[:32])
    except ValueError:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % ORDER
    base = decode_point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
    valid = len(key) == 32 and len(signature) == 64 and s < ORDER
    return valid and times(s, base) == add(r, times(k, a))


def sealed_form(line: bytes) -> bytes:
    """Return a line with the SHA-256 of its erasable content, see docs/journal.md, in its place."""
    if (found := PART.match(line)) is None:
        return line
    begin, end = found.end(), found.end() + int(found[1])
    erased = ERASED.fullmatch(line, begin, end)
    digest = erased[1].decode() if erased else hashlib.sha256(line[begin:end]).hexdigest()
    return line[:begin] + f'"{digest}"'.encode() + line[end:]


def root_from(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """Return the root to which a path leads from a leaf (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        raise ValueError("there is no such leaf")
    at, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise ValueError("the path is too long")
        if at & 1 or at == last:
            found = hashlib.sha256(b"\x01" + sibling + found).digest()
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            found = hashlib.sha256(b"\x01" + found + sibling).digest()
        at, last = at >> 1, last >> 1
    if last:
        raise ValueError("the path is too short")
    return found


def object_of(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object, and reject duplicate names, which parsers treat differently."""
    if len(found := dict(pairs)) != len(pairs):
        raise ValueError("a name is twice in one object")
    return found


def check(proof: dict[str, object], line: bytes, pem: str) -> dict[str, object]:
    """Return the fields of the seal, or raise ValueError with what is wrong."""
    index, joined = proof["index"], base64.b64decode(str(proof["path"]), validate=True)
    if proof["wakelog_proof"] != 1 or type(index) is not int or len(joined) % 32:
        raise ValueError("it is not a proof of a known form")
    seal = json.loads(text := str(proof["seal"]).encode(), object_pairs_hook=object_of)
    key = base64.b64decode("".join(pem.strip().splitlines()[1:-1]))[-32:]
    if hashlib.sha256(key).hexdigest()[:32] != seal["signer"]:
        raise ValueError("the seal is signed with another key than the one given")
    signed = b"wakelog seal 1\n" + text[: text.rindex(b',"signature":"')]
    if not is_signature(key, signed, base64.b64decode(seal["signature"], validate=True)):
        raise ValueError("the signature of the seal does not fit")
    path = [joined[at : at + 32] for at in range(0, len(joined), 32)]
    leaf = hashlib.sha256(b"\x00" + sealed_form(line.removesuffix(b"\n"))).digest()
    if seal["kind"] != "seal" or root_from(leaf, index, seal["lines"], path).hex() != seal["root"]:
        raise ValueError("the line is not the one that was sealed at this place")
    return dict(seal)


def read(name: str, most: int) -> bytes:
    """Return the content of a file, or its beginning if it is larger than expected."""
    with open(name, "rb") as file:
        return file.read(most)


def main(arguments: list[str]) -> int:
    """Check the files, print the result, and return the exit code."""
    if len(arguments) != 3:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    try:
        proof = json.loads(read(arguments[0], 4096), object_pairs_hook=object_of)
        seal = check(proof, read(arguments[1], 1 << 28), read(arguments[2], 65_536).decode())
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        sys.stderr.write(f"NOT PROVED: {type(error).__name__}: {error}\n")
        return 1
    place = f"line {seal['first_line'] + proof['index']} of segment {seal['segment']}"
    print(f"PROVED: this event is {place} of writer {seal['writer']},")
    print(f"sealed at {seal['time']} (the signer's clock) by {seal['by']}, key {seal['signer']}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
