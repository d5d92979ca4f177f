"""Events as an Agent Audit Trail, the form of the Internet-Draft draft-sharif-agent-audit-trail.

Each record has the SHA-256 of the record before it, over its canonical JSON (RFC 8785), and may be
signed with ES256. Together they are one batch with a Merkle tree (RFC 6962), whose size shows when
records are missing at the end. The draft was written by one person and has no standing in the IETF;
this output was tested with the verifier ``aat-verify`` 0.1.0, which checks draft -04.
"""

from __future__ import annotations

import json
import os
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import Any, Final, NamedTuple

from wakelog.errors import ConfigurationError
from wakelog.events import described, event_type_of
from wakelog.events import semconv as s
from wakelog.evidence._keys import read_key_file
from wakelog.evidence._merkle import leaf_of, root_of
from wakelog.record import Record, Resource, rfc3339

# Event types in the draft's terms; all others are of the type "lifecycle".
_ACTIONS: Final = {
    "tool_call": "tool_call",
    "tool_result": "tool_response",
    "decision": "decision",
    "policy_check": "decision",
    "agent_handoff": "delegation",
    "sub_agent_invoked": "delegation",
    "human_approval": "escalation",
    "error": "error",
    "tool_exception": "error",
    "inference_exception": "error",
}
_PHASES: Final = {"tool_call": "pre_execution", "tool_result": "post_execution"}
_HASHES: Final = {"tool_call": "parameters_hash", "tool_result": "response_hash"}
_DETAILS: Final = (
    (s.TOOL_NAME, "tool_name"),
    (s.REQUEST_MODEL, "model"),
    (s.ERROR_TYPE, "error_code"),
    (s.HANDOFF_TO, "delegate_agent_id"),
    (s.RUN_ID, "run_id"),
)
_UNKNOWN = "unknown"
_ERROR_SEVERITY = 17
_NO_TRUST = 0


