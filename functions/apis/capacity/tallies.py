"""What a pool has and what it lacks, in the contract's words."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Final, Self

from functions.apis.capacity.reconciliation import Round
from functions.apis.capacity.wire import Answer
from functions.app import App
from functions.domain.accounts import NOBODY
from functions.domain.agents import Agent
from functions.domain.eligibility import Demands, eligible
from functions.domain.pools import Pool
from shared.domain.spec import Attestation

MOST_AGENTS: Final = 5000
"""Of one datacenter."""

Agents = Mapping[str, Agent]
"""By id."""


class Tally(Answer):
    """Beside the contract's fields: whose pool it is, how many orders are on their way, and how many machines it has
    too many of that nobody watches over, so that nobody can stop them."""

    account_id: str | None
    datacenter: str
    node_size: str
    min_count: int
    eligible_count: int
    shortfall: int
    eligible_agent_ids: tuple[str, ...]
    in_flight: int
    surplus: int

    @classmethod
    def of(cls, seen: Round, count: int, demands: Demands, agents: Agents, now: datetime) -> Self:
        orders = [one for one in seen.staying if eligible(one, agents.get(one.agent or ""), demands, now)]
        return cls(
            account_id=account_id(seen.pool),
            datacenter=seen.pool.datacenter,
            node_size=seen.pool.node_size,
            min_count=count,
            eligible_count=len(orders),
            shortfall=max(count - len(orders), 0),
            eligible_agent_ids=tuple(order.agent for order in orders if order.agent),
            in_flight=seen.in_flight,
            surplus=seen.surplus,
        )


class Dispatch(Answer):
    """What was done about a shortfall: 202 where orders are on their way."""

    datacenter: str
    node_size: str
    requested_count: int
    dispatched: bool
    status_code: int
    detail: str

    @classmethod
    def of(cls, tally: Tally) -> Self:
        flying = tally.in_flight > 0
        waiting = "Every machine of the pool runs; what they lack to be eligible is waited for"
        return cls(
            datacenter=tally.datacenter,
            node_size=tally.node_size,
            requested_count=tally.shortfall,
            dispatched=flying,
            status_code=HTTPStatus.ACCEPTED if flying else HTTPStatus.OK,
            detail=f"{tally.in_flight} launch orders in flight" if flying else waiting,
        )


class Target(Answer):
    """A pool's target, and what stands of it."""

    account_id: str | None
    datacenter: str
    node_size: str
    min_warm_count: int
    enabled: bool
    require_verified: bool
    require_healthy: bool
    require_hostname: bool
    dispatch: bool
    reason: str
    attestation: Attestation
    created_at: datetime
    updated_at: datetime
    eligible_agents: int
    open_reservations: int
    shortfall: int
    surplus: int

    @classmethod
    def of(cls, seen: Round, agents: Agents, now: datetime) -> Self:
        pool = seen.pool
        tally = Tally.of(seen, pool.min_warm_count, demands_of(pool), agents, now)
        return cls(
            account_id=account_id(pool),
            datacenter=pool.datacenter,
            node_size=pool.node_size,
            min_warm_count=pool.min_warm_count,
            enabled=pool.enabled,
            require_verified=pool.require_verified,
            require_healthy=pool.require_healthy,
            require_hostname=pool.require_hostname,
            dispatch=pool.dispatch,
            reason=pool.reason,
            attestation=pool.attestation,
            created_at=pool.created_at,
            updated_at=pool.updated_at,
            eligible_agents=tally.eligible_count,
            open_reservations=tally.in_flight,
            shortfall=tally.shortfall,
            surplus=tally.surplus,
        )


def agents_of(rounds: Sequence[Round], app: App) -> Agents:
    """Return the agents of the orders' machines: one query a datacenter where any has registered."""
    places = {seen.pool.datacenter for seen in rounds for order in seen.staying if order.agent is not None}
    found = (app.capacity.agents.find("datacenter", place, MOST_AGENTS) for place in sorted(places))
    return {agent.id: agent for agents in found for agent in agents}


def demands_of(pool: Pool) -> Demands:
    return Demands(pool.require_verified, pool.require_healthy)


def account_id(pool: Pool) -> str | None:
    return None if pool.account == NOBODY else pool.account
