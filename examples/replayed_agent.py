"""A recorded run as a test double: a Pydantic AI agent runs again without its model and its tools.

    pip install 'wakelog[pydantic-ai]'
    python examples/replayed_agent.py /tmp/weather

The first part is the program, with a scripted model instead of a provider's, so that no network is needed. The
second part shows what a test does with its record: the same agent gives the same answer, and the tool is not
called. The third part is the same test after a change of the instructions.
"""

from __future__ import annotations

import argparse
from typing import Any

try:
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import FunctionModel
except ImportError as error:
    raise SystemExit(f"{error}: pip install 'wakelog[pydantic-ai]'") from None

import wakelog
from wakelog.integrations.pydantic_ai import WakelogCapability
from wakelog.integrations.testing import RecordedRun, UnrecordedCallError

CALLED: list[str] = []


def weather(city: str) -> str:
    """Look up the weather of a city."""
    CALLED.append(city)
    return f"sun, 24 degrees in {city}"


def agent_with(tool: Any, instructions: str = "Answer in one sentence.") -> Agent[None, str]:
    """Create the agent."""
    return Agent(
        "openai:gpt-5",
        defer_model_check=True,
        name="weather",
        instructions=instructions,
        tools=[tool],
        capabilities=[WakelogCapability()],
    )


def script() -> FunctionModel:
    """Return a model that asks for the weather once, and then answers."""
    turns = [
        ModelResponse(parts=[ToolCallPart("weather", {"city": "Lisbon"}, "call-1")]),
        ModelResponse(parts=[TextPart("Take your sunglasses: it is sunny, 24 degrees.")]),
    ]
    return FunctionModel(lambda *_: turns.pop(0), model_name="gpt-5")


def main() -> None:
    """Record a run, and run it again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", help="of the journal")
    directory = parser.parse_args().directory
    question = "What do I need in Lisbon?"

    log = wakelog.configure("weather", directory=directory)
    agent = agent_with(weather)
    with log.run(run_id="recorded"), agent.override(model=script()):
        print("recorded:", agent.run_sync(question).output)

    double = RecordedRun.load(directory, "recorded")
    agent = agent_with(double.tool(weather))
    with agent.override(model=double.pydantic_ai_model("gpt-5")):
        print("again:   ", agent.run_sync(question).output)
    print("the tool was called", len(CALLED), "time; left in the record:", double.remaining)

    double = RecordedRun.load(directory, "recorded")
    changed = agent_with(double.tool(weather), "Answer in one word.")
    try:
        with changed.override(model=double.pydantic_ai_model("gpt-5")):
            changed.run_sync(question)
    except UnrecordedCallError as error:
        print("changed: ", *str(error).splitlines()[:3], sep="\n  ")


if __name__ == "__main__":
    main()
