"""The settings of sealing, which apply to every journal of a process."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from wakelog.errors import ConfigurationError
from wakelog.evidence import _variables as v

if TYPE_CHECKING:
    from wakelog.evidence._keys import Signer


class Anchor(Protocol):
    """Stores seals elsewhere: on another machine, at a time-stamp authority, or at a notary.

    It is called in a background thread with the newest seal. An exception is counted and logged;
    the next seal is passed nevertheless, and covers all before it.
    """

    def __call__(self, seal: bytes) -> None:
        """Store a seal.

        Args:
            seal: The signed line, without a newline.

        Raises:
            OSError: If it cannot be stored now.
        """
        ...


@dataclass(frozen=True)
class Sealing:
    """Settings of sealing; see ``docs/evidence.md``.

    Args:
        key: The Ed25519 private key for signing: a PEM file, or a ``Signer`` if the key is
            elsewhere. None if another process signs (``wakelog ship`` with ``--seal-key``, or
            ``wakelog seal``); content is nevertheless stored so that it can be erased.
        interval: The longest time for which a line has no seal while the process runs, in seconds.
        anchors: The anchors that receive each seal, besides the next hop.
        export: Whether each seal is also delivered to the next hop as a log record, a checkpoint.
        erasable: Whether content is stored in a file beside the segment, with a random salt, so
            that ``wakelog erase`` can delete it without changing a line. It costs a second write
            for each event with content.

    Raises:
        ConfigurationError: If the interval is not above 0, or the key cannot be used.
    """

    key: str | os.PathLike[str] | Signer | None = None
    interval: float = 60.0
    anchors: tuple[Anchor, ...] = ()
    export: bool = True
    erasable: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.interval, bool) or not 0 < self.interval < math.inf:
            message = f"interval={self.interval!r} cannot be used: give a number of seconds above 0"
            raise ConfigurationError(message)
        if (signer := self.signer()) is not None:
            signer.check()

    @classmethod
    def from_environment(cls) -> Self | None:
        """Return the settings from the environment; None if sealing is off.

        It is on if ``WAKELOG_SEAL_KEY`` names a key, and with ``WAKELOG_SEALING=true`` without one.

        Raises:
            ConfigurationError: If a variable cannot be used; the message names it.
        """
        key, checkpoints = (os.path.expanduser(_said(name)) for name in (v.KEY, v.CHECKPOINTS))
        on, erasable = _flag(v.SEALING, default=bool(key)), _flag(v.ERASABLE, default=True)
        anchors = _anchors(checkpoints, _said(v.TIMESTAMP_URL))
        try:
            interval = float(_said(v.INTERVAL) or cls.interval)
            said = cls(key or None if on else None, interval, anchors, erasable=erasable)
        except ConfigurationError as error:
            message = str(error).replace("interval=", f"{v.INTERVAL}=", 1)
            if key and key in message:
                message = f"{v.KEY}: {message}"
            raise ConfigurationError(message) from error
        except ValueError:
            message = f"{v.INTERVAL}={_said(v.INTERVAL)!r} cannot be used: give a number of seconds"
            raise ConfigurationError(message) from None
        return said if on else None

    def signer(self) -> Signer | None:
        """Return the signer; None if this process does not sign.

        Raises:
            ConfigurationError: If the key cannot be used.
        """
        if self.key is None:
            return None
        from wakelog.evidence._keys import Signer

        return self.key if isinstance(self.key, Signer) else Signer.from_file(self.key)


def _anchors(checkpoints: str, url: str) -> tuple[Anchor, ...]:
    """Return the anchors for a checkpoint file and a time-stamp authority; either may be empty."""
    if url and not checkpoints:
        raise ConfigurationError(
            f"{v.TIMESTAMP_URL} needs {v.CHECKPOINTS}: the file that the time stamps go to"
        )
    if not checkpoints:
        return ()
    # Imported when needed, because they load urllib, ssl and the rest of an HTTP client.
    from wakelog.evidence._anchors import FileAnchor, TimestampAnchor

    file = FileAnchor(checkpoints)
    return (file, TimestampAnchor(url, checkpoints)) if url else (file,)


def _said(variable: str) -> str:
    return os.environ.get(variable, "").strip()


def _flag(variable: str, *, default: bool) -> bool:
    value = _said(variable).lower() or str(default).lower()
    if value not in ("true", "false"):
        raise ConfigurationError(f"{variable}={_said(variable)!r} is not known: use true or false")
    return value == "true"
