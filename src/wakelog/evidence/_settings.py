"""What somebody says about sealing, once for every journal of a process."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Final, Protocol, Self

from wakelog.errors import ConfigurationError
from wakelog.evidence._keys import Signer

_KEY, _SEALING = "WAKELOG_SEAL_KEY", "WAKELOG_SEALING"
_INTERVAL, _CHECKPOINTS = "WAKELOG_SEAL_INTERVAL", "WAKELOG_CHECKPOINTS"
_TIMESTAMP_URL, _ERASABLE = "WAKELOG_TIMESTAMP_URL", "WAKELOG_ERASABLE"
SEALING_VARIABLES: Final = (_KEY, _SEALING, _INTERVAL, _CHECKPOINTS, _TIMESTAMP_URL, _ERASABLE)
"""The variables that say what ``Sealing`` does."""


class Anchor(Protocol):
    """Stores seals elsewhere: in a file on another machine, at a time-stamp authority, at a notary.

    It is called in a background thread after each seal, for the newest one. What it raises is counted
    and said; the next seal is offered all the same, and stands for all before it.
    """

    def __call__(self, seal: bytes) -> None:
        """Take a seal.

        Args:
            seal: The signed line, without a newline.

        Raises:
            OSError: When it cannot be taken now.
        """
        ...


@dataclass(frozen=True)
class Sealing:
    """Settings of sealing; see ``docs/evidence.md``.

    Args:
        key: The Ed25519 private key that signs: a PEM file, or a ``Signer`` where the key is elsewhere.
            None when this process signs nothing, and another one does (``wakelog ship`` with
            ``--seal-key``, or ``wakelog seal``): its content is prepared for erasing all the same.
        interval: The longest that a line stays without a seal while the process runs, in seconds.
        anchors: Who is given each seal, beside the next hop.
        export: Whether each seal also leaves as a log record, a checkpoint, to the next hop.
        erasable: Whether content leaves its line for a file beside the segment, behind a random salt, so
            that ``wakelog erase`` can delete it without touching a line. It costs a second write for
            each event that has content.

    Raises:
        ConfigurationError: For an interval that is not above 0, or a key that cannot be used.
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
        self.signer()

    @classmethod
    def from_environment(cls) -> Self | None:
        """Return what the variables say, None when sealing is off.

        It is on where ``WAKELOG_SEAL_KEY`` names a key, and with ``WAKELOG_SEALING=true`` without one.

        Raises:
            ConfigurationError: For a variable that cannot be used; it says which.
        """
        key, checkpoints = _said(_KEY), _said(_CHECKPOINTS)
        on, erasable = _flag(_SEALING, default=bool(key)), _flag(_ERASABLE, default=True)
        anchors = _anchors(checkpoints, _said(_TIMESTAMP_URL))
        try:
            interval = float(_said(_INTERVAL) or cls.interval)
            said = cls(key or None if on else None, interval, anchors, erasable=erasable)
        except ConfigurationError as error:
            message = str(error).replace("interval=", f"{_INTERVAL}=", 1)
            if key and key in message:
                message = f"{_KEY}: {message}"
            raise ConfigurationError(message) from error
        except ValueError:
            message = f"{_INTERVAL}={_said(_INTERVAL)!r} cannot be used: give a number of seconds"
            raise ConfigurationError(message) from None
        return said if on else None

    def signer(self) -> Signer | None:
        """Return what signs, None when this process does not.

        Raises:
            ConfigurationError: When the key cannot be used.
        """
        if self.key is None or isinstance(self.key, Signer):
            return self.key
        return Signer.from_file(self.key)


def _anchors(checkpoints: str, url: str) -> tuple[Anchor, ...]:
    """Return the anchors for a file of checkpoints and a time-stamp authority, either of them empty."""
    if url and not checkpoints:
        raise ConfigurationError(
            f"{_TIMESTAMP_URL} needs {_CHECKPOINTS}: the file that the time stamps go to"
        )
    if not checkpoints:
        return ()
    # Not before they are needed: they load urllib, ssl and what else an HTTP client is made of.
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
