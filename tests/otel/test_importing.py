"""What is imported, and when: `import wakelog`, recording, delivery, and the public names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import wakelog
from tests.support.configured_programs import Program, program

__all__ = ["program"]


@pytest.mark.parametrize(
    "code",
    [
        "import wakelog",
        "import wakelog; wakelog.WakelogError; wakelog.AgentEvent; wakelog.bound",
        "import wakelog; wakelog.AgentLogger(sink=wakelog.MemorySink()).user_message('hi')",
        "import wakelog; wakelog.JSONLSink('events.jsonl')",
    ],
)
def test_importing_loads_only_what_is_used(program: Program, code: str) -> None:
    heavy = ("opentelemetry.sdk", "opentelemetry.exporter", "structlog", "rich", "click", "grpc")

    loaded = program.run(f"{code}\nimport sys\nprint(json.dumps(list(sys.modules)))")

    assert [name for name in loaded if name.startswith(heavy)] == []
    if code == "import wakelog":
        assert [name for name in loaded if name.startswith("opentelemetry")] == []
        assert [n for n in loaded if n.startswith("wakelog.")] == ["wakelog._lazy"]


@pytest.mark.parametrize(
    "code",
    ["from wakelog.otel import DurableLogRecordProcessor", "import wakelog; wakelog.configure"],
)
def test_recording_loads_neither_seals_nor_metrics_nor_an_http_client(
    program: Program, code: str
) -> None:
    others = ("opentelemetry.sdk.metrics", "urllib.request", "http.client", "ssl", "cryptography")
    ours = (
        "wakelog.evidence._anchors",
        "wakelog.evidence._sealer",
        "wakelog.otel._periodic_export",
    )

    loaded = program.run(f"{code}\nimport sys\nprint(json.dumps(list(sys.modules)))")

    assert [name for name in loaded if name.startswith((*others, *ours))] == []


@pytest.mark.parametrize(
    "code, modules, sources",
    [
        ("from wakelog.otel import DurableLogRecordProcessor", 90, 76),
        ("import wakelog; wakelog.configure", 112, 85),
    ],
)
def test_little_is_loaded_and_compiled_above_the_sdk(
    program: Program, code: str, modules: int, sources: int
) -> None:
    """Their number is what importing takes; `benchmarks/bench_imports.py` has the time.

    A source is compiled for each named tuple, for each of its fields whose annotation is a string, as
    all are under ``from __future__ import annotations``, and for the methods of data classes.
    """
    sdk = (
        "import opentelemetry.sdk._logs.export, opentelemetry.sdk.trace.export\n"
        "import opentelemetry.exporter.otlp.proto.http._log_exporter\n"
    )
    counting = (
        "import sys\nbefore, compiled = set(sys.modules), []\n"
        "sys.addaudithook(lambda event, args: event == 'compile' and args[1] == '<string>'"
        " and compiled.append(args))\n"
    )

    loaded, compiled = program.run(
        f"{sdk}{counting}{code}\n"
        "more = sorted(n for n in set(sys.modules) - before if not n.startswith('wakelog_native'))\n"
        "print(json.dumps([more, len(compiled)]))"
    )

    unused = (
        "asyncio",
        "decimal",
        "difflib",
        "fractions",
        "hashlib",
        "multiprocessing",
        "shlex",
        "wakelog.buffer._policy",
        "wakelog.buffer._queue",
        "wakelog.delivery._thread",
        "wakelog.evidence._keys",
        "wakelog.evidence._settings",
        "wakelog.events._event_lines",
        "wakelog.events._plain",
        "wakelog.journal._books",
        "wakelog.journal._dead_letters",
        "wakelog.journal._file_rotation",
        "wakelog.journal._open_spans",
        "wakelog.journal._prune",
        "wakelog.journal._reading",
        "wakelog.journal._repair",
        "wakelog.journal._verify",
        "wakelog.redaction._config",
        "wakelog.redaction._engine",
        "wakelog.redaction._forms",
        "wakelog.redaction._strategies",
        "wakelog.logger._budget",
        "wakelog.logger._prices",
        "wakelog.otel._buffer",
        "wakelog.otel._export_pipeline",
        "wakelog.otel._metrics",
        "wakelog.otel._redactor",
        "wakelog.otel._span_processor",
        "wakelog.otel._trace_ids",
        "wakelog.sinks._buffered",
        "wakelog.sinks._jsonl",
    )
    assert [name for name in loaded if name in unused] == []
    assert len(loaded) <= modules, loaded
    assert compiled <= sources


def test_a_program_that_keeps_its_records_loads_no_delivery_and_no_metrics(
    program: Program,
) -> None:
    unused = (
        "wakelog.delivery._thread",
        "wakelog.journal._dead_letters",
        "wakelog.otel._export_pipeline",
        "wakelog.otel._metrics",
        "wakelog.otel._response_capture",
    )

    loaded = program.run(
        "import json, sys, wakelog\n"
        "wakelog.configure('agent').user_message('hi')\n"
        "print(json.dumps(list(sys.modules)))",
        OTEL_EXPORTER_OTLP_ENDPOINT="",
    )

    assert [name for name in loaded if name in unused] == []


def test_delivery_imports_nothing_once_a_processor_has_an_exporter(program: Program) -> None:
    """An import of its thread at a fork would be locked in the child for ever."""
    loaded = program.run("""
