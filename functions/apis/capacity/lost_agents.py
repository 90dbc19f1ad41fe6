"""For the sweep: agents that are heard of no more. Two sweeps at once do no harm."""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from functions.apis.capacity import challenges, links
from functions.app import App
from functions.domain.agents import Agent
from functions.domain.events import Retry
from functions.domain.refusals import LeaseLost, NotFound, Unavailable, WrongState
from functions.engine import request_ids
from functions.engine.concurrency import together
from functions.http import logs
from shared.domain.order import Reason

BEAT: Final = timedelta(seconds=3600)
LOST_AFTER: Final = 2 * BEAT + timedelta(seconds=300)
"""Two heartbeats that did not come, and some."""
SECONDS: Final = 6.0
"""How long a sweep goes on with lost agents."""


def see_to_agents(app: App, now: datetime, limit: int) -> int:
    """Replace the nodes of agents that were lost, and forget those and challenges past their end: at most `limit` of
    each, and for so long. Return how many were forgotten.

    An agent whose launcher watches over its machine is left: that one knows better. Raises Unavailable.
    """
    lost = app.capacity.agents.before("last_seen_at", now - LOST_AFTER, limit)
    forgotten = sum(together(lambda agent: _see_to(agent, now, app), lost, SECONDS))
    return forgotten + challenges.forget(app.capacity.challenges, now, limit)


def replace_node(agent: Agent, why: str, app: App) -> bool:
    """Queue the order of the agent's machine again; return False where it is left to the launcher that watches it."""
    order = links.standing(agent, app)
    if order is not None and order.lease_expires:
        return False
    if order is not None:
        event = Retry(request_ids.agent_lost(order.epoch, agent.id), order.epoch, Reason.AGENT_LOST, why)
        with suppress(WrongState, LeaseLost, NotFound):  # it has moved on since
            app.store.apply(order.id, event, app.clock())
    return True


def _see_to(agent: Agent, now: datetime, app: App) -> bool:
    def unheard(stands: Agent) -> bool:
        return stands.id == agent.id and stands.last_seen_at < now - LOST_AFTER

    try:
        stands = app.capacity.agents.get(agent.vm_name)
        if stands is None or not unheard(stands):  # it was heard of while others were seen to
            return False
        replaced = replace_node(stands, "Its agent was not heard of for two hours.", app)
        return replaced and app.capacity.agents.take(agent.vm_name, unheard) is not None
    except Unavailable as refusal:
        logs.LOG.warning("A lost agent is seen to by the next sweep.", agent_id=agent.id, why=refusal.message)
        return False
