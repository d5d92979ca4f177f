"""The golden conversation of a framework, in processes that are killed after one callback each.

Arguments: the framework, a directory, and the moments: the numbers of callbacks after which to kill, or ``all``.
For each moment there is a folder with the journal, and a file with the events that were acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider

from tests.support import golden
from wakelog import AgentLogger
from wakelog.integrations._model_streams import WatchedStream
from wakelog.integrations._steps import Steps
from wakelog.otel import DurableLogRecordProcessor, OTelSink

# Where an adapter is told something: a chunk of a client's stream is one thing, too.
CALLBACKS = ((Steps, "open"), (Steps, "end"), (Steps, "event"), (WatchedStream, "_seen"))


def record(framework: str, folder: Path, moment: int) -> None:
    """Hold the conversation, and kill this process when the callback of that number has returned."""
    folder.mkdir(parents=True)
    acknowledged = os.open(folder / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    provider = LoggerProvider(shutdown_on_exit=False)
    processor = DurableLogRecordProcessor(None, directory=folder / "journal")
    provider.add_log_record_processor(processor)
    log = Acknowledging(
        sink=OTelSink(provider, required=True),
        tracer_provider=TracerProvider(shutdown_on_exit=False),
    )
    log.acknowledged = acknowledged
    seen = 0

    def counted(method: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal seen
            result = method(*args, **kwargs)
            seen += 1
            if seen == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for told, name in CALLBACKS:
        setattr(told, name, counted(getattr(told, name)))
    asyncio.run(golden.scenario_of(framework)(log))
    provider.shutdown()


class Acknowledging(AgentLogger):
    """Writes down each event that was accepted: its id, type, and the event that it belongs to."""

    acknowledged: int

    def put(self, event: Any) -> None:
        super().put(event)
        line = f"{event.event_id} {event.event_type} {event.parent_event_id}\n"
        os.write(self.acknowledged, line.encode())


def main() -> None:
    framework, directory, *moments = sys.argv[1:]
    golden.scenario_of(framework)  # imported once, for every child
    moment = 0
    while moments:
        moment = moment + 1 if moments == ["all"] else int(moments.pop(0))
        if (child := os.fork()) == 0:
            record(framework, Path(directory, str(moment)), moment)
            os._exit(0)
        if (status := os.waitpid(child, 0)[1]) != signal.SIGKILL:
            if moments != ["all"] or status:
                sys.exit(f"moment {moment} ended with {status}")
            return  # the conversation has no more callbacks


if __name__ == "__main__":
    main()
