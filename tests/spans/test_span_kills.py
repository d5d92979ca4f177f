"""Spans of instrumentations that others wrote survive SIGKILL; a real Collector receives them."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.attack import ATTACKING, SEED, times
from tests.support.collector import Collector
from wakelog.journal import books

FRAMEWORKS = ("openai_agents", "langchain", "mcp")


def program(
    framework: str,
    directory: Path,
    collector: Collector,
    kill_after: float = 0.0,
    processor: str = "durable",
) -> list[str]:
    started = directory.parent / f"started-{processor}"
    command = [sys.executable, "-m", "tests.support.instrumented_program", framework, processor]
    endpoint = f"{collector.http_endpoint}/v1/traces"
    return [*command, str(directory), endpoint, str(started), str(kill_after)]


def started_in(directory: Path, processor: str = "durable") -> set[str]:
    """Returns the ids of the spans that were started."""
    lines = (directory.parent / f"started-{processor}").read_text().splitlines()
    return {line.split()[1] for line in lines if line.count(" ") == 2}


@pytest.mark.attack
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_span_that_was_started_arrives(
    framework: str,
    tmp_path: Path,
    collector: Collector,
    record_property: Callable[[str, object], None],
) -> None:
    chance = random.Random(SEED)
    directory = tmp_path / "journal"
    # Under attack the SDK's processor is killed at the same moments, and its figures are reported.
    processors = ["durable", "sdk"] if ATTACKING else ["durable"]
    for _ in range(times(20)):
        moment = chance.uniform(0.001, 0.1)
        for processor in processors:
            command = program(framework, directory, collector, moment, processor)
            killed = subprocess.run(command, timeout=60, check=False, capture_output=True)
            assert killed.returncode in (0, -signal.SIGKILL), killed.stderr.decode()
    of_the_sdk = started_in(directory, "sdk") if "sdk" in processors else set()

    with subprocess.Popen(program("nothing", directory, collector), stdin=subprocess.PIPE) as after:
        received = collector.wait_for_spans(started_in(directory))
        after.communicate(timeout=60)
    assert after.returncode == 0
    of_ours = [span for span in received if span.span_id not in of_the_sdk]
    for processor in processors:
        began = started_in(directory, processor)
        figures = f"{len(began & {span.span_id for span in received})} of {len(began)} arrived"
        record_property(processor, figures)
        print(f"{framework}, {processor}: {figures}")
    received = of_ours
    arrived = {span.span_id: span for span in received}
    assert {p for s in arrived.values() if (p := s.parent_span_id)} <= arrived.keys()
    assert [
        one for one in books(directory) if one.pending or min(one.delivered, one.corrupt) < 0
    ] == []
    times_sent = Counter(span.span_id for span in received)
    unknown = {i for i, s in arrived.items() if s.attributes.get("wakelog.span.outcome")}
    assert unknown, "the process was killed inside spans"
    for span_id in unknown:
        span = arrived[span_id]
        assert span.status == "ERROR"
        assert span.end_time_unix_nano >= span.start_time_unix_nano
        assert times_sent[span_id] == 1
