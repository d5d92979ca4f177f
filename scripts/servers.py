"""Gets the real servers that tests talk to, as far as this machine may, and says what it did.

    python -m scripts.servers          installs and builds what is missing
    python -m scripts.servers --here   prints the names of those that are here, with commas between

Debian's packages are installed where this runs as root; they are not started. Programs in Go are built where Go
is, Apache Kafka is fetched where Java and Maven are, and axe-core where npm is; all are kept outside the
repository, see `scripts/go_program.py`.

Exit codes: 0 when everything is here, or cannot be had on this machine; 1 when something failed.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

from scripts import fetch_axe, fetch_kafka
from scripts.build_collector import COLLECTOR
from scripts.build_jaeger import JAEGER
from scripts.build_kafka import KAFKA
from scripts.build_uwsgi import build_uwsgi, uwsgi
from scripts.build_victoria_logs import VICTORIA_LOGS
from scripts.go_program import GoProgram

# Where Debian keeps programs that are not on everybody's path.
_PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/lib/postgresql/*/bin")
# Asked by the scripts of packages before they start a service; 101 forbids it.
_POLICY = Path("/usr/sbin/policy-rc.d")
_FORBID = "#!/bin/sh\nexit 101\n"
_APT = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300")


class Unavailable(Exception):  # noqa: N818 - it is a reason, and often no error
    """Why a server cannot be had on this machine."""


class Package(NamedTuple):
    """A server that comes as a package of Debian.

    Attributes:
        name: The package.
        programs: What has to be there for the tests; of each tuple, one is enough.
    """

    name: str
    programs: tuple[tuple[str, ...], ...]

    def missing(self) -> str:
        """Returns which program is missing, empty when there is none."""
        for names in self.programs:
            if not any(find(name) for name in names):
                return f"{names[0]} is not installed"
        return ""

    def get(self) -> None:
        """Installs it.

        Raises:
            Unavailable: When this machine cannot, or may not.
            subprocess.CalledProcessError: When installing failed, or no package server could be reached.
        """
        if shutil.which("apt-get") is None:
            raise Unavailable(f"{self.missing()}, and apt-get is not here to install {self.name}")
        if os.geteuid() != 0:
            raise Unavailable(f"{self.missing()}: run `sudo apt-get install {self.name}`")
        refresh_lists()
        with services_not_started():
            apt("install", "--yes", "--no-install-recommends", self.name)
        if missing := self.missing():
            raise Unavailable(f"{missing} by the package {self.name}")


class Build(NamedTuple):
    """A server that is built from its source in Go."""

    program: GoProgram

    def missing(self) -> str:
        """Returns that it has not been built, empty when it has."""
        return "" if self.program.binary.exists() else f"{self.program.name} has not been built"

    def get(self) -> None:
        """Builds it; the exceptions are those of `Package.get`."""
        go = shutil.which("go")
        if go is None:
            raise Unavailable(f"{self.missing()}, and Go is not here (https://go.dev/dl)")
        self.program.make(go)


class Kafka(NamedTuple):
    """Apache Kafka's broker, which Maven fetches."""

    def missing(self) -> str:
        """Returns why it cannot run now, empty when it can."""
        if reason := fetch_kafka.missing():
            return reason
        return "" if fetch_kafka.jars().exists() else "Kafka has not been fetched"

    def get(self) -> None:
        """Fetches it; the exceptions are those of `Package.get`."""
        if reason := fetch_kafka.unavailable():
            raise Unavailable(reason)
        fetch_kafka.fetch()


class Axe(NamedTuple):
    """axe-core, which npm fetches."""

    def missing(self) -> str:
        """Returns that it has not been fetched, empty when it has."""
        return "" if fetch_axe.axe().exists() else "axe-core has not been fetched"

    def get(self) -> None:
        """Fetches it; the exceptions are those of `Package.get`."""
        if reason := fetch_axe.unavailable():
            raise Unavailable(reason)
        fetch_axe.fetch()


class UWSGI(NamedTuple):
    """uWSGI, which pip builds in C."""

    def missing(self) -> str:
        """Returns that it has not been built, empty when it has."""
        return "" if uwsgi().exists() else "uWSGI has not been built"

    def get(self) -> None:
        """Builds it; the exceptions are those of `Package.get`."""
        if shutil.which("cc") is None:
            raise Unavailable(f"{self.missing()}, and no C compiler is here")
        build_uwsgi()


# As `tests/support/parts.py` names them. Each with what there has to be.
PARTS: dict[str, tuple[Package | Build | Kafka | Axe | UWSGI, ...]] = {
    "redis": (Package("redis-server", (("redis-server",),)),),
    "rabbitmq": (Package("rabbitmq-server", (("rabbitmq-server",), ("epmd",))),),
    "postgresql": (Package("postgresql", (("initdb",), ("postgres",), ("pg_isready",))),),
    "prometheus": (Package("prometheus", (("prometheus",), ("promtool",))),),
    "chromium": (
        Package("chromium", (("chromium", "chromium-browser", "google-chrome", "chrome"),)),
    ),
    "collector": (Build(COLLECTOR), Build(KAFKA)),
    "jaeger": (Build(JAEGER),),
    "victoria-logs": (Build(VICTORIA_LOGS),),
    "kafka": (Kafka(),),
    "uwsgi": (UWSGI(),),
    "axe": (Axe(),),
}


def find(program: str) -> str | None:
    """Returns where a program is, on the path or where Debian keeps it."""
    places = [place for pattern in _PLACES for place in sorted(glob.glob(pattern))]
    return shutil.which(program) or shutil.which(program, path=os.pathsep.join(places))


def missing(part: str) -> str:
    """Returns why a server is not here, empty when it is."""
    return next((reason for one in PARTS[part] if (reason := one.missing())), "")


def apt(*arguments: str) -> None:
    """Runs apt-get without questions; what it says goes to standard error."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run([*_APT, *arguments], env=environment, stdout=sys.stderr, check=True)


@cache
def refresh_lists() -> None:
    """Has apt-get learn, once, what packages there are: a new machine's lists are empty."""
    apt("update")


@contextmanager
def services_not_started() -> Iterator[None]:
    """Has packages that are installed meanwhile not start their services: tests start their own."""
    if _POLICY.exists():  # the machine's own, as in most containers
        yield
        return
    _POLICY.write_text(_FORBID)
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


def main(arguments: list[str]) -> int:
    """Gets every server, or prints those that are here, and returns the exit code."""
    if arguments == ["--here"]:
        print(",".join(part for part in PARTS if not missing(part)))
        return 0
    said = {part: outcome(part) for part in PARTS}
    for part, (_, what) in said.items():
        print(f"  {part:<14}{what}")
    return 0 if all(fine for fine, _ in said.values()) else 1


def outcome(part: str) -> tuple[bool, str]:
    """Gets a server; returns whether that did not fail, and what to tell about it."""
    if not missing(part):
        return True, "is here"
    done = "installed" if isinstance(PARTS[part][0], Package) else "built"
    try:
        for one in PARTS[part]:
            if one.missing():
                print(f"Getting {part}", file=sys.stderr)
                one.get()
    except Unavailable as reason:
        return True, f"is not here: {reason}"
    except (OSError, subprocess.CalledProcessError) as error:
        return False, f"FAILED: {error}"
    return True, done


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
