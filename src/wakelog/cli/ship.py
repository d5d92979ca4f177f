"""Deliver a journal from a process that does not record.

It runs once, or with --follow until Ctrl-C or SIGTERM, while programs record. It skips a writer whose program
delivers by itself. Without --endpoint, the OTEL_EXPORTER_OTLP_* variables set the destination.
With --follow its metrics go to the same destination, unless OTEL_METRICS_EXPORTER=none.
Log records and spans are sent, each with their own exporter.
It sends the records of one service and pipeline: the only one there is, or the one that --service and
--pipeline name. --all sends those of all services to one destination.
With --seal-key it also signs the journal, so that no recording program needs the key.
If root runs it, it reads the key and then switches to the directory's owner.
The exit code is 1 if it gave up, because nothing was accepted for --timeout seconds.

With --json:
  {"path", "delivered", "dead_lettered", "pending", "seconds", "problem"}
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wakelog._printable import printable
from wakelog.cli._identity import become_owner_of
from wakelog.cli._next_hop import (
    add_destination,
    check_typed,
    exporter_of,
    naming_variables,
    span_exporter_of,
)
from wakelog.cli._parser import number_from
from wakelog.cli._paths import add_json, add_path, journal_of, path_of, print_json
from wakelog.cli._place import journal_at
from wakelog.cli._sealing import add_sealing, sealer_of
from wakelog.cli._signals import Stop, until_asked, wait_for_journal
from wakelog.cli._whose import Whose, add_whose
from wakelog.errors import ConfigurationError
from wakelog.journal import UNNAMED_SERVICE, books, folders, signal_of
from wakelog.record import LOGS, SPANS

if TYPE_CHECKING:
    from wakelog.otel import PeriodicMetrics

    Show = Callable[["_Shipments"], None]

_POLL_SECONDS = 0.05
# How long to wait for the last metrics; a program waits as long for its delivery.
_FAREWELL_SECONDS = 0.8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_path(parser, "a journal directory, or one writer's folder")
    add_whose(parser)
    parser.add_argument("--follow", action="store_true", help="continue with new records")
    add_destination(parser, "the destination")
    parser.add_argument(
        "--rate",
        type=number_from(0, including=False),
        metavar="N",
        help="deliver at most N records per second of a backlog",
    )
    parser.add_argument(
        "--timeout",
        type=number_from(0),
        default=30.0,
        metavar="SECONDS",
        help="without --follow: give up when nothing was accepted for this long (30)",
    )
    add_sealing(parser)
    add_json(parser, instead_of="the progress")


def run(arguments: argparse.Namespace) -> int:
    """Deliver a journal.

    Raises:
        JournalError: If there is no journal at the path, or it cannot be read or written.
        ConfigurationError: If there is no endpoint, or several services and no choice.
    """
    if arguments.follow and not wait_for_journal(path_of(arguments)):
        return 0
    path = journal_of(arguments).absolute()
    root, writer = journal_at(path)
    check_typed(arguments)
    whose = Whose(arguments)
    if writer is None:
        whose.choose(root, "ship")

    def is_meant(folder: Path) -> bool:
        return folder.name == writer if writer is not None else whose.is_meant(folder)

    exporters = _exporters(root, is_meant, arguments)
    sealer = sealer_of(root, arguments, is_meant)  # before root gives up its id
    become_owner_of(path)
    progress = _progress(_pending(root, is_meant), shown=not arguments.json)

    begun = time.monotonic()
    metrics = _metrics() if arguments.follow else None
    sealing = nullcontext() if sealer is None else sealer.beside()
    with until_asked(signal.SIGTERM, signal.SIGINT) as stop, progress as show, sealing:
        shipment = _Shipments(
            root,
            exporters,
            wanted=is_meant,
            replay_rate=arguments.rate,
            meter_provider=metrics.provider if metrics is not None else None,
            listener=None if sealer is None else sealer.listener,
        )
        try:
            timeout = None if arguments.follow else arguments.timeout
            problem = _watch(shipment, stop, show, timeout)
        finally:
            shipment.stop()
            if metrics is not None:
                metrics.end(_FAREWELL_SECONDS)
    pending = _pending(root, is_meant)
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
            sys.stderr.write(f"wakelog: {printable(problem)}\n")
        elif pending and not stop.asked:
            sys.stdout.write(
                "What is pending is left to the processes that deliver or record it now.\n"
            )
    return 1 if problem else 0


def _exporters(
    root: Path,
    is_meant: Callable[[Path], bool],
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Return an exporter for each signal in the journal, and with ``--follow`` one for spans."""
    there = {signal_of(folder) for folder in folders(root) if is_meant(folder)}
    exporters: dict[str, Any] = {}
    if LOGS in there or SPANS not in there:
        exporters[LOGS] = exporter_of(arguments)
    if SPANS in there:
        exporters[SPANS] = span_exporter_of(arguments)
    elif arguments.follow:
        with suppress(ConfigurationError):  # there may be no spans, and no endpoint for them
            exporters[SPANS] = span_exporter_of(arguments)
    return exporters


