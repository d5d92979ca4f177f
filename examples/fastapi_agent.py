"""An agent behind FastAPI, whose code imports neither OpenTelemetry nor Wakelog.

    pip install fastapi uvicorn
    OTEL_PYTHON_CONFIGURATOR=wakelog OTEL_LOGS_EXPORTER=otlp OTEL_SERVICE_NAME=answers \
        opentelemetry-instrument python examples/fastapi_agent.py --port 8000

    curl localhost:8000/answer/4711

Each request logs three records. With opentelemetry-instrumentation-fastapi and -logging installed,
they belong to the span of the request.
"""

from __future__ import annotations

import argparse
import logging
import os

try:
    import uvicorn
    from fastapi import FastAPI
except ImportError as error:
    raise SystemExit(f"{error}: pip install fastapi uvicorn") from None

log = logging.getLogger("answers")
app = FastAPI()


@app.get("/answer/{question}")
async def answer(question: int) -> dict[str, str]:
    """Answer one question."""
    log.info("question %d", question, extra={"question": question})
    log.info("looked up %d", question, extra={"hits": question % 7})
    log.info("answered %d", question)
    return {"answer": f"{question} is {'even' if question % 2 == 0 else 'odd'}"}


@app.get("/process")
async def process() -> int:
    """Return the id of the process that answers."""
    return os.getpid()


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port
    logging.getLogger().setLevel(logging.INFO)
    uvicorn.run(app, host="127.0.0.1", port=port, log_config=None)


if __name__ == "__main__":
    main()
