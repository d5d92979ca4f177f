"""Who alters what of a sealed journal, and by what it is detected: each cell of the table in the docs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.guarantees import ATTACKERS, EVIDENCE_PROPERTY, WHAT, EvidenceCell
from tests.support.sealed import (
    Alter,
    Sealed,
    altered,
    delete,
    edit,
    insert,
    key_files,
    reorder,
    verify,
)
from wakelog.evidence import Signer, seal_folder
from wakelog.evidence._seal_file import read_seals
from wakelog.storage import SEALS, segment_name, segments

OUTSIDER, AGENT, OPERATOR, KEY_HOLDER = ATTACKERS
SEAL, ANCHOR, NOTHING = "the seals", "an anchor", "nothing"
CHANGES: dict[str, Alter] = {"edit": edit, "delete": delete, "insert": insert, "reorder": reorder}
# Who has no key cannot sign what he has changed. Who has it can, and then an anchor holds the old seals.
EXPECTED = {
    **{(who, what): SEAL for who in (OUTSIDER, AGENT, OPERATOR) for what in WHAT},
    **{(who, what): ANCHOR for who in (OUTSIDER, AGENT, OPERATOR) for what in WHAT[4:6]},
    **{(KEY_HOLDER, what): ANCHOR for what in WHAT},
    (KEY_HOLDER, WHAT[7]): NOTHING,
}


class Scene:
    """A journal of three segments and four seals, a copy of an earlier state, and somebody's key."""

    def __init__(self, folder: Path, who: str) -> None:
        # The agent's process has no key where the shipping process signs.
        self.sealed = sealed = Sealed(folder, by="shipper" if who == AGENT else "process")
        sealed.write(*(f"event {number}" for number in range(1, 12)))
        sealed.seal()
        sealed.write(*(f"event {number}" for number in range(12, 30)))
        sealed.seal()
        self.before = folder / "earlier"
        shutil.copytree(sealed.root, self.before)
        sealed.write(*(f"event {number}" for number in range(30, 40)))
        sealed.journal.close()
        self.folder = sealed.folder
        assert len(segments(self.folder)) > 2
        others = Signer.from_file(key_files(folder / "others")[0])
        self.signer = sealed.signer if who == KEY_HOLDER else others

    def sign_anew(self) -> None:
        """Seal the folder from its first line on, with the key that this somebody has."""
        (self.folder / SEALS).unlink()
        assert seal_folder(self.folder, self.signer, "process", closing=True) is not None


def change(scene: Scene, alter: Alter) -> None:
    altered(scene.folder, alter)


def truncate(scene: Scene) -> None:
    """Cut off the last segment, and every seal that knows of it."""
    last = segments(scene.folder)[-1]
    (scene.folder / segment_name(last)).unlink()
    kept = [line for _, line, seal in read_seals(scene.folder) if seal and seal.segment < last]
    (scene.folder / SEALS).write_bytes(b"".join(line + b"\n" for line in kept))


def roll_back(scene: Scene) -> None:
    shutil.rmtree(scene.sealed.root)
    shutil.copytree(scene.before, scene.sealed.root)


def replace(scene: Scene) -> None:
    """Put another history in the place of the folder, under its name."""
    for index in segments(scene.folder)[1:]:
        (scene.folder / segment_name(index)).unlink()

    def rewrite(lines: dict[int, list[bytes]]) -> None:
        lines[1][1:] = [line.replace(b"event", b"story") for line in lines[1][1:]]

    altered(scene.folder, rewrite)
    scene.sign_anew()


def copy(scene: Scene) -> None:
    """Have the events stand once more, as those of another writer of the same journal."""
    other = scene.folder.with_name("01a2250a-0000-7000-8000-000000000000")
    shutil.copytree(scene.folder, other)
    for path in other.glob("*.jsonl"):
        text = path.read_bytes().replace(scene.folder.name.encode(), other.name.encode())
        path.write_bytes(text)
    (other / "owner").unlink()
    altered(other, lambda lines: None)
    if scene.signer is scene.sealed.signer:
        scene.folder = other
        scene.sign_anew()


def alter(scene: Scene, what: str) -> None:
    if what in CHANGES:
        change(scene, CHANGES[what])
    else:
        dict(zip(WHAT[4:], (truncate, roll_back, replace, copy), strict=True))[what](scene)


@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("who", ATTACKERS)
def test_who_alters_what_is_detected_by_what_the_table_says(
    tmp_path: Path, who: str, what: str, capsys: Any, record_property: Callable[[str, object], None]
) -> None:
    scene = Scene(tmp_path, who)
    anchors = ("--anchors", scene.sealed.anchor)
    assert scene.sealed.verify(*anchors, capsys=capsys)["fits"]

    alter(scene, what)
    if who == KEY_HOLDER and what in CHANGES:
        scene.sign_anew()

    alone = scene.sealed.verify(capsys=capsys)
    anchored = scene.sealed.verify(*anchors, capsys=capsys)
    detected = NOTHING if anchored["fits"] else ANCHOR if alone["fits"] else SEAL
    assert detected == EXPECTED[who, what], (alone, anchored)
    record_property(EVIDENCE_PROPERTY, EvidenceCell(who, what, detected))


@pytest.mark.parametrize("what", CHANGES)
def test_signing_what_was_changed_with_another_key_is_detected_by_the_seals(
    tmp_path: Path, what: str, capsys: Any
) -> None:
    scene = Scene(tmp_path, OUTSIDER)
    alter(scene, what)
    scene.sign_anew()

    [misfit] = scene.sealed.verify(capsys=capsys)["misfits"]

    assert misfit["file"].endswith(SEALS)
    assert scene.signer.id in misfit["what"]


@pytest.mark.parametrize("what, line", [("edit", 3), ("delete", 3), ("insert", 3), ("reorder", 3)])
def test_the_first_line_that_does_not_fit_is_named(
    tmp_path: Path, what: str, line: int, capsys: Any
) -> None:
    scene = Scene(tmp_path, OUTSIDER)
    alter(scene, what)

    [misfit] = scene.sealed.verify(capsys=capsys)["misfits"]

    assert (Path(misfit["file"]).name, misfit["line"]) == ("00000001.jsonl", line)
    lines = (scene.folder / "00000001.jsonl").read_bytes().splitlines(keepends=True)
    assert misfit["offset"] == sum(map(len, lines[: line - 1]))


def test_a_folder_that_is_removed_is_missed_by_an_anchor(tmp_path: Path, capsys: Any) -> None:
    scene = Scene(tmp_path, OPERATOR)
    shutil.rmtree(scene.folder)

    assert scene.sealed.verify(capsys=capsys)["fits"]
    [misfit] = scene.sealed.verify("--anchors", scene.sealed.anchor, capsys=capsys)["misfits"]
    assert "folder is not there" in misfit["what"]


def test_seals_that_are_removed_are_missed_once_the_process_is_gone(
    tmp_path: Path, capsys: Any
) -> None:
    scene = Scene(tmp_path, OUTSIDER)
    (scene.folder / SEALS).unlink()

    [misfit] = scene.sealed.verify(capsys=capsys)["misfits"]

    assert "nothing of this writer is sealed" in misfit["what"]


def test_a_copy_of_everything_is_the_same_journal(tmp_path: Path, capsys: Any) -> None:
    scene = Scene(tmp_path, OUTSIDER)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(scene.sealed.root, elsewhere)

    assert verify(elsewhere, scene.sealed.public, capsys=capsys)["fits"]
