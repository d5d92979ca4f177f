"""The servers that tests need: got where the machine may, required where they are, else skipped aloud."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import servers
from tests.support import parts

APT = """#!/bin/sh
echo "$DEBIAN_FRONTEND $*" >> {log}
test -e {policy} && echo "no services" >> {log}
case "$*" in
  *{refused}*) exit 100 ;;
  *install*) touch {programs}/redis-server; chmod 755 {programs}/redis-server ;;
esac
"""


class Machine:
    """A machine with nothing but an apt-get, which notes what it is asked."""

    def __init__(self, folder: Path) -> None:
        self.programs, self.policy = folder / "bin", folder / "policy-rc.d"
        self._log = folder / "log"
        self.programs.mkdir()
        self.refuse("nothing")

    def refuse(self, what: str) -> None:
        text = APT.format(log=self._log, policy=self.policy, refused=what, programs=self.programs)
        (self.programs / "apt-get").write_text(text)
        (self.programs / "apt-get").chmod(0o755)

    @property
    def asked(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setenv("PATH", f"{made.programs}:/usr/bin/coreutils-only")
    for name in ("touch", "chmod"):
        (made.programs / name).symlink_to(f"/bin/{name}")
    monkeypatch.setattr(servers, "_PLACES", ())
    monkeypatch.setattr(servers, "_POLICY", made.policy)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    servers.refresh_lists.cache_clear()
    return made


def test_what_is_missing_is_installed_without_questions_and_without_starting_it(
    machine: Machine,
) -> None:
    assert servers.outcome("redis") == (True, "installed")

    options = "noninteractive -qq -o DPkg::Lock::Timeout=300"
    assert machine.asked == [
        f"{options} update",
        f"{options} install --yes --no-install-recommends redis-server",
        "no services",
    ]
    assert not machine.policy.exists()


def test_what_is_here_is_left_alone(machine: Machine) -> None:
    servers.outcome("redis")
    before = machine.asked

    assert servers.outcome("redis") == (True, "is here")

    assert machine.asked == before


def test_a_policy_of_the_machine_itself_stays(machine: Machine) -> None:
    machine.policy.write_text("its own")

    servers.outcome("redis")

    assert machine.policy.read_text() == "its own"


@pytest.mark.parametrize("step", ["update", "install"])
def test_what_fails_is_an_error_and_what_may_not_be_had_is_none(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    machine.refuse(step)
    fine, said = servers.outcome("redis")
    assert not fine
    assert "FAILED" in said
    assert not machine.policy.exists()

    monkeypatch.setattr("os.geteuid", lambda: 1000)
    fine, said = servers.outcome("redis")
    assert fine
    assert said == (
        "is not here: redis-server is not installed: run `sudo apt-get install redis-server`"
    )
    (machine.programs / "apt-get").unlink()
    fine, said = servers.outcome("redis")
    assert fine
    assert "apt-get is not here" in said


def test_every_part_says_what_is_missing_on_a_machine_without_anything(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WAKELOG_CACHE", str(tmp_path / "cache"))
    (machine.programs / "apt-get").unlink()

    outcomes = {part: servers.outcome(part) for part in servers.PARTS}

    assert all(fine and "is not here: " in said for fine, said in outcomes.values()), outcomes


def test_a_missing_part_is_skipped_and_fails_where_it_is_required(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(parts.REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="redis-server is not installed"):
        parts.need("redis")

    monkeypatch.setenv(parts.REQUIRED, "collector,redis")
    with pytest.raises(pytest.fail.Exception, match="redis is required here"):
        parts.need("redis")
