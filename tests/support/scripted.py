"""A next hop that answers what the script says, over OTLP/HTTP or OTLP/gRPC.

For answers that a real Collector does not give on demand. Both kinds take the same `Answer`s, keep what
they received, and can be stopped and started again on the same port.
"""

from __future__ import annotations

import gzip
import http.server
import select
import socket
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Literal, Self

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from tests.support.collector import free_ports

_HOST = "127.0.0.1"
_PROTOBUF = "application/x-protobuf"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the next hop does with one request.

    Attributes:
        status: The HTTP status.
        code: The gRPC status.
        rejected: What `partial_success` says was thrown away, with `message`.
        message: The text of `partial_success`, or of the error.
        retry_after: Seconds, as `Retry-After` or as `RetryInfo`.
        headers: More HTTP headers, or gRPC trailing metadata.
        body: The bytes of the answer, instead of an OTLP response.
        fault: `hang`: never answers (until the server is stopped). `reset`: resets the connection in the
            middle of the body (HTTP), or while the call is under way (gRPC). `close`: closes the
            connection without an answer.
    """

    status: int = 200
    code: grpc.StatusCode = grpc.StatusCode.OK
    rejected: int = 0
    message: str = ""
    retry_after: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    fault: Literal["", "hang", "reset", "close"] = ""

    def content(self) -> bytes:
        """Returns the answer's bytes."""
        if self.body is not None:
            return self.body
        if 200 <= self.status < 300:
            response = ExportLogsServiceResponse()
            response.partial_success.rejected_log_records = self.rejected
            response.partial_success.error_message = self.message
            if not self.rejected and not self.message:
                response.Clear()
            return response.SerializeToString()
        content: bytes = Status(message=self.message).SerializeToString()
        return content


ACCEPT = Answer()
# The same trouble, as either protocol says it.
UNAVAILABLE = Answer(status=503, code=grpc.StatusCode.UNAVAILABLE, message="come back later")
BAD_REQUEST = Answer(status=400, code=grpc.StatusCode.INVALID_ARGUMENT, message="malformed record")
TOO_LARGE = Answer(
    status=413,
    code=grpc.StatusCode.RESOURCE_EXHAUSTED,
    message="grpc: received message larger than max (5242880 vs. 4194304)",
)
UNAUTHENTICATED = Answer(status=401, code=grpc.StatusCode.UNAUTHENTICATED, message="no token")
HANG = Answer(fault="hang")
RESET = Answer(fault="reset")
CLOSE = Answer(fault="close")


