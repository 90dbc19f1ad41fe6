"""Which machines of a pool are good enough to count for its client. What is ordered does not depend on it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from functions.domain.agents import Agent
from functions.domain.order import Order
from shared.domain.order import State

UNHEARD: Final = timedelta(hours=2, minutes=5)
"""An agent tells of itself every hour; one that was not heard for so long missed two times."""


@dataclass(frozen=True, slots=True)
class Demands:
    """What a machine must be, beside running: its agent's quote appraised; heard of lately.

    That it be reachable by a name, which the contract can demand too, is not among them: we give machines none, so
    that none would ever count.
    """

    verified: bool = True
    healthy: bool = True


def eligible(order: Order, agent: Agent | None, demands: Demands, now: datetime) -> bool:
    """`agent` is the one that registered from the order's machine, if any."""
    return (
        order.state is State.RUNNING
        and order.cancel_requested_at is None
        and (not demands.verified or (agent is not None and agent.verified))
        and (not demands.healthy or _healthy(order, agent, now))
    )


def _healthy(order: Order, agent: Agent | None, now: datetime) -> bool:
    """A machine without an agent is as well as its launcher's heartbeats say; without those, nobody knows."""
    if agent is not None:
        return now - agent.last_seen_at < UNHEARD
    return order.lease is not None and order.attended and now < order.lease.until
