"""Builds Loki, as one program, for the tests that ask it what the dashboards ask."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from scripts.go_program import GoProgram, run

MODULE, VERSION = "github.com/grafana/loki/v3", "v3.5.3"  # that of compose.yaml
PACKAGE = f"{MODULE}/cmd/loki"


def build(go: str, work: Path) -> Path:
    """Builds Loki in a folder, and returns where it is.

    `go install` refuses a module that replaces others. So it is built from an empty module that needs it,
    replaces what it replaces, and holds everything to the checksums that it comes with.
    """
    loki = asked(go, "mod", "download", "-json", f"{MODULE}@{VERSION}", cwd=work)
    wanted = asked(go, "mod", "edit", "-json", loki["GoMod"], cwd=work)
    lines = ["module loki.test", f"go {wanted['Go']}", f"require {MODULE} {VERSION}"]
    for one in wanted["Replace"]:
        old, new = one["Old"], one["New"]
        if "Version" in new:  # else it is a folder of its repository, which its module has not
            lines.append(f"replace {old['Path']} => {new['Path']} {new['Version']}")
    (work / "go.mod").write_text("\n".join(lines) + "\n")
    # With the right to write, which a file of the module cache has not.
    shutil.copyfile(Path(loki["Dir"]) / "go.sum", work / "go.sum")
    flags = ("-mod=mod", "-trimpath", "-ldflags=-s -w")
    run(go, "build", *flags, "-o", work / "loki", PACKAGE, cwd=work, CGO_ENABLED="0")
    return work / "loki"


def asked(*command: str, cwd: Path) -> dict[str, Any]:
    """Runs a command that answers in JSON, and returns its answer."""
    said = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, check=True)
    answer: dict[str, Any] = json.loads(said.stdout)
    return answer


LOKI = GoProgram("loki", (f"{MODULE}@{VERSION}".encode(),), build)

if __name__ == "__main__":
    sys.exit(LOKI.main())
