"""A workflow that an engine may replay: tokens, costs, a budget, a sub-agent in a thread, an evaluation.

    pip install 'wakelog[prices]'
    python examples/tokens_and_replay.py --directory journal
    wakelog show journal

Run it twice: the second run replays the first, and records only the evaluation again.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import wakelog
from wakelog.viewer import load, totals

RUN = "booking-4711"
# A usage object as a client would return it.
OPENAI = {
    "prompt_tokens": 1200,
    "completion_tokens": 300,
    "total_tokens": 1500,
    "prompt_tokens_details": {"cached_tokens": 1024},
}
ANTHROPIC = {
    "input_tokens": 50,
    "cache_read_input_tokens": 2000,
    "cache_creation_input_tokens": 300,
    "output_tokens": 400,
}


def compare(log: wakelog.AgentLogger, place: str) -> str:
    """Ask another model, as a sub-agent with its own conversation."""
    with (
        log.run(
            agent="comparer", run_id=f"{RUN}/{place}", session_id=f"s-1/{place}", event_key="run"
        ),
        log.model("claude-sonnet-4-5", "anthropic", f"Hotels in {place}?", event_key="ask") as call,
    ):
        call.respond("Three are free.", usage=ANTHROPIC, finish_reasons=["end_turn"])
    return f"three in {place}"


def workflow(log: wakelog.AgentLogger) -> None:
    """Book a trip; an engine calls it again after a crash."""
    budget = wakelog.Budget(tokens=5000, on_limit=lambda over: print("over the budget:", over.kind))
    with log.run("Lisbon or Porto?", run_id=RUN, session_id="s-1", event_key="run", budget=budget):
        request = {"temperature": 0.2, "max_completion_tokens": 300}
        with log.model("gpt-4o", "openai", "Plan it", request=request, event_key="plan") as call:
            call.respond("Compare both.", usage=OPENAI, finish_reasons=["stop"])
        with (
            ThreadPoolExecutor() as threads,
            log.tool("compare", {"places": 2}, event_key="compare") as tool,
        ):
            pool = wakelog.propagate(threads)
            tool.result(list(pool.map(lambda place: compare(log, place), ["Lisbon", "Porto"])))
        log.decision("Porto", event_key="decision")


def main() -> None:
    """Run the workflow, evaluate it, and sum its usage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", default="journal")
    directory = Path(parser.parse_args().directory)

    log = wakelog.configure("planner", directory=directory, costs=True)
    workflow(log)
    log.evaluation("user_feedback", label="thumbs_up", run_id=RUN)

    found = totals(load(directory))
    tokens = found.all.usage
    print(f"{found.all.calls} calls: {tokens['input_tokens']} in, {tokens['output_tokens']} out")
    for model, total in sorted(found.models.items(), key=str):
        print(f"{model}: {total.usage['input_tokens']} tokens of input, ${total.cost_usd}")
    print(f"the run with its sub-agents: ${found.runs[RUN].cost_usd}")
    wakelog.shutdown()


if __name__ == "__main__":
    main()