class _Shipments:
    """The shipments of a directory, one for each signal.

    Args:
        root: The journal's directory.
        exporters: The exporter of each signal.
        settings: As for ``Shipment``.
    """

    def __init__(self, root: Path, exporters: dict[str, Any], **settings: Any) -> None:
        from wakelog.otel.shipping import Shipment

        self._all = [
            Shipment(root, exporter, signal=signal, **settings)
            for signal, exporter in exporters.items()
        ]

    @property
    def delivered(self) -> int:
        """How many log records and spans the next hop has accepted."""
        return sum(one.delivered for one in self._all)

    @property
    def dead_lettered(self) -> int:
        """How many records became dead letters."""
        return sum(one.dead_lettered for one in self._all)

    @property
    def idle(self) -> bool:
        """Whether there is nothing more to deliver for now."""
        return all(one.idle for one in self._all)

    @property
    def problem(self) -> str:
        """Why the next hop does not accept anything now; empty if it does."""
        return next((one.problem for one in self._all if one.problem), "")

    def stop(self) -> None:
        """Stop after the current attempts."""
        for one in self._all:
            one.stop()


def _metrics() -> PeriodicMetrics | None:
    """Start sending this process's metrics to the records' destination, with a resource of its own."""
    from opentelemetry.sdk.resources import Resource

    from wakelog.events import semconv as s
    from wakelog.otel import let_exporters_log, periodic_metrics

    with naming_variables():
        metrics = periodic_metrics()
    if metrics is None:
        return None
    resource = Resource.create()
    if str(resource.attributes[s.SERVICE_NAME]).startswith(UNNAMED_SERVICE):
        resource = resource.merge(Resource({s.SERVICE_NAME: "wakelog-ship"}))
    let_exporters_log()
    metrics.start(resource)
    return metrics


def _pending(root: Path, is_meant: Callable[[Path], bool]) -> int:
    return sum(one.pending for one in books(root) if is_meant(root / one.writer))


def _watch(shipment: _Shipments, stop: Stop, show: Show, timeout: float | None) -> str:
    """Wait until everything is delivered or a signal arrives, and return the problem, if any."""
    got, since = 0, time.monotonic()
    while not stop.asked:
        time.sleep(_POLL_SECONDS)
        show(shipment)
        now, reached = time.monotonic(), shipment.delivered + shipment.dead_lettered
        if reached > got or not shipment.problem:
            got, since = reached, now
        if timeout is None:
            continue
        if shipment.idle:
            break
        if now - since > timeout:
            return f"gave up after {timeout:g} s: {shipment.problem}"
    show(shipment)
    return ""


def _nothing(_: _Shipments) -> None:
    """Show nothing."""


@contextmanager
def _progress(pending: int, *, shown: bool) -> Iterator[Show]:
    """Show a progress bar on a terminal, if rich is installed."""
    if not (shown and sys.stdout.isatty() and find_spec("rich")):
        yield _nothing
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (BarColumn(), MofNCompleteColumn(), Remaining(), TextColumn("{task.description}"))
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task("", total=pending)

        def show(shipment: _Shipments) -> None:
            done = shipment.delivered + shipment.dead_lettered
            progress.update(
                task,
                completed=done,
                total=max(pending, done),
                description=printable(shipment.problem)[:60],
            )

        yield show
