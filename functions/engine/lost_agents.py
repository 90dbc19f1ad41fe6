"""Replaces the machines of agents that have fallen silent, or that an operator removed.

Two sweeps may run at the same time.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Final

import structlog

from functions.domain import request_ids
from functions.domain.agents import Agent
from functions.domain.events import Retry
from functions.domain.refusals import LeaseLost, NotFound, Unavailable, WrongState
from functions.engine.associations import order_of
from functions.engine.concurrency import run_all
from functions.engine.record_pages import every
from functions.ports.orders import OrderStore
from functions.ports.records import Records
from shared.domain.order import Reason
from shared.log_events import LogEvent

HEARTBEAT_INTERVAL: Final = timedelta(seconds=3600)
LOST_AFTER: Final = 2 * HEARTBEAT_INTERVAL + timedelta(seconds=300)
"""Two missed heartbeats, and a margin."""
SWEEP_SECONDS: Final = 6.0
"""The time that one sweep spends on lost agents."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LostAgents:
    records: Records[Agent]
    store: OrderStore
    clock: Callable[[], datetime]

    def replace_lost(self, limit: int) -> int:
        """Replace the machines of at most `limit` lost agents, remove those agents, and return their number.

        An agent whose launcher sends heartbeats is left alone: the launcher decides about the machine. However many of
        these there are, the others are looked for behind them. Raises Unavailable.
        """
        now = self.clock()

        def unheard(agent: Agent) -> bool:
            return agent.last_seen_at < now - LOST_AFTER

        def replace_one(found: Agent) -> bool:
            try:
                agent = self.records.get(found.record_id)
                if agent is None or agent.id != found.id or not unheard(agent):  # it has sent a heartbeat since
                    return False
                if not self.replace_machine(agent, "Its agent has sent no heartbeat for two hours."):
                    return False
                taken = self.records.take(agent.record_id, lambda stored: stored.id == agent.id and unheard(stored))
                return taken is not None
            except Unavailable as refusal:
                log.warning(
                    LogEvent.LOST_AGENT_POSTPONED,
                    message="The store did not answer; the next sweep replaces the lost agent.",
                    agent_id=found.id,
                    why=refusal.message,
                )
                return False

        lost = takewhile(unheard, every(self.records, "last_seen_at"))
        replaced, deadline = 0, now + timedelta(seconds=SWEEP_SECONDS)
        while replaced < limit and (left := (deadline - self.clock()).total_seconds()) > 0:
            if not (some := list(islice(lost, limit - replaced))):
                break
            replaced += sum(run_all(replace_one, some, left))
        return replaced

    def replace_machine(self, agent: Agent, why: str) -> bool:
        """Queue the order of the agent's machine again; return False if its launcher sends heartbeats."""
        order = order_of(self.store, agent)
        if order is not None and order.lease_expires:
            return False
        if order is not None:
            event = Retry(request_ids.agent_lost(order.epoch, agent.id), order.epoch, Reason.AGENT_LOST, why)
            with suppress(WrongState, LeaseLost, NotFound):  # the order has moved on since
                self.store.apply(order.id, event, self.clock())
        return True
