"""Show a journal in a browser: sessions, their events, and the health of delivery.

It prints the address of a page, which contains a token that the page requires, and serves it on this machine's
loopback interface until Ctrl-C. The page follows programs while they record. It changes nothing unless dead
letters are replayed from it, to --endpoint or the endpoint of an OTEL_EXPORTER_OTLP_* variable.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from wakelog._printable import printable
from wakelog.cli._identity import become_owner_of
from wakelog.cli._indexed import opened
from wakelog.cli._next_hop import add_destination, exporter_maker
from wakelog.cli._parser import whole_number
from wakelog.cli._paths import add_path, source_of
from wakelog.cli._place import check_journal, journal_at
from wakelog.errors import ConfigurationError, JournalError

_TRACE_URL: Final = "WAKELOG_TRACE_URL"
_ENDPOINTS: Final = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
)
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_path(parser, "a journal directory, one writer's folder, or a JSONL file")
    parser.add_argument(
        "--port", type=whole_number, default=0, metavar="N", help="the port; a free one by default"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="the address to listen on; loopback by default",
    )
    parser.add_argument(
        "--trace-url",
        metavar="URL",
        help="the URL of a trace, with {trace_id} in it, as http://localhost:16686/trace/{trace_id}; "
        f"else ${_TRACE_URL}",
    )
    parser.add_argument(
        "--link",
        action="append",
        default=[],
        metavar="NAME=URL",
        help="link to another page; may be repeated",
    )
    parser.add_argument(
        "--prometheus",
        metavar="URL",
        help="the Prometheus with the programs' metrics, for circuits and the duration of syncs",
    )
    add_destination(parser, "the destination of replayed dead letters")


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until it is asked to stop.

    Raises:
        WakelogError: If there is nothing to read, or the address cannot be used.
    """
    from wakelog.page import PageSettings, serve

    path = source_of(arguments)
    journal = _journal(path)
    has_destination = arguments.endpoint or any(os.environ.get(name) for name in _ENDPOINTS)
    settings = PageSettings(
        host=arguments.host,
        port=arguments.port,
        trace_url=_trace_url(arguments),
        links=[_link(text) for text in arguments.link],
        prometheus=_checked(arguments.prometheus) if arguments.prometheus else None,
        exporter_of=exporter_maker(arguments) if has_destination else None,
    )
    if journal is not None:
        become_owner_of(journal)
    with opened(path):
        pass  # build the index, with its progress, before the page is served
    if arguments.host not in _LOOPBACK:
        sys.stderr.write(
            "wakelog: anybody with the token who can reach this address can read the journal, and the "
            "connection is not encrypted\n"
        )
    serve(path, journal, settings, _announce)
    return 0


def _announce(address: str) -> None:
    sys.stdout.write(f"Open {address}\nCtrl-C ends it.\n")
    sys.stdout.flush()


def _journal(path: Path) -> Path | None:
    try:
        check_journal(path)
    except JournalError:
        return None
    return journal_at(path)[0]


def _trace_url(arguments: argparse.Namespace) -> str | None:
    given: str | None = arguments.trace_url or os.environ.get(_TRACE_URL) or None
    if given is None:
        return None
    if "{trace_id}" not in given:
        raise ConfigurationError(
            f"--trace-url has to say where the id belongs, as in "
            f"http://localhost:16686/trace/{{trace_id}}; got {printable(given)!r}"
        )
    return _checked(given)


def _link(text: str) -> tuple[str, str]:
    name, equals, url = text.partition("=")
    if not (name and equals):
        raise ConfigurationError(
            f"--link is NAME=URL, as in Jaeger=http://localhost:16686; got {text!r}"
        )
    return name, _checked(url)


def _checked(url: str) -> str:
    """Return the URL of a page after checking it."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigurationError(
            f"{printable(url)!r} is not the URL of a page: begin it with http:// or https://"
        )
    return url
