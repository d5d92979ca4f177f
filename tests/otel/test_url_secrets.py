"""Every setting that takes an address is given secrets; nothing that is said or written has them."""

from __future__ import annotations

import asyncio
import io
import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.resources import Resource as SDKResource

from wakelog._endpoints import hide_in_error, secrets_of
from wakelog.audit import PostgresSessionLog, ThreadKey
from wakelog.errors import ConfigurationError, SessionLogError, TransportConnectionError
from wakelog.gateway import (
    EventSessionLogger,
    HTTPTransport,
    KafkaTransport,
    RabbitMQTransport,
    RedisStreamTransport,
)
from wakelog.journal import read
from wakelog.otel import DurableLogRecordProcessor

P, Q, H = "hunter2pw", "querysecret77", "pathsecret77"
PORTS = ("9", "port", "99999")

TRANSPORTS: list[tuple[str, Callable[[str], Any]]] = [
    ("kafka with a user", lambda port: KafkaTransport(f"bob:{P}@127.0.0.1:{port}")),
    ("kafka url", lambda port: KafkaTransport([f"kafka://bob:{P}@127.0.0.1:{port}/?x={Q}"])),
    (
        "kafka password",
        lambda port: KafkaTransport(
            f"127.0.0.1:{port}",
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            sasl_plain_username="bob",
            sasl_plain_password=P,
        ),
    ),
    (
        "kafka password in the wrong place",
        lambda port: KafkaTransport(
            f"127.0.0.1:{port}",
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism=P,
            sasl_plain_username="bob",
            sasl_plain_password=P,
        ),
    ),
    (
        "redis",
        lambda port: RedisStreamTransport(f"redis://bob:{P}@127.0.0.1:{port}/0?password={Q}"),
    ),
    ("rediss", lambda port: RedisStreamTransport(f"rediss://bob:{P}@127.0.0.1:{port}/0?db={Q}")),
    ("redis scheme", lambda port: RedisStreamTransport(f"foo://bob:{P}@h:{port}/0?password={Q}")),
    (
        "redis option",
        lambda port: RedisStreamTransport(f"redis://bob:{P}@127.0.0.1:{port}/0?socket_timeout={Q}"),
    ),
    ("amqp", lambda port: RabbitMQTransport(f"amqp://bob:{P}@127.0.0.1:{port}/?x={Q}")),
    ("amqps", lambda port: RabbitMQTransport(f"amqps://bob:{P}@127.0.0.1:{port}/?cafile={Q}")),
    ("amqp scheme", lambda port: RabbitMQTransport(f"foo://bob:{P}@h:{port}/?heartbeat={Q}")),
    ("amqp option", lambda port: RabbitMQTransport(f"amqp://bob:{P}@h:{port}/?heartbeat={Q}")),
    ("http", lambda port: HTTPTransport(f"http://bob:{P}@127.0.0.1:{port}/services/{H}?token={Q}")),
    ("https", lambda port: HTTPTransport(f"https://bob:{P}@127.0.0.1:{port}/services/{H}?t={Q}")),
    ("http scheme", lambda port: HTTPTransport(f"foo://bob:{P}@127.0.0.1:{port}/{H}?token={Q}")),
    (
        "health address",
        lambda port: HTTPTransport(
            "http://127.0.0.1:9/", health_url=f"http://bob:{P}@127.0.0.1:{port}/{H}?token={Q}"
        ),
    ),
]


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that any library logs, with tracebacks, as a root handler at DEBUG writes it."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield text
    root.removeHandler(handler)
    root.setLevel(level)


def written_below(directory: Path) -> str:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return "\n".join(f"{path} {path.read_bytes()!r}" for path in files)


def leaks(text: str) -> list[str]:
    lines = text.split("\n")
    return [line for line in lines if any(secret in line for secret in (P, Q, H))]


def shown(error: BaseException) -> str:
    """A traceback as it is logged, with the chain, and without the lines of this test's source."""
    told = traceback.TracebackException.from_exception(error, lookup_lines=False)
    for frame in told.stack:
        frame._line = ""  # type: ignore[attr-defined]
    return "".join(told.format())


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("make", [make for _, make in TRANSPORTS], ids=[n for n, _ in TRANSPORTS])
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_no_transport_says_or_writes_the_secrets_of_its_address(
    make: Callable[[str], Any],
    port: str,
    tmp_path: Path,
    logged: io.StringIO,
    capfd: pytest.CaptureFixture[str],
) -> None:
    said: list[str] = []

    async def run() -> None:
        try:
            transport = make(port)
        except ConfigurationError as error:
            said.append(shown(error))
            return
        try:
            await transport.health_check()
        except Exception as error:
            said.append(shown(error))
        async with EventSessionLogger(
            tmp_path,
            downstream_transport=transport,
            close_timeout_seconds=0.2,
            max_retry_attempts=0,
            retry_delay_seconds=0.02,
            error_handler=lambda error, *_: said.append(shown(error)),
        ) as log:
            await log({"session_id": "s", "m": 1})
            await log.flush(timeout=0.5)

    asyncio.run(run())
    out, err = capfd.readouterr()

    assert said
    assert leaks("\n".join([*said, logged.getvalue(), out, err, written_below(tmp_path)])) == []


