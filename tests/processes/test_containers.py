"""A program in what a container is made of: a read-only root, a user without an entry, process 1, one volume."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.collector import Collector
from tests.support.waiting import until
from wakelog.journal import read

USER = 10001
NOWHERE = "http://127.0.0.1:9"
PLACE = "/mnt"  # covered by a file system of its own in each namespace, and reached by every user

# What a runtime of containers does, by the same calls: namespaces, mounts, a user, and no variable but those given.
RUN = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs "$1"
mkdir "$1/python" "$1/site" "$1/src" "$1/data" "$1/tmp"
mount --bind "$2" "$1/python"
mount --bind "$3" "$1/site"
mount --bind "$4" "$1/src"
mount --bind "$5" "$1/data"
mount -t proc proc /proc
mount -o remount,bind,ro /
folder=$1; program=$6; shift 6
exec setpriv --reuid=10001 --regid=10001 --clear-groups env -i PYTHONDONTWRITEBYTECODE=1 \
  PYTHONPATH="$folder/src:$folder/site" LD_LIBRARY_PATH="$folder/python/lib" "$@" "$folder/python/bin/{python}" -c "$program"
"""

PROGRAM = """
import os, signal, sys, time
import wakelog
if "HANDLER" in os.environ:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
try:
    open("/written", "w")
except OSError:
    log = wakelog.configure("clerk", service_name="shop")
    event = log.user_message("hello")
    print(os.getpid(), os.getuid(), event.receipt is not None, flush=True)
    time.sleep(120)
"""

needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0
    or not (shutil.which("unshare") and shutil.which("setpriv"))
    or subprocess.run(
        [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "sh",
            "-c",
            "mount --make-rprivate / && mount -t proc proc /proc",
        ],
        capture_output=True,
        check=False,
    ).returncode
    != 0,
    reason="no namespaces here: it needs root, unshare and setpriv",
)

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A volume as Kubernetes mounts it for `fsGroup`: root's, and the group may write."""
    made = tmp_path / "volume"
    made.mkdir()
    os.chown(made, 0, USER)
    made.chmod(0o2775)
    return made


@pytest.fixture
def start(volume: Path) -> Iterator[Start]:
    begun: list[subprocess.Popen[str]] = []

    def started(program: str = PROGRAM, **variables: str) -> subprocess.Popen[str]:
        python = f"python{sys.version_info.major}.{sys.version_info.minor}"
        given = [
            f"{name}={value.replace('VOLUME', f'{PLACE}/data')}"
            for name, value in variables.items()
        ]
        one = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "sh", "-c",
             RUN.replace("{python}", python), "sh", PLACE, sys.base_prefix,
             sysconfig.get_path("purelib"), ROOT / "src", volume, program, *given],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/",
        )  # fmt: skip
        begun.append(one)
        return one

    yield started
    for one in begun:
        for process_1 in children_of(one):  # that ends the namespace, and with it unshare
            os.kill(process_1, signal.SIGKILL)
        one.communicate(timeout=30)


def is_recording(container: subprocess.Popen[str]) -> bool:
    """Wait until a container has recorded its event."""
    assert container.stdout is not None
    said = container.stdout.readline()
    assert said == f"1 {USER} True\n", container.communicate(timeout=5)
    return True


def children_of(process: subprocess.Popen[str]) -> list[int]:
    """Return the children of a process; the one of unshare is process 1 of its namespace, which has another number here."""
    try:
        said = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    except OSError:  # it has ended
        return []
    return [int(one) for one in said.split()]


@needs_namespaces
def test_a_program_records_with_a_read_only_root_as_a_user_without_an_entry(
    start: Start, volume: Path
) -> None:
    assert is_recording(start(WAKELOG_DIR="VOLUME/wakelog"))

    journal = volume / "wakelog"
    assert journal.stat().st_mode & 0o777 == 0o700
    assert journal.stat().st_uid == USER
    assert [entry.record.event_name for entry in read(journal)] == ["wakelog.user_message"]


@needs_namespaces
def test_without_a_volume_and_a_home_the_message_names_the_variable(start: Start) -> None:
    out, err = start().communicate(timeout=60)

    assert out == ""
    assert "WAKELOG_DIR" in err.splitlines()[-1]


@needs_namespaces
def test_process_1_ends_at_sigterm_when_it_has_a_handler_and_ignores_it_without(
    start: Start,
) -> None:
    patient = start(WAKELOG_DIR="VOLUME/one", OTEL_EXPORTER_OTLP_ENDPOINT=NOWHERE)
    handling = start(WAKELOG_DIR="VOLUME/two", OTEL_EXPORTER_OTLP_ENDPOINT=NOWHERE, HANDLER="1")
    for one in (patient, handling):
        assert is_recording(one)
        os.kill(children_of(one)[0], signal.SIGTERM)

    assert handling.wait(timeout=30) == 0  # though nothing could be delivered
    assert patient.poll() is None


@needs_namespaces
def test_what_a_killed_container_leaves_on_the_volume_the_next_one_delivers(
    start: Start, collector: Collector, volume: Path
) -> None:
    http = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "WAKELOG_DIR": "VOLUME/wakelog"}
    first = start(OTEL_EXPORTER_OTLP_ENDPOINT=NOWHERE, **http)
    assert is_recording(first)
    os.kill(children_of(first)[0], signal.SIGKILL)
    first.wait(timeout=30)

    start(OTEL_EXPORTER_OTLP_ENDPOINT=collector.http_endpoint, **http)

    until(
        lambda: len({log.attributes["wakelog.writer.id"] for log in collector.log_records()}) == 2
    )
