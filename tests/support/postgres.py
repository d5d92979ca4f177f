"""A PostgreSQL server of the tests' own, on a socket in a temporary directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

_SECONDS = 60


def missing() -> str | None:
    """Say why no server can be started here, or None when one can."""
    if _programs() is None:
        return (
            "PostgreSQL is not installed: no initdb and postgres on the path or in Debian's place"
        )
    if os.geteuid() == 0 and (shutil.which("setpriv") is None or not _user_exists()):
        return "PostgreSQL refuses to run as root, and there is no setpriv or no user postgres"
    return None


def _programs() -> Path | None:
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    places += [Path(found).resolve().parent] if found else []
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    return None


def _user_exists() -> bool:
    import pwd

    try:
        pwd.getpwnam("postgres")
    except KeyError:
        return False
    return True


class Postgres:
    """A server that runs from `start` to `stop`, without the network.

    `admin` connects as a superuser, `app` as an ordinary role, which row-level security binds.
    """

    def __init__(self) -> None:
        programs = _programs()
        assert programs is not None
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="wl-pg-", dir="/tmp"))
        self._as = []
        if os.geteuid() == 0:
            shutil.chown(self._folder, "postgres", "postgres")
            self._as = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        self._process: subprocess.Popen[bytes] | None = None
        self.admin = f"host={self._folder} user=postgres dbname=postgres"
        self.app = f"host={self._folder} user=app dbname=postgres"

    def start(self) -> None:
        """Make a database and serve it."""
        data = self._folder / "data"
        initdb = [self._programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N"]
        initdb += ["-E", "UTF8", "--locale=C"]
        self._run([*self._as, *map(str, initdb)])
        self.restart()
        import psycopg

        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute("CREATE ROLE app LOGIN")
            connection.execute("GRANT CREATE ON DATABASE postgres TO app")

    def restart(self) -> None:
        """Stop the server if it runs, and start it on the same data."""
        self.stop(keep=True)
        log = (self._folder.parent / f"{self._folder.name}.log").open("ab")
        options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={self._folder}"]
        options += ["-c", "fsync=off", "-c", "max_connections=50", "-c", "shared_buffers=16MB"]
        with log:
            self._process = subprocess.Popen(
                [*self._as, self._programs / "postgres", "-D", self._folder / "data", *options],
                stdout=log,
                stderr=log,
                cwd="/",
            )
        deadline = time.monotonic() + _SECONDS
        ready = [
            str(self._programs / "pg_isready"),
            "-q",
            "-h",
            str(self._folder),
            "-U",
            "postgres",
        ]
        while subprocess.run(ready, check=False).returncode != 0:
            assert self._process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.05)

    def stop(self, *, keep: bool = False) -> None:
        """Stop the server, and delete what it had unless it is to be kept."""
        if self._process is not None:
            # The immediate kind of shutdown, which ends every session.
            self._process.send_signal(3)
            self._process.wait(_SECONDS)
            self._process = None
        if not keep:
            shutil.rmtree(self._folder, ignore_errors=True)
            (self._folder.parent / f"{self._folder.name}.log").unlink(missing_ok=True)

    @staticmethod
    def _run(command: list[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 0, done.stderr
