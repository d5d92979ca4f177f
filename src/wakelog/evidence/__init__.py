"""Evidence: signed seals over a journal's lines, and what a third party can verify with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wakelog._lazy import lazy_names

if TYPE_CHECKING:
    from wakelog.evidence._anchors import Anchored as Anchored
    from wakelog.evidence._anchors import Authorities as Authorities
    from wakelog.evidence._anchors import FileAnchor as FileAnchor
    from wakelog.evidence._anchors import TimestampAnchor as TimestampAnchor
    from wakelog.evidence._anchors import read_anchors as read_anchors
    from wakelog.evidence._audit_trail import TrailSigner as TrailSigner
    from wakelog.evidence._audit_trail import audit_trail as audit_trail
    from wakelog.evidence._checking import AnchorsReport as AnchorsReport
    from wakelog.evidence._checking import FolderReport as FolderReport
    from wakelog.evidence._checking import check_anchors as check_anchors
    from wakelog.evidence._checking import check_folder as check_folder
    from wakelog.evidence._checking import erased_in as erased_in
    from wakelog.evidence._checkpoint import record_checkpoint as record_checkpoint
    from wakelog.evidence._erasure import Erasure as Erasure
    from wakelog.evidence._erasure import erase as erase
    from wakelog.evidence._keys import PublicKeys as PublicKeys
    from wakelog.evidence._keys import Signer as Signer
    from wakelog.evidence._keys import key_id as key_id
    from wakelog.evidence._keys import public_pem as public_pem
    from wakelog.evidence._proof import Proof as Proof
    from wakelog.evidence._proof import prove as prove
    from wakelog.evidence._seal import Seal as Seal
    from wakelog.evidence._seal import parse_seal as parse_seal
    from wakelog.evidence._seal_file import last_seal as last_seal
    from wakelog.evidence._sealer import KEEP_SECONDS as KEEP_SECONDS
    from wakelog.evidence._sealer import OutsideSealer as OutsideSealer
    from wakelog.evidence._sealer import Sealer as Sealer
    from wakelog.evidence._sealer import Signing as Signing
    from wakelog.evidence._sealing import declare_deletion as declare_deletion
    from wakelog.evidence._sealing import seal_folder as seal_folder
    from wakelog.evidence._settings import Anchor as Anchor
    from wakelog.evidence._settings import Sealing as Sealing
    from wakelog.evidence._variables import SEALING_VARIABLES as SEALING_VARIABLES

_HOMES = {
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
    "wakelog.evidence._settings": ["Anchor", "Sealing"],
    "wakelog.evidence._variables": ["SEALING_VARIABLES"],
}

__all__ = sorted(name for names in _HOMES.values() for name in names)  # noqa: PLE0605 - each name once

__getattr__ = lazy_names(__name__, _HOMES)
