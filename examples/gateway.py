"""An application sends its events through the gateway while its webhook is down for a while.

    python examples/gateway.py

Three conversations continue while the webhook refuses everything. None of them waits. When the webhook
is back, it receives every event, those of each conversation in order.
"""

from __future__ import annotations

import asyncio
import tempfile

from wakelog.gateway import EventSessionLogger, ForwardedEvent, TransportInterface


class Webhook(TransportInterface):
    """The endpoint of a third party."""

    def __init__(self) -> None:
        self.up = False
        self.got: list[ForwardedEvent] = []

    async def send(self, event: ForwardedEvent) -> bool:
        """Accept an event, if the endpoint is up."""
        await asyncio.sleep(0.001)
        if self.up:
            self.got.append(event)
        return self.up

    async def health_check(self) -> bool:
        """Return whether the endpoint is up."""
        return self.up


async def conversation(logger: EventSessionLogger, session: str) -> None:
    """Log one conversation."""
    for turn in range(5):
        await logger(
            {"session_id": session, "event_type": "user_message", "message": f"question {turn}"}
        )
        await logger(
            {"session_id": session, "event_type": "model_response", "message": f"answer {turn}"}
        )
        await asyncio.sleep(0)


async def main() -> None:
    """Run three conversations during an outage."""
    webhook = Webhook()
    with tempfile.TemporaryDirectory() as directory:
        async with EventSessionLogger(
            directory, downstream_transport=webhook, retry_delay_seconds=0.05
        ) as logger:
            sessions = ("ann", "bob", "eve")
            await asyncio.gather(*(conversation(logger, name) for name in sessions))
            stats = logger.stats()
            print(f"webhook down: {stats.logged} events logged, {stats.pending} waiting")
            webhook.up = True
            forwarded = await logger.flush(timeout=30)
            print(f"webhook up:   everything forwarded: {forwarded}")
        for session in sessions:
            said = [event["message"] for event in webhook.got if event.session_id == session]
            print(f"{session}: {', '.join(said[:4])}, ...")
        paths = [logger.get_session_directory(session) for session in sessions]
        print(f"in {', '.join(path.name for path in paths)}: one file for each session")


if __name__ == "__main__":
    asyncio.run(main())
