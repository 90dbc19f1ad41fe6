"""Decides which machines of a pool count for its client. It does not affect how many are ordered."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from functions.domain.agents import Agent
from functions.domain.order import Order
from shared.domain.order import State

SILENT_AFTER: Final = timedelta(hours=2, minutes=5)
"""An agent sends a heartbeat every hour: after this time it has missed two."""


@dataclass(frozen=True, slots=True)
class Demands:
    """The conditions for a running machine. `verified`: an agent has registered, so its quote was appraised. `healthy`:
    its agent or its launcher has sent a heartbeat recently.

    The contract can also demand a host name. Our machines have none, so that demand has no effect.
    """

    verified: bool = True
    healthy: bool = True


def eligible(order: Order, agent: Agent | None, demands: Demands, now: datetime) -> bool:
    """Return whether the order's machine counts. `agent` is the agent that registered from it, if any."""
    return (
        order.state is State.RUNNING
        and order.cancel_requested_at is None
        and (not demands.verified or agent is not None)
        and (not demands.healthy or _healthy(order, agent, now))
    )


def _healthy(order: Order, agent: Agent | None, now: datetime) -> bool:
    """If there is no agent, the launcher's heartbeats decide. Without those, the machine is not healthy."""
    if agent is not None:
        return now - agent.last_seen_at < SILENT_AFTER
    return order.lease is not None and order.attended and now < order.lease.until