@pytest.mark.parametrize(
    "conninfo, refused",
    [
        (f"postgresql://bob:{P}@127.0.0.1:9/db?options={Q}", False),
        (f"postgresql://bob:{P}@127.0.0.1:9/db?sslmode={Q}", False),
        (f"postgresql://127.0.0.1:9/db?password={P}&sslpassword={Q}", False),
        (f"host=127.0.0.1 port=9 user=bob password={P} options={Q}", False),
        (f"postgresql://bob:{P}@127.0.0.1:port/db", True),
        (f"postgresql://127.0.0.1:{P}/db", True),
        (f"postgresql://bob:{P} x@127.0.0.1/db", True),
        (f"postgresql://bob:{P}%zz@127.0.0.1/db", True),
        (f"postgresql://bob:{P}@[::1/db", True),
        (f"host=127.0.0.1 password='{P}", True),
        (f"password={P} {Q}", True),
        (P, True),
    ],
)
def test_a_session_log_in_postgresql_does_not_say_how_it_connects(
    conninfo: str, refused: bool, logged: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    def use() -> None:
        log = PostgresSessionLog(conninfo, connect_timeout=2)
        asyncio.run(log.load_since(ThreadKey("tenant", "thread")))

    with pytest.raises(ConfigurationError if refused else SessionLogError) as raised:
        use()
    out, err = capfd.readouterr()

    assert leaks("\n".join([shown(raised.value), logged.getvalue(), out, err])) == []


def chained(*texts: str) -> BaseException:
    behind: BaseException | None = None
    for text in reversed(texts):
        error = ValueError(text)
        error.__cause__ = behind
        behind = error
    assert behind is not None
    return behind


def test_the_resource_is_recorded_without_the_users_and_passwords_of_urls(tmp_path: Path) -> None:
    given = {
        "service.name": "shop",
        "db.url": f"postgresql://bob:{P}@db:5432/shop",
        "process.command_args": ["serve", f"--broker=amqp://bob:{P}@mq/"],
        "mail": "bob@example.com",
    }
    provider = LoggerProvider(SDKResource(given))
    provider.add_log_record_processor(DurableLogRecordProcessor(None, directory=tmp_path / "j"))
    provider.get_logger("x").emit(LogRecord(body="x"))
    provider.shutdown()

    [entry] = read(tmp_path / "j")
    assert dict(entry.resource.attributes) == {
        "service.name": "shop",
        "db.url": "postgresql://db:5432/shop",
        "process.command_args": ["serve", "--broker=amqp://mq/"],
        "mail": "bob@example.com",
    }
    assert not [
        path for path in tmp_path.rglob("*") if path.is_file() and P.encode() in path.read_bytes()
    ]


def test_a_secret_leaves_every_exception_of_a_chain_and_what_is_not_secret_stays() -> None:
    error = chained(f"of http://bob:{P}@h", f"at {P}", "why", f"? {Q}")

    assert hide_in_error(error, secrets_of(f"http://bob:{P}@h/?k={Q}"))

    assert leaks(shown(error)) == []
    assert "of http://h" in shown(error)
    assert "ValueError: why" in shown(error)


class StubbornError(Exception):
    def __str__(self) -> str:
        return P


def test_an_exception_that_cannot_be_changed_is_left_out_of_the_chain() -> None:
    error = chained("seen", "too")
    assert error.__cause__ is not None
    error.__cause__.__context__ = StubbornError()

    assert hide_in_error(error, [P])
    assert error.__cause__.__context__ is None
    assert not hide_in_error(StubbornError(), [P])
    assert not hide_in_error(ExceptionGroup("several", [ValueError("x"), StubbornError()]), [P])


def test_a_chain_that_leads_back_to_itself_ends() -> None:
    first, second = ValueError(P), KeyError(P)
    first.__context__, second.__context__ = second, first

    assert hide_in_error(first, [P])
    assert leaks(f"{first!r} {second!r}") == []


def test_what_a_client_raises_that_cannot_be_changed_is_not_shown() -> None:
    class Client(HTTPTransport):
        async def _connect(self) -> Any:
            raise StubbornError

    async def run() -> None:
        await Client(f"http://bob:{P}@h/").send({"session_id": "s"})

    with pytest.raises(
        TransportConnectionError, match="StubbornError, whose text is not"
    ) as raised:
        asyncio.run(run())
    assert leaks(shown(raised.value)) == []
