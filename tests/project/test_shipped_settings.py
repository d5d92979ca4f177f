"""What is shipped to be used as it is: Collector configurations and workflows, safe by default."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.backends.test_collector_configs import ALL_VARIABLES, HEADERS
from tests.conftest import ROOT

CONFIGS = sorted((ROOT / "collector-config").glob("*.yaml"))
COMPOSE = sorted((ROOT / "collector-config" / "compose").glob("compose*.yaml"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
LISTENS = re.compile(r"^ *(?:endpoint|host): (?:\$\{env:(\w+):-)?([\w.:\[\]]+?)\}?$", re.MULTILINE)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_collector_listens_on_the_loopback_unless_it_is_told_otherwise(path: Path) -> None:
    addresses = [address for _, address in LISTENS.findall(path.read_text())]

    assert [one for one in addresses if not one.startswith("127.0.0.1")] == []
    assert "0.0.0.0:" not in re.sub("#.*", "", path.read_text())
    assert addresses or path.stem in {"builder", "kustomization"}


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.stem)
def test_containers_listen_for_each_other_and_publish_on_the_loopback_only(path: Path) -> None:
    text = path.read_text()
    gateway = (ROOT / "collector-config" / "gateway.yaml").read_text()
    given = dict(re.findall(r"^      (\w+): (\S+)$", text, re.MULTILINE))
    published = re.findall(r'^      - "([\d.:]+)"$', text, re.MULTILINE)

    for name, address in LISTENS.findall(gateway):
        if name and name != "HEALTH_ADDRESS":  # nothing asks for it there
            assert given[name] == address.replace("127.0.0.1", "0.0.0.0")
    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.stem)
def test_what_can_be_asked_for_its_health_is_asked(path: Path) -> None:
    services = yaml.safe_load(path.read_text("utf-8"))["services"]

    unasked = {name for name, service in services.items() if "healthcheck" not in service}

    assert unasked <= {"gateway", "loki", "tempo"}  # no program in their images can ask


@pytest.mark.parametrize("name", ["gateway", "kafka"])
def test_the_lines_for_tls_are_lines_that_the_collector_takes(
    collector_binary: Path, tmp_path: Path, name: str
) -> None:
    text = (ROOT / "collector-config" / f"{name}.yaml").read_text()
    encrypted = re.sub(r"^( {8})# (tls:|  \w+_file:)", r"\1\2", text, flags=re.MULTILINE)
    (tmp_path / "tls.yaml").write_text(encrypted)
    assert encrypted.count("\n        tls:\n          cert_file:") == 2

    done = subprocess.run(
        [collector_binary, "validate", f"--config={tmp_path / 'tls.yaml'}", HEADERS],
        env={**ALL_VARIABLES, "STATE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_what_is_pinned_and_may_read_only(path: Path) -> None:
    text = path.read_text()
    uses = re.findall(r"uses: (.*)", text)

    assert uses
    for one in uses:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", one)
    assert re.findall(r"^ *permissions:\n((?:  .*\n)+)", text, re.MULTILINE) == [
        "  contents: read\n"
    ]
    assert text.count("persist-credentials: false") == sum("checkout" in one for one in uses)
    assert "pip-audit" in text
