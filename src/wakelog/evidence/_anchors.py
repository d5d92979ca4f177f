"""Anchors: places that the operator cannot change and that store copies of seals."""

from __future__ import annotations

import os
import time
import urllib.request
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from wakelog.errors import ConfigurationError, JournalError
from wakelog.evidence._checkpoint import seals_in
from wakelog.evidence._seal import Seal, parse_seal
from wakelog.runtime import SYSTEM, open_to_read, read_small
from wakelog.storage import ends_with_a_line, lines

if TYPE_CHECKING:
    from rfc3161_client import TimeStampResponse

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND
_LONGEST_ANSWER = 256 * 1024
_NEEDED = "wakelog[evidence] is not installed: pip install 'wakelog[evidence]'"


@dataclass(frozen=True, slots=True)
class FileAnchor:
    """Appends each seal to a file: on another machine, on write-once media, or in a pipe.

    Args:
        path: The file. It proves nothing against a person who can change both it and the journal.
    """

    path: str | os.PathLike[str]

    def __call__(self, seal: bytes) -> None:
        """Append a seal and sync the file.

        Raises:
            OSError: If writing fails.
        """
        append_line(self.path, seal)


@dataclass(slots=True)
class TimestampAnchor:
    """Obtains a time stamp for a seal from an RFC 3161 authority.

    The seal and the response are appended to a file, which may be anywhere: an attacker who
    rewrites the journal cannot obtain a response with a past time.

    Args:
        url: The authority's URL, HTTP or HTTPS.
        path: The file for the responses.
        every: The minimum time between two requests, in seconds. A stamp covers all seals before
            it.
        timeout: The time-out of a request, in seconds.

    Raises:
        ConfigurationError: If the URL is neither, or ``wakelog[evidence]`` is not installed.
    """

    url: str
    path: str | os.PathLike[str]
    every: float = 3600.0
    timeout: float = 10.0
    _next: float = field(default=0.0, repr=False, compare=False)

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise ConfigurationError(
                f"url={self.url!r} cannot be used: give an HTTP or HTTPS address"
            )
        _rfc3161()

    def __call__(self, seal: bytes) -> None:
        """Obtain a time stamp for a seal, unless the minimum time has not passed.

        Raises:
            OSError: If the authority does not respond, or does not stamp it.
        """
        now = time.monotonic()
        if self._next and now < self._next:
            return
        append_line(self.path, orjson.dumps({"seal": seal.decode(), "rfc3161": self._stamp(seal)}))
        self._next = now + self.every

    def _stamp(self, seal: bytes) -> str:
        library = _rfc3161()
        asked = (
            library.TimestampRequestBuilder(data=seal)
            .hash_algorithm(library.HashAlgorithm.SHA256)
            .build()
        )
        request = urllib.request.Request(  # noqa: S310 - HTTP or HTTPS, see above
            self.url,
            data=asked.as_bytes(),
            headers={"Content-Type": "application/timestamp-query"},
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=self.timeout) as answer:  # noqa: S310
            body = answer.read(_LONGEST_ANSWER)
        try:
            response = library.decode_timestamp_response(body)
            same = response.tst_info.message_imprint.message == sha256(seal).digest()
        except ValueError as error:
            raise OSError(f"{self.url} gave no time stamp: {error}") from error
        if not same or response.tst_info.nonce != asked.nonce:
            raise OSError(f"{self.url} stamped something else than what it was given")
        return b64encode(body).decode()


class Anchored(NamedTuple):
    """A seal that an anchor has.

    Attributes:
        seal: The seal.
        stamp: The response of a time-stamp authority, or None.
    """

    seal: Seal
    stamp: bytes | None = None


def read_anchors(path: Path) -> Iterator[Anchored]:
    """Read an anchor's file: lines of seals, of time stamps, or of a backend's exported records.

    Raises:
        JournalError: If it cannot be read.
    """
    try:
        with open_to_read(os.path.realpath(path)) as file:
            for _, line, _ in lines(file):
                stamp = _stamped(line)
                if stamp is not None:
                    yield stamp
                else:
                    yield from map(Anchored, seals_in(line.strip()))
    except OSError as error:
        raise JournalError("read", path, error.strerror or error) from error


def _stamped(line: bytes) -> Anchored | None:
    if not line.startswith(b'{"seal":'):
        return None
    try:
        data: dict[str, Any] = orjson.loads(line)
        seal, stamp = parse_seal(data["seal"].encode()), b64decode(data["rfc3161"], validate=True)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return None if seal is None else Anchored(seal, stamp)


class Authorities:
    """The time-stamp authorities that a verifier trusts.

    Args:
        path: A PEM file with their root certificates.

    Raises:
        ConfigurationError: If it has none, or ``wakelog[evidence]`` is not installed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        library = _rfc3161()
        from cryptography.x509 import load_pem_x509_certificates

        try:
            roots = load_pem_x509_certificates(read_small(os.path.realpath(path), 1024 * 1024))
        except (OSError, ValueError) as error:
            message = f"{os.fspath(path)} holds no certificates that can be read: {error}"
            raise ConfigurationError(message) from error
        builder = library.VerifierBuilder()
        for root in roots:
            builder = builder.add_root_certificate(root)
        self._verifier = builder.build()

    def time_of(self, anchored: Anchored) -> datetime | None:
        """Return when an authority stamped a seal; None if its response is invalid."""
        library = _rfc3161()
        try:
            response: TimeStampResponse = library.decode_timestamp_response(anchored.stamp or b"")
            self._verifier.verify(response, sha256(anchored.seal.text).digest())
        except (library.VerificationError, ValueError):
            return None
        return response.tst_info.gen_time


def append_line(path: str | os.PathLike[str], line: bytes) -> None:
    """Append a line to a file and sync it.

    Raises:
        OSError: If writing fails.
    """
    descriptor = SYSTEM.open(path, _FLAGS, 0o600)
    try:
        text = line + b"\n"
        if not ends_with_a_line(descriptor):
            text = b"\n" + text
        while text:
            text = text[SYSTEM.write(descriptor, text) :]
        SYSTEM.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _rfc3161() -> Any:
    try:
        import rfc3161_client
    except ImportError as error:
        raise ConfigurationError(_NEEDED) from error
    return rfc3161_client
