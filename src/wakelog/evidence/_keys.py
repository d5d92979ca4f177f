"""Ed25519 keys: for signing seals, and public keys for verifying them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from wakelog.errors import ConfigurationError
from wakelog.record import sha256
from wakelog.runtime import is_directory, list_regular, read_small

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_NEEDED = "wakelog[evidence] is not installed: pip install 'wakelog[evidence]'"
_KEY_BYTES = 32
_OTHERS = 0o077
_PRIVATE, _PUBLIC = b"PRIVATE KEY-----", b"PUBLIC KEY-----"
_HOW_TO_MAKE = "make one with: openssl genpkey -algorithm ed25519 -out seal.key"
_LONGEST_FILE = 1024 * 1024


class Signer(NamedTuple):
    """Signs seals.

    Attributes:
        sign: Returns the Ed25519 signature of its argument, 64 bytes. It may call another process,
            a hardware module or a service. It runs in a background thread, and if it raises, the
            seal is tried again later.
        public_key: The public key, 32 bytes.
    """

    sign: Callable[[bytes], bytes]
    public_key: bytes

    @property
    def id(self) -> str:
        """The key's id in seals."""
        return key_id(self.public_key)

    def check(self) -> None:
        """Check the public key, which otherwise fails only when the first seal is made.

        Raises:
            ConfigurationError: If it is not 32 bytes.
        """
        key: object = self.public_key
        if not isinstance(key, bytes) or len(key) != _KEY_BYTES:
            message = (
                f"public_key={key!r} cannot be used: give the {_KEY_BYTES} bytes of an Ed25519 key, "
                "as its public_bytes_raw() returns them"
            )
            raise ConfigurationError(message)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Signer:
        """Read a private key from a PEM file, as ``openssl genpkey -algorithm ed25519`` writes it.

        Raises:
            ConfigurationError: If the file cannot be read, has no such key, or is readable by
                others; or if ``cryptography`` is not installed.
        """
        key = read_key_file(path)
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        if not isinstance(key, Ed25519PrivateKey):
            message = f"{os.fspath(path)} holds no Ed25519 key: {_HOW_TO_MAKE}"
            raise ConfigurationError(message)
        return cls(key.sign, key.public_key().public_bytes_raw())


def read_key_file(path: str | os.PathLike[str]) -> Any:
    """Read a private key from a PEM file that only its owner can read.

    Raises:
        ConfigurationError: If it cannot be read, has no key, or is readable by others; or if
            ``cryptography`` is not installed.
    """
    try:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise ConfigurationError(_NEEDED) from error
    path = os.path.expanduser(path)
    text = _read(path)
    if _PRIVATE not in text:
        what = "a public key, and the private one signs" if _PUBLIC in text else "no private key"
        raise ConfigurationError(f"{os.fspath(path)} holds {what}: {_HOW_TO_MAKE}")
    if os.stat(path).st_mode & _OTHERS:
        raise ConfigurationError(
            f"the key {os.fspath(path)} may be read by others: run chmod 600 on it"
        )
    try:
        return load_pem_private_key(text, None)
    except (ValueError, TypeError) as error:
        message = f"{os.fspath(path)} holds no private key without a password: {_HOW_TO_MAKE}"
        raise ConfigurationError(message) from error


def key_id(public_key: bytes) -> str:
    """Return the id of a public key: the first 32 hexadecimal digits of its SHA-256."""
    return sha256(public_key).hexdigest()[:32]


class PublicKeys:
    """The public keys that a verifier trusts.

    Args:
        keys: The keys by id.
    """

    def __init__(self, keys: Mapping[str, Ed25519PublicKey]) -> None:
        self._keys = keys

    @classmethod
    def from_path(cls, path: str | os.PathLike[str]) -> PublicKeys:
        """Read public keys from a file of one or more PEM blocks, or from the files of a directory.

        Raises:
            ConfigurationError: If there is none, or it cannot be read.
        """
        try:
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
            from cryptography.hazmat.primitives.serialization import load_pem_public_key
        except ImportError as error:
            raise ConfigurationError(_NEEDED) from error
        place = Path(os.path.expanduser(path))
        files = [place / n for n in sorted(list_regular(place))] if is_directory(place) else [place]
        found: dict[str, Ed25519PublicKey] = {}
        end = b"-----END PUBLIC KEY-----"
        for file in files:
            for block in _read(file).split(end)[:-1]:
                begin = block.find(b"-----BEGIN PUBLIC KEY-----")
                try:
                    key = load_pem_public_key(block[max(0, begin) :] + end + b"\n")
                except (ValueError, TypeError) as error:
                    message = f"{file} holds a public key that cannot be read: {error}"
                    raise ConfigurationError(message) from error
                if isinstance(key, Ed25519PublicKey):
                    found[key_id(key.public_bytes_raw())] = key
        if not found:
            message = f"there is no Ed25519 public key in {place}"
            if any(_PRIVATE in _read(file) for file in files):
                message += ", but a private key, which is not needed for verifying"
            message += ": openssl pkey -in seal.key -pubout -out seal.pub writes the public one"
            raise ConfigurationError(message)
        return cls(found)

    @classmethod
    def of(cls, public_key: bytes) -> PublicKeys:
        """Return an object that trusts one key, given as its 32 bytes."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        return cls({key_id(public_key): Ed25519PublicKey.from_public_bytes(public_key)})

    @property
    def ids(self) -> list[str]:
        """The ids of the keys."""
        return sorted(self._keys)

    def misfit(self, signer: str, signature: bytes, signed: bytes) -> str | None:
        """Return what is wrong with a signature; None if it is valid."""
        from cryptography.exceptions import InvalidSignature

        if (key := self._keys.get(signer)) is None:
            return f"it is signed with the key {signer}, which is not among those given"
        try:
            key.verify(signature, signed)
        except InvalidSignature:
            return f"its signature is not that of the key {signer}"
        return None


def public_pem(public_key: bytes) -> str:
    """Return a public key as PEM."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = Ed25519PublicKey.from_public_bytes(public_key)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        return read_small(os.path.realpath(path), _LONGEST_FILE)
    except OSError as error:
        message = f"the key {os.fspath(path)} cannot be read: {error.strerror or error}"
        raise ConfigurationError(message) from error
