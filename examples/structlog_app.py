"""A service that logs with structlog, with Wakelog in its processor chain.

    pip install structlog
    python examples/structlog_app.py [--directory DIR] [--orders N]

Each log event is printed as JSON, is in the journal before the call returns, and is delivered to
OTEL_EXPORTER_OTLP_ENDPOINT if that is set. The program prints nothing else to standard output.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

try:
    import structlog
except ImportError as error:
    raise SystemExit(f"{error}: pip install structlog") from None

import wakelog
from wakelog.integrations.structlog import production_chain

log = structlog.get_logger("shop")


class OutOfStockError(Exception):
    """The warehouse has no item left."""


def ship(order: int) -> str:
    """Find a parcel for an order; every fifth is out of stock."""
    if order % 5 == 0:
        message = f"nothing left for order {order}"
        raise OutOfStockError(message)
    return f"parcel-{order}"


async def serve(order: int) -> None:
    """Handle one order."""
    with structlog.contextvars.bound_contextvars(request_id=f"r-{order}"):
        await log.ainfo("order received", order=order, email="ann@example.com")
        log.info("reserve", event_type="tool_call", tool="warehouse", args={"order": order})
        try:
            parcel = ship(order)
        except OutOfStockError:
            log.exception("order failed", order=order)
        else:
            log.info("order shipped", event_name="shop.order.shipped", parcel=parcel)


async def main() -> None:
    """Handle a few orders concurrently."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--orders", type=int, default=10)
    arguments = parser.parse_args()

    wakelog.configure("shop-agent", service_name="shop", directory=arguments.directory)
    structlog.configure(processors=production_chain())

    await asyncio.gather(*(serve(order) for order in range(1, arguments.orders + 1)))


if __name__ == "__main__":
    asyncio.run(main())