@dataclass(frozen=True, kw_only=True)
class Received:
    """One request as it came.

    Attributes:
        message: The decoded request.
        size: Its bytes on the wire, before any decompression (gRPC: after it).
        headers: HTTP headers or gRPC metadata, names in lower case.
        path: The HTTP path, or the gRPC method.
        peer: The client's end of the connection.
        at: `time.monotonic()` of its arrival.
    """

    message: ExportLogsServiceRequest
    size: int
    headers: dict[str, str]
    path: str
    peer: str
    at: float

    @property
    def records(self) -> list[Any]:
        """The log records, as protobuf messages, in their order."""
        return [
            record
            for resource in self.message.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    @property
    def uids(self) -> list[str]:
        """Every record's `log.record.uid`, in their order; empty for a record without one."""
        return [
            next((a.value.string_value for a in record.attributes if a.key == "log.record.uid"), "")
            for record in self.records
        ]


Script = Callable[[Received], Answer]


class Scripted:
    """What both protocols have in common; use `ScriptedHTTP` or `ScriptedGRPC`.

    It answers with the queued answers first, one for each request, and then with `always`, which may be a
    function of the request ("refuse what contains this record").
    """

    scheme = "http"

    def __init__(self, always: Answer | Script = ACCEPT) -> None:
        self.always = always
        (self.port,) = free_ports(1)
        self.received: list[Received] = []
        self.answered: list[Answer] = []
        self._queue: list[Answer] = []
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self.running = False

    @property
    def endpoint(self) -> str:
        """The address to give to the exporter."""
        return f"{self.scheme}://{_HOST}:{self.port}"

    def answer(self, *answers: Answer) -> Self:
        """Queues answers, one for each of the next requests."""
        with self._changed:
            self._queue.extend(answers)
        return self

    def uids(self) -> list[str]:
        """Returns the ids of the records in requests that were answered with success, in their order."""
        with self._changed:
            pairs = list(zip(self.received, self.answered, strict=False))
        return [
            uid
            for request, answer in pairs
            if not answer.fault and 200 <= answer.status < 300 and answer.code is grpc.StatusCode.OK
            for uid in request.uids
        ]

    def wait_for_requests(self, count: int, timeout: float = 60.0) -> list[Received]:
        """Waits until `count` requests have come in all, returns all, or raises `TimeoutError`."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.received) >= count, timeout):
                msg = f"{len(self.received)} of {count} requests after {timeout} s"
                raise TimeoutError(msg)
            return list(self.received)

    def wait_for_uids(self, count: int, timeout: float = 60.0) -> list[str]:
        """Waits until `count` distinct records have been accepted; returns ids with second copies.

        Raises:
            TimeoutError: Fewer were accepted within `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(set(self.uids())) >= count, timeout):
                msg = f"{len(set(self.uids()))} of {count} records after {timeout} s"
                raise TimeoutError(msg)
        return self.uids()

    def start(self) -> Self:
        """Begins to listen, on the same port each time."""
        self._stopped = threading.Event()
        self._listen()
        self.running = True
        return self

    def stop(self) -> None:
        """Stops listening and drops every connection; whatever hangs ends. Connections are then refused."""
        if self.running:
            self.running = False
            self._stopped.set()
            self._drop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _listen(self) -> None:
        raise NotImplementedError

    def _drop(self) -> None:
        raise NotImplementedError

    def _take(self, request: Received) -> Answer:
        with self._changed:
            if self._queue:
                answer = self._queue.pop(0)
            else:
                answer = self.always(request) if callable(self.always) else self.always
            self.received.append(request)
            self.answered.append(answer)
            self._changed.notify_all()
        return answer


class ScriptedHTTP(Scripted):
    """A scripted OTLP/HTTP endpoint.

    Args:
        always: The answer when none is queued.
        tls: Certificate and key for https.
    """

    def __init__(
        self, always: Answer | Script = ACCEPT, *, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(always)
        self._tls = tls
        self.scheme = "https" if tls else "http"
        self._connections: set[socket.socket] = set()

    @property
    def logs_endpoint(self) -> str:
        """The address to give to the exporter as its `endpoint` argument."""
        return f"{self.endpoint}/v1/logs"

    def _listen(self) -> None:
        scripted = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Else Nagle holds the body back until the headers are acknowledged.
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                scripted._answer(self)

            do_GET = do_POST  # noqa: N815 - the library's name

            def log_message(self, *args: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def process_request_thread(self, request: Any, client_address: Any) -> None:
                scripted._connections.add(request)
                try:
                    if scripted._tls:
                        request = scripted._tls.wrap_socket(request, server_side=True)
                        scripted._connections.add(request)
                    super().process_request_thread(request, client_address)
                except OSError:
                    pass  # the client does not like our certificate, or has gone
                finally:
                    request.close()

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a connection that a script has reset

        self._server = Server((_HOST, self.port), Handler)
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def _drop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._connections):
            _reset(connection)
        self._connections.clear()

    def _answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        raw = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        match handler.headers.get("Content-Encoding"):
            case "gzip":
                content = gzip.decompress(raw)
            case "deflate":
                content = zlib.decompress(raw)
            case _:
                content = raw
        answer = self._take(
            Received(
                message=ExportLogsServiceRequest.FromString(content),
                size=len(raw),
                headers={name.lower(): value for name, value in handler.headers.items()},
                path=handler.path,
                peer=str(handler.client_address),
                at=time.monotonic(),
            )
        )
        if answer.fault == "hang":
            self._stopped.wait()
        if answer.fault in ("hang", "close"):
            handler.close_connection = True
            return
        body = answer.content()
        handler.send_response(answer.status)
        headers = {"Content-Type": _PROTOBUF, **answer.headers}
        if answer.retry_after is not None:
            headers.setdefault("Retry-After", f"{answer.retry_after:g}")
        for name, value in headers.items():
            if value:
                handler.send_header(name, value)
        if answer.fault == "reset":
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
            handler.wfile.write(b"half an ans")
            handler.wfile.flush()
            _reset(handler.connection)
            handler.close_connection = True
            return
        if answer.status not in (204, 304):
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if answer.status not in (204, 304):
            handler.wfile.write(body)


class ScriptedGRPC(Scripted):
    """A scripted OTLP/gRPC endpoint, behind a forwarder that can reset its connections.

    Args:
        always: The answer when none is queued.
        credentials: Certificate and key for TLS.
        options: Options of the gRPC server, such as `("grpc.max_receive_message_length", …)`.
    """

    def __init__(
        self,
        always: Answer | Script = ACCEPT,
        *,
        credentials: grpc.ServerCredentials | None = None,
        options: tuple[tuple[str, Any], ...] = (),
    ) -> None:
        super().__init__(always)
        self._credentials = credentials
        self._options = options
        self.scheme = "https" if credentials else "http"

    def _listen(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(8), options=self._options)
        # Without serializers: bytes in, bytes out.
        behaviour: Any = grpc.unary_unary_rpc_method_handler(self._answer)
        service = "opentelemetry.proto.collector.logs.v1.LogsService"
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {"Export": behaviour}),)
        )
        if self._credentials:
            behind = self._server.add_secure_port(f"{_HOST}:0", self._credentials)
        else:
            behind = self._server.add_insecure_port(f"{_HOST}:0")
        self._server.start()
        self._forwarder = _Forwarder(self.port, behind)

    def _drop(self) -> None:
        self._forwarder.close()
        self._server.stop(None).wait()

    def _answer(self, content: bytes, context: grpc.ServicerContext) -> bytes:
        metadata = {key: str(value) for key, value in context.invocation_metadata()}
        answer = self._take(
            Received(
                message=ExportLogsServiceRequest.FromString(content),
                size=len(content),
                headers=metadata,
                path="LogsService/Export",
                peer=context.peer(),
                at=time.monotonic(),
            )
        )
        if answer.fault == "hang":
            self._stopped.wait()
        if answer.fault:
            self._forwarder.reset_connections()
            context.abort(grpc.StatusCode.CANCELLED, "dropped")
        trailing: list[tuple[str, str | bytes]] = list(answer.headers.items())
        if answer.retry_after is not None:
            detail = AnyMessage()
            delay = Duration()
            delay.FromNanoseconds(int(answer.retry_after * 1e9))
            detail.Pack(RetryInfo(retry_delay=delay))
            number: int = answer.code.value[0]
            status = Status(code=number, message=answer.message, details=[detail])
            trailing.append(("grpc-status-details-bin", status.SerializeToString()))
        context.set_trailing_metadata(tuple(trailing))
        if answer.code is not grpc.StatusCode.OK:
            context.abort(answer.code, answer.message)
        return answer.content()


class _Forwarder:
    """Copies bytes between a listening port and the port behind it, until told to reset."""

    def __init__(self, port: int, behind: int) -> None:
        self._behind = behind
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server((_HOST, port))
        self._ended = threading.Thread(target=self._accept, daemon=True)
        self._ended.start()

    def reset_connections(self) -> None:
        """Resets every connection; new ones are served."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                _reset(end)

    def close(self) -> None:
        """Listens no longer, and resets every connection."""
        # A plain close would leave the port open until the thread has come out of `accept`.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._ended.join()
        self._listener.close()
        self.reset_connections()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((_HOST, self._behind))
            except OSError:
                client.close()
                continue
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.append((client, server))
            threading.Thread(target=_copy, args=(client, server), daemon=True).start()


def _copy(one: socket.socket, other: socket.socket) -> None:
    try:
        while True:
            for source in select.select([one, other], [], [])[0]:
                content = source.recv(65536)
                if not content:
                    return
                (other if source is one else one).sendall(content)
    except (OSError, ValueError):  # reset, or closed by `reset_connections`
        pass
    finally:
        one.close()
        other.close()


def _reset(connection: socket.socket) -> None:
    """Ends a connection with RST, now, whichever thread is blocked in it."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has gone already
    connection.close()


def http_date(seconds_from_now: float) -> str:
    """Returns a time as `Retry-After` may give it."""
    return formatdate(time.time() + seconds_from_now, usegmt=True)
