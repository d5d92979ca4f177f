"""The environment variables of sealing, apart from its settings, which few programs load."""

from __future__ import annotations

from typing import Final

KEY: Final = "WAKELOG_SEAL_KEY"
SEALING: Final = "WAKELOG_SEALING"
INTERVAL: Final = "WAKELOG_SEAL_INTERVAL"
CHECKPOINTS: Final = "WAKELOG_CHECKPOINTS"
TIMESTAMP_URL: Final = "WAKELOG_TIMESTAMP_URL"
ERASABLE: Final = "WAKELOG_ERASABLE"
SEALING_VARIABLES: Final = (KEY, SEALING, INTERVAL, CHECKPOINTS, TIMESTAMP_URL, ERASABLE)
"""The environment variables for ``Sealing``."""
