"""Manifests and units that are shipped: what Kubernetes, the Collector and systemd say of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.conftest import ROOT

SHIPPED = ROOT / "collector-config"
MANIFESTS = sorted((SHIPPED / "kubernetes").glob("*.yaml"))
VERSIONS = (
    "1.29",
    "1.37",
)  # the first with sidecars that end after the program, and the newest known here
UNIT = SHIPPED / "systemd" / "wakelog-ship@.service"


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text("utf-8")))


def containers(path: Path) -> list[dict[str, Any]]:
    pods = [one["spec"]["template"]["spec"] for one in documents(path) if "template" in one["spec"]]
    return [one for pod in pods for one in pod.get("initContainers", []) + pod["containers"]]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_a_manifest_is_one_by_the_schemas_of_kubernetes(path: Path, version: str) -> None:
    for document in documents(path):
        kubernetes_validate.validate(document, version, strict=True)


def test_the_schemas_find_a_field_that_kubernetes_does_not_have() -> None:
    (program, *_) = documents(SHIPPED / "kubernetes" / "program.yaml")
    program["spec"]["template"]["spec"]["terminationGracePeriod"] = 30

    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGracePeriod"):
        kubernetes_validate.validate(program, VERSIONS[0], strict=True)


def test_the_kustomization_has_every_manifest_and_configuration() -> None:
    (made,) = documents(SHIPPED / "kustomization.yaml")
    used = {
        volume["configMap"]["name"]
        for path in MANIFESTS
        for one in documents(path)
        if "template" in one.get("spec", {})
        for volume in one["spec"]["template"]["spec"]["volumes"]
        if "configMap" in volume
    }

    assert set(made["resources"]) == {f"kubernetes/{path.name}" for path in MANIFESTS}
    assert {one["name"] for one in made["configMapGenerator"]} == used
    for one in made["configMapGenerator"]:
        assert [name for name in one["files"] if not (SHIPPED / name).is_file()] == []


@pytest.mark.parametrize("manifest, config", [("program", "agent"), ("gateway", "gateway")])
def test_a_collector_in_a_pod_is_given_every_variable_that_it_needs_and_no_other(
    manifest: str, config: str
) -> None:
    (collector,) = [
        one
        for one in containers(SHIPPED / "kubernetes" / f"{manifest}.yaml")
        if one["name"] == "collector"
    ]
    text = (SHIPPED / f"{config}.yaml").read_text("utf-8")
    given = {one["name"] for one in collector["env"]} - {"POD_IP"}
    needed = set(re.findall(r"\$\{env:(\w+)\}", text))
    known = needed | set(re.findall(r"\$\{env:(\w+):-", text))

    assert collector["args"] == [f"--config=/etc/otelcol/{config}.yaml"]
    assert needed <= given <= known
    values = " ".join(one.get("value", "") for one in collector["env"])
    assert "0.0.0.0" not in values


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_no_container_may_write_its_root_or_be_root(path: Path) -> None:
    pods = [
        one["spec"]["template"]["spec"]
        for one in documents(path)
        if "template" in one.get("spec", {})
    ]
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        for one in pod.get("initContainers", []) + pod["containers"]:
            assert one["securityContext"]["readOnlyRootFilesystem"]
            assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    program = tmp_path / "wakelog"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = UNIT.read_text("utf-8")
    assert "ExecStart=/usr/local/bin/wakelog " in text
    # Here nobody has installed it, and an instance needs the user that it names.
    (tmp_path / UNIT.name).write_text(text.replace("/usr/local/bin/wakelog", str(program)))

    def verified(name: str) -> subprocess.CompletedProcess[str]:
        command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)]
        environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    (tmp_path / "wrong@.service").write_text(text.replace("Restart=always", "Restart=sometimes"))

    assert verified(UNIT.name).stderr == ""
    assert "Failed to parse service restart specifier" in verified("wrong@.service").stderr
