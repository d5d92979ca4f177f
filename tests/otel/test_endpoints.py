"""No user, password or token of an address is said, whoever says it."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.test_cli import SECONDS, environment, recorder, run
from tests.support.scripted import Answer, ScriptedHTTP
from wakelog._endpoints import endpoint_name, without_secrets

PASSWORD, QUERY, PATH = "hunter2pw", "querysecret77", "pathsecret77"
SECRETS = (PASSWORD, QUERY, PATH)

OTLP = (
    "import logging, os, sys\n"
    "logging.basicConfig(stream=sys.stdout, level=logging.DEBUG)\n"
    "import wakelog\n"
    "try:\n"
    "    log = wakelog.configure('a'); log.user_message('x'); log.flush(2); wakelog.shutdown()\n"
    "except Exception as error:\n"
    "    print(type(error).__name__, error)\n"
    "sys.stdout.flush(); os._exit(0)\n"
)
GATEWAY = (
    "import asyncio, logging, sys, tempfile\n"
    "logging.basicConfig(stream=sys.stdout, level=logging.INFO)\n"
    "from wakelog.gateway import *\n"
    "async def main():\n"
    "    options = dict(max_retry_attempts=1, retry_delay_seconds=0.05)\n"
    "    transport = {transport}\n"
    "    async with EventSessionLogger(\n"
    "        tempfile.mkdtemp(), downstream_transport=transport, close_timeout_seconds=0.5, **options\n"
    "    ) as log:\n"
    "        await log({{'session_id': 's', 'm': 1}})\n"
    "        await log.flush(timeout=1)\n"
    "asyncio.run(main())\n"
)


def said_by(code: str, **more: str) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "WAKELOG_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "PYTHONPATH": environment()["PYTHONPATH"], **more},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return done.stdout + done.stderr


def leaks(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


@pytest.mark.parametrize(
    "address, name",
    [
        ("http://collector:4318/v1/logs", "http://collector:4318/v1/logs"),
        ("http://ann:secret@collector:4318", "http://collector:4318"),
        ("https://h/v1/logs?key=secret#secret", "https://h/v1/logs"),
        ("ann:secret@collector:4317", "collector:4317"),
        ("collector:4317", "collector:4317"),
        ("unix:/run/otel.sock", "unix:/run/otel.sock"),
        ("http://ann:se/cret@host/x", "http://…"),
        ("http://ann:se?cret@host/x", "http://…"),
        ("http://ann:s@cret@host/x", "http://host/x"),
        ("http://[::1", "http://[::1"),
        (" http://ann:secret@h:1\n", " http://h:1\n"),
        ("http://bob:secret", "http://bob:…"),
        ("bob:secret", "bob:…"),
        ("unix:otel.sock", "unix:otel.sock"),
        ("dns:collector", "dns:collector"),
        ("http://[::1]:4318/x?key=secret", "http://[::1]:4318/x"),
        ("localhost:4318?key=secret", "localhost:4318"),
    ],
)
def test_an_endpoint_is_named_without_its_secrets(address: str, name: str) -> None:
    assert endpoint_name(address) == name


def test_the_path_of_a_webhook_is_not_named() -> None:
    assert endpoint_name("https://h:1/services/T0/x", path=False) == "https://h:1/…"
    assert endpoint_name("https://h:1/", path=False) == "https://h:1/"


WORD = st.text(st.sampled_from("abcdefgh0123456789-._~"), min_size=6, max_size=12)


@given(user=WORD, password=WORD, host=WORD, key=WORD, token=WORD)
def test_no_part_that_is_secret_is_in_the_name_or_in_an_error(
    user: str, password: str, host: str, key: str, token: str
) -> None:
    host = "host-" + host.strip("-.~")
    if any(secret in host or secret in "://…" for secret in (user, password, token)):
        return
    address = f"https://{user}:{password}@{host}/hook?{key}={token}"

    for said in (
        endpoint_name(address),
        without_secrets(f"cannot reach {address}", address),
        without_secrets(f"url: /hook?{key}={token} as {user}:{password}", address),
    ):
        assert password not in said
        assert token not in said
    assert without_secrets(f"of {address}") == f"of https://{host}/hook?{key}={token}"


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize(
    "variable",
    [
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    ],
)
def test_an_endpoint_that_cannot_be_used_is_said_without_its_secrets(
    protocol: str, variable: str, tmp_path: Path
) -> None:
    program = (
        "import sys\n"
        "import logging; logging.basicConfig(stream=sys.stdout)\n"
        "import os, wakelog\n"
        "for address in sys.stdin.read().split():\n"
        f"    os.environ[{variable!r}] = address\n"
        "    try:\n"
        "        wakelog.configure('a')\n"
        "    except wakelog.ConfigurationError as error:\n"
        "        print('refused', error)\n"
        "os._exit(sys.stdout.flush() or 0)\n"
    )
    addresses = [
        f"http://bob:{PASSWORD}@127.0.0.1:99999",
        f"http://bob:{PASSWORD}@127.0.0.1:port?key={QUERY}",
        f"http://bob:{PASSWORD}",
        f"ftp://bob:{PASSWORD}@h?key={QUERY}",
        f"http://bob:{PASSWORD}@?key={QUERY}",
    ]
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(WAKELOG_DIR=str(tmp_path), OTEL_EXPORTER_OTLP_PROTOCOL=protocol),
        input="\n".join(addresses),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )

    assert leaks(done.stdout + done.stderr) == []
    assert done.stdout.count("refused") == len(addresses)
    assert f"{variable}='http://bob:…' is no endpoint: its port is no number up to" in done.stdout


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_delivery_that_fails_is_said_without_secrets(protocol: str, tmp_path: Path) -> None:
    address = f"http://bob:{PASSWORD}@127.0.0.1:9/?api_key={QUERY}"
    said = said_by(
        OTLP,
        WAKELOG_DIR=str(tmp_path),
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        OTEL_EXPORTER_OTLP_ENDPOINT=address,
    )

    written = [path.read_bytes().decode(errors="replace") for path in tmp_path.rglob("*.json*")]
    owners = [path.read_text() for path in tmp_path.rglob("owner")]
    assert "cannot deliver" in said
    assert written
    assert owners
    assert leaks("\n".join([said, *written, *owners])) == []


@pytest.mark.parametrize("status", [200, 404, 500])
def test_delivery_that_is_answered_is_said_without_secrets(status: int, tmp_path: Path) -> None:
    with ScriptedHTTP(Answer(status=status, body=b"")) as hop:
        address = hop.endpoint.replace("//", f"//bob:{PASSWORD}@") + f"/?api_key={QUERY}"
        with recorder(tmp_path) as log:
            log.decision("go")
        done = run(
            *("ship", "--endpoint", address, "--protocol", "http/protobuf"),
            *("--timeout", "0.5", tmp_path),
        )

    assert leaks(done.stdout + done.stderr) == []


def test_commands_name_an_option_without_its_secrets(tmp_path: Path) -> None:
    with recorder(tmp_path) as log:
        log.decision("go")

    for address in (f"ftp://bob:{PASSWORD}@h", f"http://bob:{PASSWORD}@h:99999?k={QUERY}"):
        for command in (["ship"], ["dead-letters", "replay"]):
            done = run(*command, "--endpoint", address, tmp_path)
            assert done.returncode == 1
            assert "--endpoint" in done.stderr
            assert leaks(done.stdout + done.stderr) == []


def hook(port: int) -> str:
    return f"http://bob:{PASSWORD}@127.0.0.1:{port}/services/T000/{PATH}?token={QUERY}"


def test_a_webhook_that_fails_or_answers_is_said_without_secrets() -> None:
    down = said_by(GATEWAY.format(transport=f"HTTPTransport({hook(9)!r})"))

    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(500)
            self.end_headers()
            self.wfile.write(f"nothing at {self.path}".encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        answered = said_by(GATEWAY.format(transport=f"HTTPTransport({hook(server.server_port)!r})"))
        server.shutdown()

    assert "cannot post to http://127.0.0.1:9/…" in down
    assert "answered 500" in answered
    assert leaks(down + answered) == []


@pytest.mark.parametrize(
    "transport",
    [
        f"RedisStreamTransport('redis://bob:{PASSWORD}@127.0.0.1:9/0?password={QUERY}')",
        f"RabbitMQTransport('amqp://bob:{PASSWORD}@127.0.0.1:9/?x={QUERY}')",
        (
            f"KafkaTransport(topic='t', bootstrap_servers='127.0.0.1:9', sasl_mechanism='PLAIN', sasl_plain_username='bob', "
            f"security_protocol='SASL_PLAINTEXT', sasl_plain_password={PASSWORD!r})"
        ),
    ],
)
def test_a_broker_that_is_away_is_said_without_secrets(transport: str) -> None:
    said = said_by(GATEWAY.format(transport=transport))

    assert "forward" in said
    assert leaks(said) == []
