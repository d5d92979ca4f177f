"""Demonstrate an outage, a kill -9 and a resumption, after which the books balance.

Agents of a logistics desk handle a port call in a separate process and export over OTLP to an
endpoint inside this command. The endpoint fails, the agent is killed in the middle of a tool call,
both come back, and the journal shows what was recorded. It takes under ten seconds and uses only the
loopback interface. If OTEL_EXPORTER_OTLP_ENDPOINT is set, events go there instead.

The exit code is 0 only if the books balance, everything was delivered, and the endpoint has
exactly the records of the journal.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wakelog._endpoints import endpoint_name
from wakelog._printable import printable
from wakelog.cli._demo_process import FLUSH_TIMEOUT, AgentProcess
from wakelog.cli._parser import add_file
from wakelog.cli._terminal import say
from wakelog.errors import ConfigurationError, JournalError
from wakelog.journal import default_root
from wakelog.record import uuid7
from wakelog.runtime import make_directories

if TYPE_CHECKING:
    from wakelog.cli._demo_endpoint import Endpoint

_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_ENDPOINTS: Final = (_ENDPOINT, "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT")
_DISABLED: Final = "OTEL_SDK_DISABLED"
# Time-outs for slow machines; on others the whole demo takes less than ten seconds.
_START_SECONDS, _ARRIVE_SECONDS, _FINISH_SECONDS = 60.0, 60.0, 150.0
# Short delays and time-outs of delivery, so that the demo is quick.
_BRISK: Final = {
    "OTEL_BLRP_SCHEDULE_DELAY": "150",
    "OTEL_BSP_SCHEDULE_DELAY": "5000",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
    FLUSH_TIMEOUT: "8",
}

# Parts of a response to log records from a next hop that accepts only spans, such as Jaeger.
_TAKES_NO_LOGS = ("404", "UNIMPLEMENTED")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_file(
        parser,
        "--directory",
        "record to this new directory; else to a new one in the user's state directory",
        metavar="DIR",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the demo.

    Raises:
        WakelogError: If it cannot run.
    """
    from wakelog.cli._demo_report import difference, report

    given = next((url for name in _ENDPOINTS if (url := os.environ.get(name, "").strip())), None)
    if given and os.environ.get(_DISABLED, "").strip().lower() == "true":
        message = f"{_DISABLED}=true switches recording off, so the demo cannot run"
        raise ConfigurationError(message)
    directory = _fresh_directory(arguments.directory)
    story = _Story()
    say(
        "wakelog demo: the agents of a harbour's logistics desk lose their backend and are then killed"
    )
    say((f"Everything is recorded in {printable(str(directory))}\n", "dim"))
    endpoint = None
    only_spans = False
    if given:
        reason = _tell_with_a_given_endpoint(story, directory, given)
        only_spans = any(answer in reason for answer in _TAKES_NO_LOGS)
    else:
        endpoint = _tell(story, directory)
    wrong = difference(directory, endpoint, only_spans=only_spans)
    report(directory, endpoint, wrong, only_spans=only_spans)
    return 1 if wrong else 0


class _Story:
    """Prints what happens, one line each, with the seconds since the beginning."""

    def __init__(self) -> None:
        self._begin = time.monotonic()

    def tell(self, who: str, what: str, style: str = "none") -> None:
        """Print a line about who did what."""
        since = f"{time.monotonic() - self._begin:5.1f} s  "
        say((since, "dim"), (f"{who:<9} ", "cyan"), (printable(what), style))

    def hear(self, what: str) -> None:
        """Print a remark of the agent."""
        self.tell("agent", what)


