"""The kernel's file locks, by which a journal detects whether a process is alive."""

from __future__ import annotations

try:
    import fcntl
except ImportError as error:
    message = (
        "Wakelog keeps its journal under the file locks of POSIX (fcntl), which this Python does not "
        "have, as on Windows: run it on Linux or macOS, in WSL or in a container"
    )
    raise ImportError(message, name="fcntl") from error

__all__ = ["fcntl"]
