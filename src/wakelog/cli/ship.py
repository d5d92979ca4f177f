"""Deliver a journal from outside the program that records it.

Once, or with --follow until Ctrl-C or SIGTERM, beside running programs. A writer whose program
delivers by itself is left to it. Without --endpoint the OTEL_EXPORTER_OTLP_* variables say where to.
With --follow its metrics go there too, unless OTEL_METRICS_EXPORTER=none.
The exit code is 1 when it gave up, because nothing was accepted for --timeout seconds.

With --json:
  {"path", "delivered", "dead_lettered", "pending", "seconds", "problem"}
"""

from __future__ import annotations

import signal
import sys
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from wakelog.cli._next_hop import exporter_of
from wakelog.cli._paths import add_path, path_of, print_json
from wakelog.cli._signals import Stop, until_asked
from wakelog.errors import JournalError
from wakelog.journal import books, folders

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wakelog.otel._pushing import PushedMetrics
    from wakelog.otel.shipping import Shipment

    Show = Callable[[Shipment], None]

_POLL_SECONDS = 0.05
# How long the last figures are waited for, as long as a program waits for what it delivers.
_FAREWELL_SECONDS = 0.8
_NAMELESS = "unknown_service"  # what the SDK calls a service that nobody has named


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_path(parser, "a journal directory, or one writer's folder")
    parser.add_argument("--follow", action="store_true", help="go on with what is recorded later")
    parser.add_argument("--endpoint", metavar="URL", help="where to deliver to")
    parser.add_argument(
        "--protocol", choices=("http/protobuf", "grpc"), help="how; gRPC unless a variable says"
    )
    parser.add_argument(
        "--rate", type=float, metavar="N", help="at most N records a second of a backlog"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="without --follow: give up when nothing is accepted for so long (30)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of the progress")


def run(arguments: argparse.Namespace) -> int:
    """Deliver a journal.

    Raises:
        JournalError: When there is no journal at the path, or it cannot be read or written.
        ConfigurationError: When there is nowhere to deliver to.
    """
    path = path_of(arguments).absolute()
    root, writer = _journal_at(path)
    exporter = exporter_of(arguments)
    progress = nullcontext(_nothing) if arguments.json else _progress(_pending(root, writer))

    from wakelog.otel.shipping import Shipment

    begun = time.monotonic()
    metrics = _metrics() if arguments.follow else None
    with until_asked(signal.SIGTERM, signal.SIGINT) as stop, progress as show:
        shipment = Shipment(
            root,
            exporter,
            writer=writer,
            replay_rate=arguments.rate,
            meter_provider=metrics.provider if metrics is not None else None,
        )
        try:
            patience = None if arguments.follow else arguments.timeout
            problem = _watch(shipment, stop, show, patience)
        finally:
            shipment.stop()
            if metrics is not None:
                metrics.end(_FAREWELL_SECONDS)
    pending = _pending(root, writer)
    if arguments.json:
        print_json(
            {
                "path": str(path),
                "delivered": shipment.delivered,
                "dead_lettered": shipment.dead_lettered,
                "pending": pending,
                "seconds": round(time.monotonic() - begun, 3),
                "problem": problem or None,
            }
        )
    else:
        text = f"delivered {shipment.delivered:,}, dead lettered {shipment.dead_lettered:,}"
        sys.stdout.write(f"{text}, pending {pending:,}\n")
        if problem:
            sys.stderr.write(f"wakelog: {problem}\n")
    return 1 if problem else 0


def _journal_at(path: Path) -> tuple[Path, str | None]:
    """Return the journal's directory, and the writer where the path is that of one."""
    if path.is_file():
        hint = "Name a journal directory; a single file has no place to note what was delivered"
        raise JournalError("ship", path, "it is a file", hint)
    if (path / "wakelog.json").exists():
        return path, None
    if path.is_dir() and path in folders(path.parent):
        return path.parent, path.name
    hint = "Name a directory that a program records into"
    raise JournalError("ship", path, "there is no journal in it", hint)


def _metrics() -> PushedMetrics | None:
    """Have the books of this process sent where its records go, under the service of the environment."""
    from opentelemetry.sdk.resources import Resource

    from wakelog.events import semconv as s
    from wakelog.otel._exporters import metric_exporter
    from wakelog.otel._pushing import PushedMetrics, hear_exporters

    exporter = metric_exporter()
    if exporter is None:
        return None
    resource = Resource.create()
    if str(resource.attributes[s.SERVICE_NAME]).startswith(_NAMELESS):
        resource = resource.merge(Resource({s.SERVICE_NAME: "wakelog-ship"}))
    hear_exporters()
    metrics = PushedMetrics(exporter, metric_exporter)
    metrics.start(resource)
    return metrics


def _pending(root: Path, writer: str | None) -> int:
    return sum(one.pending for one in books(root) if writer in (None, one.writer))


def _watch(shipment: Shipment, stop: Stop, show: Show, patience: float | None) -> str:
    """Wait until everything is delivered, or somebody asked to stop; return what went wrong."""
    got, since = 0, time.monotonic()
    while not stop.asked:
        time.sleep(_POLL_SECONDS)
        show(shipment)
        now, reached = time.monotonic(), shipment.delivered + shipment.dead_lettered
        if reached > got or not shipment.problem:
            got, since = reached, now
        if patience is None:
            continue
        if shipment.idle:
            break
        if now - since > patience:
            return f"gave up after {patience:g} s: {shipment.problem}"
    show(shipment)
    return ""


def _nothing(_: Shipment) -> None:
    """Show nothing."""


@contextmanager
def _progress(pending: int) -> Iterator[Show]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    from wakelog.cli._terminal import console

    columns = (BarColumn(), MofNCompleteColumn(), Remaining(), TextColumn("{task.description}"))
    with Progress(*columns, console=console(), transient=True) as progress:
        task = progress.add_task("", total=pending)

        def show(shipment: Shipment) -> None:
            done = shipment.delivered + shipment.dead_lettered
            progress.update(
                task,
                completed=done,
                total=max(pending, done),
                description=shipment.problem[:60],
            )

        yield show
