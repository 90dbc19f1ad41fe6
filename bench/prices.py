"""What the operations of a deployment cost: list prices in US dollars, of November 2026, of the region us-central1.

https://cloud.google.com/firestore/pricing, https://cloud.google.com/run/pricing,
https://cloud.google.com/pubsub/pricing, https://developers.cloudflare.com/r2/pricing
"""

from collections.abc import Mapping
from typing import Final

from bench.operations import Operations, Unit

DAYS: Final = 30.4
"""Of a month."""
MILLION: Final = 1e6
TIB: Final = 2**40
BYTES_A_BELL: Final = 1000
"""Pub/Sub counts at least as many for each request. A bell is published, delivered and acknowledged."""
PUBSUB: Final = 40 / TIB * BYTES_A_BELL
"""A request to Pub/Sub."""
CPU_SECOND: Final = 0.000024
GIB_SECOND: Final = 0.0000025
INSTANCE_SECOND: Final = CPU_SECOND + GIB_SECOND / 2
"""An instance with 1 vCPU and 512 MiB while it serves at least one request."""
REQUEST_SECONDS: Final = 0.1
"""The shortest time that is billed. Requests that are served side by side share it, so this is an upper bound."""
PRICES: Final[Mapping[Unit, float]] = {
    Unit.REQUEST: 0.40 / MILLION + REQUEST_SECONDS * INSTANCE_SECOND,
    Unit.READ: 0.03 / 100_000,
    Unit.WRITE: 0.09 / 100_000,
    Unit.DELETE: 0.01 / 100_000,
    Unit.BELL: 3 * PUBSUB,
    Unit.CLASS_A: 4.50 / MILLION,
    Unit.CLASS_B: 0.36 / MILLION,
}
FREE_A_DAY: Final[Mapping[Unit, float]] = {
    Unit.REQUEST: min(2 * MILLION, 180_000 / REQUEST_SECONDS) / DAYS,
    Unit.READ: 50_000,
    Unit.WRITE: 20_000,
    Unit.DELETE: 20_000,
    Unit.BELL: 10 * 2**30 / BYTES_A_BELL / 3 / DAYS,
    Unit.CLASS_A: MILLION / DAYS,
    Unit.CLASS_B: 10 * MILLION / DAYS,
}
"""What is not billed, of one project with no other use: Firestore's of its first database, the others' of the account.
"""


def cost(a_day: Operations, free: bool = False) -> float:
    """Return the price of a month with so many operations each day; if `free`, less what is not billed."""
    billed = {unit: max(count - (FREE_A_DAY[unit] if free else 0), 0) for unit, count in a_day.items()}
    return DAYS * sum(PRICES[unit] * count for unit, count in billed.items())
