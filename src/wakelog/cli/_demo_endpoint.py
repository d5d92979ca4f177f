"""The demo's OTLP endpoint: a small HTTP server on the loopback interface that stores ids."""

from __future__ import annotations

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from wakelog.events import semconv as s

_HOST = "127.0.0.1"


class Endpoint:
    """Receives and counts logs and spans over OTLP http/protobuf.

    ``_changed`` guards the counts; nothing is sent or parsed under it.

    Attributes:
        port: The port, which stays the same after the first ``open``.
    """

    def __init__(self) -> None:
        self.port = 0
        self._changed = threading.Condition()
        self._records: Counter[str] = Counter()
        self._spans: Counter[str] = Counter()
        self._unknown: set[str] = set()
        self._answering = True
        self._unanswered = 0
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        """The value for ``OTEL_EXPORTER_OTLP_ENDPOINT``."""
        return f"http://{_HOST}:{self.port}"

    @property
    def ids(self) -> set[str]:
        """The ids of the records that have arrived."""
        with self._changed:
            return set(self._records)

    @property
    def duplicates(self) -> int:
        """How many records arrived again."""
        with self._changed:
            return self._records.total() - len(self._records)

    @property
    def span_ids(self) -> set[str]:
        """The ids of the spans that have arrived, in the journal's form."""
        with self._changed:
            return set(self._spans)

    @property
    def unknown_outcomes(self) -> int:
        """How many of these spans have an unknown outcome."""
        with self._changed:
            return len(self._unknown)

    def open(self) -> None:
        """Listen, and respond to every request.

        Raises:
            OSError: If the port is in use.
        """
        self._answering = True
        self._server = _Server((_HOST, self.port), self)
        self.port = self._server.server_address[1]
        threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="demo-endpoint", daemon=True
        ).start()

    def stop_answering(self) -> None:
        """Continue to accept requests, but fail before responding, as a crashing server does."""
        self._answering = False

    def close(self) -> None:
        """Stop listening: connections are refused from now on."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def wait_for(self, records: int, timeout: float) -> int:
        """Wait until this many distinct records have arrived, and return how many have."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._records) >= records, timeout)
            return len(self._records)

    def wait_for_unanswered(self, timeout: float) -> int:
        """Wait for records that arrive and get no response, and return how many did."""
        with self._changed:
            self._changed.wait_for(lambda: self._unanswered > 0, timeout)
            return self._unanswered

    def take(self, path: str, body: bytes) -> bool:
        """Store the ids in a request, and tell whether to respond to it.

        Raises:
            DecodeError: If the body is not an OTLP request.
        """
        if path == "/v1/logs":
            logs = ExportLogsServiceRequest.FromString(body)
            ids = [
                attribute.value.string_value
                for resource in logs.resource_logs
                for scope in resource.scope_logs
                for record in scope.log_records
                for attribute in record.attributes
                if attribute.key == s.LOG_RECORD_UID
            ]
            with self._changed:
                self._records.update(ids)
                if not self._answering:
                    self._unanswered += len(ids)
                self._changed.notify_all()
        else:
            traces = ExportTraceServiceRequest.FromString(body)
            spans = [
                span
                for resource in traces.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            ]
            with self._changed:
                for span in spans:
                    span_id = f"{span.trace_id.hex()}-{span.span_id.hex()}"
                    self._spans[span_id] += 1
                    if any(attribute.key == s.SPAN_OUTCOME for attribute in span.attributes):
                        self._unknown.add(span_id)
        return self._answering


class _Server(ThreadingHTTPServer):
    def __init__(self, address: tuple[str, int], endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore the error: a killed client breaks its connection."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        """Handle one request. The response is an empty message, which means full success."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            answer = self.server.endpoint.take(self.path, body)
        except DecodeError:
            self.send_error(400)
            return
        if answer:
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name
        """Log nothing."""