import json, sys
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, LogRecordExportResult
from wakelog.otel import DurableLogRecordProcessor

class Refusing(InMemoryLogRecordExporter):
    def export(self, batch):
        if any(one.log_record.body == "bad" for one in batch):
            raise TypeError("bad")
        return super().export(batch)

processor = DurableLogRecordProcessor(Refusing(), directory="journal")
before = set(sys.modules)
provider = LoggerProvider(shutdown_on_exit=False)
provider.add_log_record_processor(processor)
for body in ("good", "bad", "good"):
    provider.get_logger("a").emit(LogRecord(body=body, event_name="e"))
processor.force_flush(5000)
processor.shutdown()
dead = processor.result(complete=False).dead_lettered
print(json.dumps([dead, [name for name in set(sys.modules) - before if "wakelog" in name]]))
""")

    assert loaded == [1, []]


def test_neither_recording_nor_a_fork_nor_the_exit_imports_anything(
    program: Program, tmp_path: Path
) -> None:
    """An import of another thread at a fork would be locked in the child for ever."""
    code = f"""
import atexit, json, os, sys

def write():  # registered first, and so called last
    with open({str(tmp_path)!r} + "/loaded-" + str(os.getpid()), "w") as file:
        json.dump(sorted(set(sys.modules) - before), file)

atexit.register(write)
import wakelog
log = wakelog.configure("agent")
before = set(sys.modules)
child = os.fork()
if child:
    os.waitpid(child, 0)
log.user_message("mail a@example.org, password=hunter2!")
with log.run(session_id="s"):
    with log.model("gpt-4o", "openai") as model:
        model.respond("x", input_tokens=1)
    with log.tool("t", {{"a": [1.5, None]}}) as tool:
        tool.result({{"b": "\u00e9"}})
"""
    # Nothing listens there: the exit decides that, and keeps the records.
    program.run(code, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    program.run(code, OTEL_EXPORTER_OTLP_ENDPOINT="")

    loaded = [json.loads(path.read_text()) for path in tmp_path.glob("loaded-*")]
    assert loaded == [[]] * 4


def test_all_is_sorted_and_every_name_in_it_can_be_had() -> None:
    found = {name: getattr(wakelog, name) for name in wakelog.__all__}

    assert wakelog.__all__ == sorted(wakelog.__all__)
    assert dir(wakelog) == wakelog.__all__
    assert {name: value.__name__ for name, value in found.items()} == {name: name for name in found}


def test_a_switch_of_the_compiled_encoders_that_is_no_boolean_is_refused_without_an_exporter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAKELOG_NATIVE", "maybe")

    with pytest.raises(wakelog.ConfigurationError, match=r"WAKELOG_NATIVE='maybe'.*true or false"):
        wakelog.otel.DurableLogRecordProcessor(None, directory=tmp_path)


def test_every_public_name_is_shown_before_it_is_used(program: Program) -> None:
    packages = ["sinks", "journal", "otel", "redaction", "evidence", "gateway", "delivery"]
    code = f"""
import json
from importlib import import_module
missing = {{}}
for name in {packages!r}:
    package = import_module("wakelog." + name)
    missing[name] = sorted(set(package.__all__) - set(dir(package)))
print(json.dumps(missing))
"""
    assert program.run(code) == {name: [] for name in packages}


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'wakelog'.*'AgentLoger'"):
        wakelog.AgentLoger  # noqa: B018
    with pytest.raises(AttributeError, match=r"'wakelog\.otel'.*'Nothing'"):
        wakelog.otel.Nothing  # noqa: B018
