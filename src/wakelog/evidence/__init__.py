"""Evidence: signed seals over a journal's lines, and what a third party can verify with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wakelog._lazy import lazy_names

if TYPE_CHECKING:
    from wakelog.evidence._anchors import (
        Anchored,
        Authorities,
        FileAnchor,
        TimestampAnchor,
        read_anchors,
    )
    from wakelog.evidence._audit_trail import TrailSigner, audit_trail
    from wakelog.evidence._checking import (
        AnchorsReport,
        FolderReport,
        check_anchors,
        check_folder,
        erased_in,
    )
    from wakelog.evidence._checkpoint import record_checkpoint
    from wakelog.evidence._erasure import Erasure, erase
    from wakelog.evidence._keys import PublicKeys, Signer, key_id, public_pem
    from wakelog.evidence._proof import Proof, prove
    from wakelog.evidence._seal import Seal, parse_seal
    from wakelog.evidence._seal_file import last_seal
    from wakelog.evidence._sealer import KEEP_SECONDS, OutsideSealer, Sealer, Signing
    from wakelog.evidence._sealing import declare_deletion, seal_folder
    from wakelog.evidence._settings import SEALING_VARIABLES, Anchor, Sealing

__all__ = [
    "KEEP_SECONDS",
    "SEALING_VARIABLES",
    "Anchor",
    "Anchored",
    "AnchorsReport",
    "Authorities",
    "Erasure",
    "FileAnchor",
    "FolderReport",
    "OutsideSealer",
    "Proof",
    "PublicKeys",
    "Seal",
    "Sealer",
    "Sealing",
    "Signer",
    "Signing",
    "TimestampAnchor",
    "TrailSigner",
    "audit_trail",
    "check_anchors",
    "check_folder",
    "declare_deletion",
    "erase",
    "erased_in",
    "key_id",
    "last_seal",
    "parse_seal",
    "prove",
    "public_pem",
    "read_anchors",
    "record_checkpoint",
    "seal_folder",
]

__getattr__ = lazy_names(
    __name__,
    {
        "wakelog.evidence._anchors": [
            "Anchored",
            "Authorities",
            "FileAnchor",
            "TimestampAnchor",
            "read_anchors",
        ],
        "wakelog.evidence._audit_trail": ["TrailSigner", "audit_trail"],
        "wakelog.evidence._checking": [
            "AnchorsReport",
            "FolderReport",
            "check_anchors",
            "check_folder",
            "erased_in",
        ],
        "wakelog.evidence._checkpoint": ["record_checkpoint"],
        "wakelog.evidence._erasure": ["Erasure", "erase"],
        "wakelog.evidence._keys": ["PublicKeys", "Signer", "key_id", "public_pem"],
        "wakelog.evidence._proof": ["Proof", "prove"],
        "wakelog.evidence._seal": ["Seal", "parse_seal"],
        "wakelog.evidence._seal_file": ["last_seal"],
        "wakelog.evidence._sealer": ["KEEP_SECONDS", "OutsideSealer", "Sealer", "Signing"],
        "wakelog.evidence._sealing": ["declare_deletion", "seal_folder"],
        "wakelog.evidence._settings": ["Anchor", "SEALING_VARIABLES", "Sealing"],
    },
)
