"""The export as an Agent Audit Trail, checked by the verifier of the draft's author, which is not ours."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from aat_verify.cli import main as verifier

from wakelog.cli import main
from wakelog.logger import AgentLogger
from wakelog.otel import DurableLogRecordProcessor, OTelSink

Trail = list[dict[str, Any]]


def aat_verify(trail: Path, keys: Path) -> tuple[int, dict[str, Any]]:
    out = io.StringIO()
    with redirect_stdout(out):
        code = verifier([str(trail), "--keys", str(keys), "--json"])
    return code, json.loads(out.getvalue())


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A journal of one run as a signed trail, and the keys that it is checked with."""
    from opentelemetry.sdk._logs import LoggerProvider

    tmp_path = tmp_path_factory.mktemp("trail")
    key = tmp_path / "trail.key"
    subprocess.run(
        [
            "openssl",
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
            str(key),
        ],
        check=True,
        capture_output=True,
    )
    key.chmod(0o600)
    provider = LoggerProvider(shutdown_on_exit=False)
    durable = DurableLogRecordProcessor(None, directory=tmp_path / "j", pipeline="p")
    provider.add_log_record_processor(durable)
    log = AgentLogger("planner", "trip", OTelSink(provider))
    with log.run(session_id="s-1"):
        log.user_message("zwei Plätze nach Lissabon \u2028 \U0001f600")
        log.tool_call("search", {"query": "flights"})
        log.tool_result("search", {"hits": 3.5})
        log.decision("book")
        log.error("no seats")
    durable.close(5)
    trail, keys = tmp_path / "trail.jsonl", tmp_path / "keys.json"
    arguments = ["--format", "aat", "--trail-key", str(key), "--trail-keys", str(keys)]
    with trail.open("w", encoding="utf-8") as out, redirect_stdout(out):
        assert main(["export", str(tmp_path / "j"), *arguments]) == 0
    return trail, keys


def test_the_independent_verifier_accepts_it(exported: tuple[Path, Path]) -> None:
    code, said = aat_verify(*exported)

    assert (code, said["verified"]) == (0, True), said
    names = " ".join(check["name"] for check in said["checks"])
    assert all(word in names for word in ("Hash-chain", "Signatures", "Merkle", "completeness"))
    records = [json.loads(line) for line in exported[0].read_text().splitlines()]
    actions = [record["action_type"] for record in records]
    assert [a for a in actions if a != "lifecycle"] == [
        "tool_call",
        "tool_response",
        "decision",
        "error",
    ]
    assert {record["session_id"] for record in records} == {"s-1"}
    assert {record["agent_id"] for record in records} == {"planner"}
    assert records[-2]["outcome"] == "failure" or records[-1]["outcome"] == "failure"
    assert "Lissabon" not in exported[0].read_text()


def edit(trail: Trail) -> None:
    trail[2]["outcome"] = "denied"


def delete(trail: Trail) -> None:
    del trail[2]


def insert(trail: Trail) -> None:
    trail.insert(3, {**trail[2], "record_id": "another"})


def reorder(trail: Trail) -> None:
    trail[2], trail[3] = trail[3], trail[2]


def cut_off(trail: Trail) -> None:
    del trail[-1]


def cut_on(trail: Trail) -> None:
    del trail[0]


def sign_with_nothing(trail: Trail) -> None:
    trail[2]["signature"] = trail[3]["signature"]


def rename_the_signer(trail: Trail) -> None:
    trail[2]["signer_kid"] = "nobody"


def another_root(trail: Trail) -> None:
    trail[2]["batch"]["merkle_root"] = "0" * 64


@pytest.mark.parametrize(
    "alter",
    [
        edit,
        delete,
        insert,
        reorder,
        cut_off,
        cut_on,
        sign_with_nothing,
        rename_the_signer,
        another_root,
    ],
    ids=lambda alter: alter.__name__,
)
def test_and_rejects_each_alteration_that_the_form_can_show(
    tmp_path: Path, exported: tuple[Path, Path], alter: Callable[[Trail], None]
) -> None:
    whole, keys = exported
    records = [json.loads(line) for line in whole.read_text().splitlines()]
    alter(records)
    trail = tmp_path / "altered.jsonl"
    trail.write_text("".join(json.dumps(record) + "\n" for record in records))

    code, said = aat_verify(trail, keys)

    assert (code, said["verified"]) == (1, False), said


def test_without_a_key_the_chain_still_holds(
    tmp_path: Path, exported: tuple[Path, Path], capsys: Any
) -> None:
    assert main(["export", str(exported[0].parent / "j"), "--format", "aat"]) == 0
    plain = tmp_path / "plain.jsonl"
    plain.write_text(capsys.readouterr().out)
    assert "signature" not in plain.read_text()
    assert aat_verify(plain, exported[1])[0] == 0


def test_a_key_that_the_draft_does_not_know_is_refused(
    tmp_path: Path, exported: Any, capsys: Any
) -> None:
    key = tmp_path / "seal.key"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(key)],
        check=True,
        capture_output=True,
    )
    key.chmod(0o600)
    assert (
        main(["export", str(exported[0].parent / "j"), "--format", "aat", "--trail-key", str(key)])
        == 1
    )
    assert "holds no P-256 key" in capsys.readouterr().err
    assert main(["export", str(exported[0].parent / "j"), "--trail-key", str(key)]) == 1
    assert "are for --format aat" in capsys.readouterr().err