def _tell(story: _Story, directory: Path) -> Endpoint:
    """Run the whole demo with its own endpoint, and return the endpoint."""
    from wakelog.cli._demo_endpoint import Endpoint

    endpoint = Endpoint()
    endpoint.open()
    try:
        environment = _environment(endpoint.url)
        story.tell("endpoint", f"listens for OTLP on {endpoint.url}")
        with AgentProcess(directory, "arrival", environment, story.hear) as agent:
            story.tell("agent", f"process {agent.pid} begins: MV Aurelia asks for a berth tonight")
            half = agent.expect("half", _START_SECONDS)
            arrived = endpoint.wait_for(half["recorded"], _ARRIVE_SECONDS)
            story.tell("endpoint", f"{arrived} of {half['recorded']} events have arrived")
            endpoint.stop_answering()
            agent.go_on()
            unanswered = endpoint.wait_for_unanswered(_ARRIVE_SECONDS)
            endpoint.close()
            story.tell(
                "endpoint",
                f"receives {unanswered} more and fails before it responds; it now refuses connections",
                "yellow",
            )
            there = agent.expect("in_tool", _START_SECONDS)
            story.tell(
                "agent",
                f"continues: {there['since']} more events, the slowest took "
                f"{there['slowest_ms']:.1f} ms ({half['slowest_ms']:.1f} ms before)",
            )
            agent.kill()
            story.tell(
                "agent",
                f"process {agent.pid} is killed with SIGKILL inside its tool {there['tool']}",
                "red",
            )
        endpoint.open()
        story.tell("endpoint", "is back, on the same port", "green")
        with AgentProcess(directory, "resume", environment, story.hear) as agent:
            story.tell("agent", f"process {agent.pid} reads the journal and resumes the run")
            done = agent.expect("done", _FINISH_SECONDS)
            recorded = there["recorded"] + done["recorded"]
            story.tell(
                "agent",
                f"has finished with {done['recorded']} events, and delivered those that the killed "
                "process left",
                "green",
            )
            agent.wait(_FINISH_SECONDS)
        story.tell("endpoint", f"has {len(endpoint.ids)} of {recorded} events")
    finally:
        endpoint.close()
    return endpoint


def _tell_with_a_given_endpoint(story: _Story, directory: Path, url: str) -> str:
    """Run the demo without the outage, because the endpoint is the user's and cannot be stopped.

    Returns:
        Why the endpoint did not accept all log records; empty if it did.
    """
    environment = _environment(None)
    story.tell("endpoint", f"is yours, {endpoint_name(url)}, so the demo has no outage")
    with AgentProcess(directory, "arrival", environment, story.hear) as agent:
        story.tell("agent", f"process {agent.pid} begins: MV Aurelia asks for a berth tonight")
        agent.expect("half", _START_SECONDS)
        agent.go_on()
        there = agent.expect("in_tool", _START_SECONDS)
        agent.kill()
        story.tell(
            "agent",
            f"process {agent.pid} is killed with SIGKILL inside its tool {there['tool']}, "
            f"after {there['recorded']} events",
            "red",
        )
    with AgentProcess(directory, "resume", environment, story.hear) as agent:
        story.tell("agent", f"process {agent.pid} reads the journal and resumes the run")
        done = agent.expect("done", _FINISH_SECONDS)
        story.tell("agent", f"has finished the port call with {done['recorded']} more events")
        agent.wait(_FINISH_SECONDS)
    return str(done["reason"])


def _environment(url: str | None) -> dict[str, str]:
    """Return the agent's environment variables, with the demo's endpoint or the user's."""
    if url is None:
        return {**_BRISK, **os.environ}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    own = {
        _ENDPOINT: url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_METRICS_EXPORTER": "none",  # the demo's endpoint does not accept metrics
        # A proxy must not intercept connections to the loopback interface.
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        FLUSH_TIMEOUT: "60",
    }
    return {**kept, **_BRISK, **own}


def _fresh_directory(given: str | None) -> Path:
    """Create the directory to record in.

    Raises:
        ConfigurationError: If it is not empty, because its records would be counted, too.
        JournalError: If it cannot be created.
    """
    directory = Path(given) if given else default_root("demo") / _name()
    try:
        make_directories(directory)
        used = any(directory.iterdir())
    except OSError as error:
        hint = "Name another with --directory"
        raise JournalError("make", directory, error.strerror or error, hint) from error
    if used:
        message = f"{directory} is not empty; the demo counts records, so name a new directory"
        raise ConfigurationError(message)
    return directory.absolute()


def _name() -> str:
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid7()[-4:]}"
