"""Builds the wheel and the source distribution, and checks them as a user gets them.

`make package` runs it. It needs PyPI. What is checked: the metadata (twine), the files in both against those in
the repository, that the wheel made from the source distribution is the same, that the wheel alone records and shows
a run in an empty environment, and that each extra, alone in another, makes possible what it is for.
"""

from __future__ import annotations

import email
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

from scripts.uv import ROOT, environment, install, run, uv

TWINE, CHECK_WHEEL_CONTENTS = "twine==7.0.0", "check-wheel-contents==0.6.3"

ALONE = """
import subprocess, sys, wakelog
from pathlib import Path
log = wakelog.configure("packaged", directory="journal")
with log.run(session_id="s-1"):
    log.user_message("hello")
wakelog.shutdown()
command = Path(sys.executable).with_name("wakelog")
shown = subprocess.run([command, "show", "journal"], check=True, capture_output=True, text=True).stdout
assert "hello" in shown, shown
"""

# What each extra is for. Each program fails with ConfigurationError, or prints less, without its extra.
EXTRAS = {
    "cli": "import rich; from wakelog.cli import main; assert main(['sessions', 'journal']) in (0, None)",
    "query": """
from wakelog.cli import main
assert main(["query", "select count(*) from events", "journal"]) in (0, None)
""",
    "web": """
import starlette.applications, uvicorn
from wakelog.streams import StreamsApp, SessionStreams
starlette.applications.Starlette().mount("/", StreamsApp(SessionStreams("streams")))
""",
    "view": """
import sys
from pathlib import Path
from wakelog.page import PageSettings, serve
serve(Path("journal"), Path("journal"), PageSettings(), lambda address: sys.exit(0))
""",
    "postgres": "from wakelog.audit import PostgresSessionLog; PostgresSessionLog('host=localhost')",
    "http": "from wakelog.gateway import HTTPTransport; HTTPTransport('http://localhost:1')",
    "kafka": "from wakelog.gateway import KafkaTransport; KafkaTransport()",
    "rabbitmq": "from wakelog.gateway import RabbitMQTransport; RabbitMQTransport()",
    "redis": "from wakelog.gateway import RedisStreamTransport; RedisStreamTransport()",
    "prices": "import wakelog; wakelog.configure('priced', directory='priced', costs=True)",
    "evidence": """
import rfc3161_client, wakelog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pathlib import Path
key = Ed25519PrivateKey.generate()
pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
Path("seal.key").touch(0o600)
Path("seal.key").write_bytes(pem)
from wakelog.evidence import Sealing
log = wakelog.configure("sealed", directory="sealed", sealing=Sealing("seal.key"))
log.user_message("hello")
wakelog.shutdown()
assert list(Path("sealed").rglob("seals.jsonl"))
""",
    **{
        extra: f"from wakelog.integrations import {module}; {module}.install(); {module}.uninstall()"
        for extra, module in (
            ("langchain", "langchain"),
            ("mcp", "mcp"),
            ("openai-agents", "openai_agents"),
        )
    },
    "pydantic-ai": "from wakelog.integrations.pydantic_ai import WakelogCapability; WakelogCapability()",
}


def say(what: str) -> None:
    """Prints what has been checked."""
    print(f"ok  {what}", flush=True)


def tracked(*folders: str) -> set[str]:
    """Returns the files of the repository, those that are about to be committed included."""
    listed = run(
        "git", "ls-files", "--cached", "--others", "--exclude-standard", *folders, quiet=True
    )
    return {name for name in listed.splitlines() if (ROOT / name).exists()}


def build(into: Path) -> tuple[Path, Path]:
    """Builds both from the repository, and the wheel once more from the source distribution."""
    run(uv(), "build", "--quiet", "--out-dir", into, ROOT)
    (sdist,), (wheel,) = into.glob("*.tar.gz"), into.glob("*.whl")
    run(uv(), "build", "--quiet", "--wheel", "--out-dir", into / "again", sdist)
    (again,) = (into / "again").glob("*.whl")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as two:
        first, second = ({i.filename: i.CRC for i in each.infolist()} for each in (one, two))
    if first != second:
        sys.exit(f"the wheels differ in {sorted(first.items() ^ second.items())}")
    say(f"{sdist.name} and {wheel.name} are built, and make the same wheel")
    return sdist, wheel


def check_contents(sdist: Path, wheel: Path) -> None:
    """Checks that each has the files of the repository that it should have, and no others."""
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata_name = next(n for n in archive.namelist() if n.endswith("/METADATA"))
        metadata = email.message_from_bytes(archive.read(metadata_name))
    expected = {name.removeprefix("src/") for name in tracked("src")}
    if held != expected:
        sys.exit(f"the wheel differs from src in {sorted(held ^ expected)}")
    with tarfile.open(sdist) as files:
        held = {m.name.partition("/")[2] for m in files.getmembers() if m.isfile()} - {"PKG-INFO"}
    if held != tracked():
        sys.exit(
            f"the source distribution differs from the repository in {sorted(held ^ tracked())}"
        )
    say(f"the wheel has the {len(expected)} files of src, the source distribution all {len(held)}")
    if not metadata.get_all("Project-URL"):
        print("--  no project URLs: nobody has said yet where the repository will be")
    if not (metadata.get("Author") or metadata.get("Author-email")):
        print("--  no author: nobody has said yet who signs for it")


def check_installed(wheel: Path, work: Path) -> None:
    """Checks the wheel alone, and each of its extras alone."""
    python = environment(work / "alone")
    install(python, wheel)
    run(python, "-W", "error", "-c", ALONE, cwd=work)
    say("alone in an empty environment it records a run and shows it")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    if (named := {*project["optional-dependencies"]}) != {*EXTRAS}:
        sys.exit(f"EXTRAS in scripts/check_package.py has to have {sorted(named ^ {*EXTRAS})}")
    for extra, program in EXTRAS.items():
        python = environment(work / "extra")
        install(python, f"wakelog[{extra}] @ {wheel.as_uri()}")
        run(python, "-c", program, cwd=work, quiet=True)
        say(f"wakelog[{extra}] alone makes possible what it is for")


def main() -> int:
    """Builds and checks; ends with 1 and a reason at the first thing that is wrong."""
    with tempfile.TemporaryDirectory(prefix="wakelog-package-") as folder:
        work = Path(folder)
        sdist, wheel = build(work)
        run(uv(), "tool", "run", TWINE, "check", "--strict", sdist, wheel)
        run(uv(), "tool", "run", CHECK_WHEEL_CONTENTS, wheel)
        check_contents(sdist, wheel)
        check_installed(wheel, work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
