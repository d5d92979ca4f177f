"""The pytest plugin: the fixture ``wakelog_recording``.

pytest loads this module in every run if Wakelog is installed, so it imports only pytest until a
test uses the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from wakelog.integrations.testing import Recording
    from wakelog.logger import AgentLogger


@pytest.fixture
def wakelog_recording(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recording]:
    """Record the events of the code under test in memory, with the same ids and times in each run.

    ``wakelog.configure()`` and ``wakelog.get_logger()`` return a logger that records here, whatever
    their arguments are, and so do integrations without a logger of their own. An existing logger is
    added by ``wakelog_recording.capture(log)``. Nothing is written, and nothing leaves the process.
    """
    import wakelog
    from wakelog.integrations.testing import Recording
    from wakelog.logger import AgentLogger, set_current

    recording = Recording()

    def configure(
        agent_name: str | None = None, workflow_name: str | None = None, **settings: Any
    ) -> AgentLogger:
        known = ("redact_payloads", "redaction_config", "default_risk", "metadata")
        given = {name: settings[name] for name in known if settings.get(name) is not None}
        return recording.capture(
            AgentLogger(agent_name or "test-agent", workflow_name, None, **given)
        )

    # Patched in the module's dict, because reading `configure` would load the OpenTelemetry SDK.
    monkeypatch.setitem(vars(wakelog), "configure", configure)
    monkeypatch.setitem(vars(wakelog), "get_logger", configure)
    before = set_current(recording.log)
    yield recording
    set_current(before)