class TrailSigner(NamedTuple):
    """Signs the records of a trail with ES256.

    Attributes:
        sign: Returns the signature of a 32-byte digest, as 64 bytes: r and s (IEEE P1363).
        x: The public key's first coordinate.
        y: The public key's second coordinate.
    """

    sign: Callable[[bytes], bytes]
    x: bytes
    y: bytes

    @property
    def kid(self) -> str:
        """The key's thumbprint (RFC 7638)."""
        jwk = {"crv": "P-256", "kty": "EC", "x": _base64url(self.x), "y": _base64url(self.y)}
        return _base64url(sha256(_canonical(jwk)).digest())

    def keystore(self) -> bytes:
        """Return a file of public keys for ``aat-verify --keys``."""
        named = {"x": _base64url(self.x), "y": _base64url(self.y)}
        return json.dumps({self.kid: {"alg": "ES256", "jwk_x_y": named}}, indent=2).encode() + b"\n"

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> TrailSigner:
        """Read a private key from a PEM file. The draft requires the curve P-256.

        Raises:
            ConfigurationError: If the file has no such key.
        """
        from cryptography.hazmat.primitives.asymmetric import ec, utils
        from cryptography.hazmat.primitives.hashes import SHA256

        key = read_key_file(path)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise ConfigurationError(
                f"{os.fspath(path)} holds no P-256 key, with which an Agent Audit Trail is signed: make one "
                "with openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out trail.key"
            )

        def sign(digest: bytes) -> bytes:
            der = key.sign(digest, ec.ECDSA(utils.Prehashed(SHA256())))
            r, second = utils.decode_dss_signature(der)
            return r.to_bytes(32, "big") + second.to_bytes(32, "big")

        numbers = key.public_key().public_numbers()
        return cls(sign, numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big"))


def audit_trail(
    events: Iterable[tuple[Record, Resource, str]], signer: TrailSigner | None = None
) -> Iterator[bytes]:
    """Yield events as an Agent Audit Trail, ordered by time.

    Content is included only as hashes. ``trust_level`` is 0, because nothing assesses trust here.

    Args:
        events: The events, each with its resource and its writer.
        signer: Signs each record; default: no signatures.

    Yields:
        One line for each record.
    """
    found = sorted(events, key=lambda event: event[0].timestamp or event[0].observed_timestamp or 0)
    records: list[dict[str, Any]] = []
    previous: str | None = None
    for record, resource, writer in found:
        made = _record_of(described(record), resource, writer)
        made["prev_hash"] = previous
        if signer is not None:
            made |= {"sig_alg": "ES256", "signer_kid": signer.kid}
            made["signature"] = _base64url(signer.sign(sha256(_canonical(made)).digest()))
        previous = sha256(_canonical(made)).hexdigest()
        records.append(made)
    leaves = [leaf_of(_canonical(one)) for one in records]
    if not leaves:
        return
    root, epoch = root_of(b"".join(leaves)).hex(), str(records[0]["record_id"])
    for index, (made, proof) in enumerate(zip(records, _proofs_of(leaves), strict=True)):
        made["batch"] = {
            "epoch_id": epoch,
            "tree_size": len(leaves),
            "leaf_index": index,
            "merkle_root": root,
            "inclusion_proof": proof,
        }
        yield _canonical(made) + b"\n"


def _record_of(record: Record, resource: Resource, writer: str) -> dict[str, Any]:
    kind, attributes = event_type_of(record.event_name or "log"), record.attributes
    detail: dict[str, Any] = {"event_type": kind, "writer": writer, "seq": record.seq}
    for name, called in _DETAILS:
        if (value := attributes.get(name)) is not None:
            detail[called] = str(value)
    content = {name: attributes[name] for name in sorted(s.CONTENT & attributes.keys())}
    if record.body is not None:
        content["body"] = record.body
    digest = record.content_sha256  # the same after the content was erased
    if content and not digest:
        text = json.dumps(content, sort_keys=True, default=repr).encode(errors="replace")
        digest = sha256(text).hexdigest()
    if digest:
        detail[_HASHES.get(kind, "content_hash")] = digest
    service = resource.attributes
    return {
        "record_id": record.id,
        "timestamp": rfc3339(record.timestamp or record.observed_timestamp or 0),
        "agent_id": str(attributes.get(s.AGENT_NAME) or service.get(s.SERVICE_NAME) or _UNKNOWN),
        "agent_version": str(service.get("service.version") or _UNKNOWN),
        "session_id": str(attributes.get(s.CONVERSATION_ID) or attributes.get(s.RUN_ID) or writer),
        "action_type": _ACTIONS.get(kind, "lifecycle"),
        "action_detail": detail,
        "outcome": _outcome_of(record, kind),
        "trust_level": _NO_TRUST,
        "record_phase": _PHASES.get(kind, "concurrent"),
        "parent_record_id": attributes.get(s.PARENT_ID),
    }


def _outcome_of(record: Record, kind: str) -> str:
    status = str(record.attributes.get(s.STATUS) or "").lower()
    if status in ("timeout", "denied", "escalated"):
        return status
    if kind == "human_approval" and status in ("rejected", "refused"):
        return "denied"
    failed = s.ERROR_TYPE in record.attributes or (record.severity_number or 0) >= _ERROR_SEVERITY
    return "failure" if failed or status in ("error", "failed", "failure") else "success"


def _proofs_of(leaves: list[bytes]) -> list[list[dict[str, str]]]:
    """Return the inclusion path of each leaf, with the side of each hash."""
    proofs: list[list[dict[str, str]]] = [[] for _ in leaves]
    level = [(leaf, [index]) for index, leaf in enumerate(leaves)]
    while len(level) > 1:
        above = []
        for at in range(0, len(level) - 1, 2):
            (left, under_left), (right, under_right) = level[at], level[at + 1]
            for index in under_left:
                proofs[index].append({"side": "right", "hash": right.hex()})
            for index in under_right:
                proofs[index].append({"side": "left", "hash": left.hex()})
            above.append((root_of(left + right), under_left + under_right))
        level = above + level[len(above) * 2 :]
    return proofs


def _canonical(data: dict[str, Any]) -> bytes:
    """Encode JSON by RFC 8785. The keys are ASCII and the numbers are integers."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
