"""The demo tells the truth: it ends with 0 only when nothing was lost."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import wakelog
from wakelog.cli._demo_agent import SESSION
from wakelog.cli._demo_endpoint import Endpoint
from wakelog.cli._demo_report import difference
from wakelog.cli.demo import _fresh_directory
from wakelog.journal import Journal, books, read
from wakelog.record import Resource, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = str(Path(wakelog.__file__).parent.parent)
SECONDS = 200


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    # The fixture of a module is made before the developer's settings are hidden from its tests.
    hidden = ("COLUMNS", "FORCE_COLOR", "OTEL_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    return subprocess.run(
        [sys.executable, "-m", "wakelog.cli", *arguments],
        env={**kept, "PYTHONPATH": SOURCE, **variables},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The demo, run once, with settings around it that would break it if they got in."""
    directory = tmp_path_factory.mktemp("demo") / "journal"
    done = run(
        "demo",
        "--directory",
        str(directory),
        OTEL_LOGS_EXPORTER="none",
        HTTP_PROXY="http://127.0.0.1:9",
        http_proxy="http://127.0.0.1:9",
        WAKELOG_DIR=str(directory / "wrong"),
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return directory, done.stdout


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    made.open()
    yield made
    made.close()


def test_everything_accepted_arrived_once_and_what_was_in_doubt_twice(
    told: tuple[Path, str],
) -> None:
    directory, text = told

    all_books = books(directory)
    everything = sum(one.accepted for one in all_books)
    ids = {entry.record.id for entry in read(directory)}
    span_ids = {entry.record.id for entry in read(directory, signal="spans")}
    accepted = everything - len(span_ids)

    assert [one.pending for one in all_books] == [0, 0, 0, 0]
    assert 30 <= accepted == len(ids) <= 60
    assert f"The books balance: accepted {everything} = delivered {everything} + pending 0" in text
    match = re.search(r"It has (\d+) spans of (\d+); (\d+) were open", text)
    assert match is not None
    assert [int(number) for number in match.groups()[:2]] == [len(span_ids)] * 2
    assert int(match[3]) > 0
    match = re.search(r"has (\d+) distinct records of (\d+) accepted; (\d+) arrived twice", text)
    assert match is not None
    assert [int(number) for number in match.groups()[:2]] == [accepted, accepted]
    assert int(match[3]) > 0
    assert "✓ Nothing was lost." in text
    assert "✗ " not in text.split("The books")[1]


def test_the_killed_tool_call_is_shown_as_unknown_and_the_run_as_finished(
    told: tuple[Path, str],
) -> None:
    directory, text = told

    data = json.loads(run("show", str(directory), "--json").stdout)

    (session,) = data["sessions"]
    (desk,) = session["runs"]
    assert (session["id"], desk["status"]) == (SESSION, "success")
    (customs,) = (step for step in desk["steps"] if step["name"] == "customs-desk")
    calls = [step for step in customs["steps"] if step["name"] == "declare_cargo"]
    assert [call["status"] for call in calls] == ["unknown", "success"]
    assert [one["steps"] for one in calls] == [[], []]
    assert "? tool  declare_cargo  outcome unknown" in text


def test_the_story_is_plain_when_piped_and_says_what_to_try(told: tuple[Path, str]) -> None:
    directory, text = told

    assert "\x1b" not in text
    for command in ("show", "status", "tail --from-start"):
        assert f"  wakelog {command} {directory}\n" in text
    for line in ("is killed with SIGKILL inside its tool declare_cargo", "is back, on the same"):
        assert line in text


def test_a_record_that_did_not_arrive_is_a_difference(
    told: tuple[Path, str], endpoint: Endpoint
) -> None:
    directory, _ = told

    wrong = difference(directory, endpoint)

    accepted = len({entry.record.id for entry in read(directory)})
    spans = len({entry.record.id for entry in read(directory, signal="spans")})
    assert wrong == [
        f"{accepted} records are in the journal and not at the endpoint",
        f"{spans} spans are in the journal and not at the endpoint",
    ]


def test_a_record_that_was_not_delivered_is_a_difference(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append("a", encode({"body": "x"}, 1000), Resource({}))
    journal.close()

    assert difference(tmp_path, None) == ["1 of 1 records were not delivered"]


def test_an_endpoint_of_the_users_gets_the_events_and_is_not_stopped(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    directory = tmp_path / "journal"

    done = run(
        "demo",
        "--directory",
        str(directory),
        OTEL_EXPORTER_OTLP_ENDPOINT=endpoint.url,
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert endpoint.ids == {entry.record.id for entry in read(directory)}
    assert f"is yours, {endpoint.url}, so the demo has no outage" in done.stdout
    assert "distinct records" not in done.stdout


def test_an_endpoint_of_the_users_that_is_not_there_ends_it_with_1(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

        done = run(
            "demo",
            "--directory",
            str(tmp_path / "journal"),
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}",
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            WAKELOG_DEMO_PATIENCE="0.5",
        )

    assert done.returncode == 1
    assert re.search(r"✗ (\d+) of \1 records were not delivered\n", done.stdout)
    assert "The books balance: " in done.stdout
    assert "Nothing was lost" not in done.stdout


def test_a_directory_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear")

    done = run("demo", "--directory", str(tmp_path))

    assert done.returncode == 1
    assert done.stderr == (
        f"wakelog: {tmp_path} is not empty; the demo counts records, so name a new directory\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]


def test_recording_switched_off_is_said_before_anything_is_made(tmp_path: Path) -> None:
    directory = tmp_path / "journal"

    done = run(
        "demo",
        "--directory",
        str(directory),
        OTEL_SDK_DISABLED="true",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://localhost:4318",
    )

    assert done.returncode == 1
    assert "OTEL_SDK_DISABLED=true switches recording off" in done.stderr
    assert not directory.exists()


def test_without_a_directory_it_makes_one_in_the_users_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    first, second = _fresh_directory(None), _fresh_directory(None)

    assert first != second
    for made in (first, second):
        assert made.parent == tmp_path / "wakelog" / "demo"
        assert made.stat().st_mode & 0o777 == 0o700
