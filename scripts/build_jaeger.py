"""Builds Jaeger, without its web pages, for the tests that ask it what it shows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.go_program import GoProgram, run

MODULE = "github.com/jaegertracing/jaeger@v1.76.0"  # the last of version 1, which is one program


def build(go: str, work: Path) -> Path:
    """Builds Jaeger in a folder, and returns where it is.

    `go install` refuses a module that replaces others, so its source is built in a copy.
    """
    command = [go, "mod", "download", "-json", MODULE]
    said = subprocess.run(command, cwd=work, stdout=subprocess.PIPE, check=True)
    source = work / "source"
    shutil.copytree(json.loads(said.stdout)["Dir"], source)
    for path in (source, *source.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)
    run(go, "build", "-o", work / "jaeger", "./cmd/all-in-one", cwd=source)
    return work / "jaeger"


JAEGER = GoProgram("jaeger", (MODULE.encode(),), build)

if __name__ == "__main__":
    sys.exit(JAEGER.main())
