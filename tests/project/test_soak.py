"""The soak, for seconds: it says what grows and what is missing, and nothing does and is."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import soak

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="it looks at processes through Linux's /proc"
)


def test_in_a_short_soak_nothing_grows_and_nothing_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = soak.main(["--minutes", "0.1", "--kills", "2.5"])

    said = capsys.readouterr().out
    assert code == 0, said
    assert " 1 processes" not in said
    assert " 0 pending, 0 corrupt" in said
    assert said.count("flat") == 4


def test_what_has_not_arrived_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(soak.NextHop, "take", lambda *_: None)

    assert not soak.run(2, 50, None, tmp_path / "journal")
    assert "SOMETHING IS MISSING" in capsys.readouterr().out


@pytest.mark.parametrize("grown", soak.Sample._fields)
def test_what_grows_steadily_is_said_to_and_what_comes_and_goes_is_not(grown: str) -> None:
    mib = soak.MIB
    steady = [soak.Sample(60 * mib, 12 + n % 5, 9, (40 + n % 20) * mib) for n in range(400)]
    by = {"memory": mib // 10, "descriptors": 1, "threads": 1, "disk": mib // 2}[grown]
    growing = [
        one._replace(**{grown: getattr(one, grown) + by * n}) for n, one in enumerate(steady)
    ]

    assert not any(one.grows for one in soak.judge(steady))
    assert [one.name for one in soak.judge(growing) if one.grows] == [grown]
