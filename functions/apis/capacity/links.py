"""Which order an agent's machine is of: by the order's bootstrap token, or by the name that its launcher gave it."""

from dataclasses import replace
from datetime import datetime
from typing import Final

from functions.app import App
from functions.domain.agents import Agent
from functions.domain.events import Register
from functions.domain.order import HELD, Order
from functions.domain.refusals import Forbidden, LeaseLost, NotFound, WrongState
from functions.engine import request_ids
from functions.ports import OrderQuery
from shared.domain.order import State
from shared.domain.spec import CapacitySpec, OrderKind

INVALID: Final = "Invalid bootstrap token"
PAGE: Final = 100
MOST_PAGES: Final = 10


def bootstrapped(order_id: str, token: str, vm_name: str, app: App) -> Order:
    """Return the order whose token it is: good while its machine's epoch lasts, and for one agent. Raises Forbidden."""
    order = _held(order_id, app)
    if order is None or not app.tokens.verify_bootstrap(order.id, order.epoch, token):
        raise Forbidden(INVALID)
    if order.agent is not None:
        agent = app.capacity.agents.get(vm_name)  # read after the order: an agent is written before its order
        if agent is None or agent.id != order.agent:
            raise Forbidden(INVALID)
    return order


def standing(agent: Agent, app: App) -> Order | None:
    """Return the order whose machine's agent it is, as long as that machine's epoch lasts."""
    order = _held(agent.order_id, app) if agent.order_id is not None else None
    if order is None or (order.epoch, order.agent) != (agent.epoch, agent.id):
        return None
    return order


def named(agent: Agent, app: App) -> Order | None:
    """Return the held order of this place and size whose launcher gave its machine the agent's name."""
    lane = f"{agent.datacenter}/{OrderKind.CAPACITY}/{agent.node_size}"
    query = OrderQuery(states=HELD, lane=lane, oldest_first=True, limit=PAGE)
    for _ in range(MOST_PAGES):
        page = app.store.page(query)
        found = (order for order in page.orders if order.vm == agent.vm_name and order.agent in (None, agent.id))
        if (order := next(found, None)) is not None or page.next is None:
            return order
        query = replace(query, after=page.next)
    return None


def link(order: Order, agent: Agent, app: App) -> Order | None:
    """Make it the agent of the order's machine, and return the order; None where it cannot be that any more.

    The agent's record names the order first: what the order says counts (`standing`), and the sweep starts from agents.
    """
    event = Register(request_ids.register_agent(order.epoch, agent.id), order.epoch, agent.id, agent.vm_name)
    try:
        app.capacity.agents.change(agent.vm_name, lambda stands: replace(stands, order_id=order.id, epoch=order.epoch))
        return app.store.apply(order.id, event, app.clock())
    except (WrongState, LeaseLost, NotFound):
        return None


def meet(order: Order, app: App, since: datetime | None = None) -> Order:
    """Return the order, with its agent where that one registered before the launcher said how its machine is named.

    `since`: from when its machine may be there; None: from its claim.
    """
    agent = app.capacity.agents.get(order.vm) if order.vm and order.agent is None else None
    if agent is None or not _of(order, agent, since) or standing(agent, app) is not None:
        return order
    return link(order, agent, app) or order


def _held(order_id: str, app: App) -> Order | None:
    try:
        order = app.store.get(order_id)
    except NotFound:
        return None
    return order if order.state in HELD and order.kind is OrderKind.CAPACITY else None


def _of(order: Order, agent: Agent, since: datetime | None) -> bool:
    """One that registered before the order was claimed is in another machine, of the same name."""
    spec = order.spec
    return (
        isinstance(spec, CapacitySpec)
        and order.state in HELD
        and (spec.datacenter, spec.node_size) == (agent.datacenter, agent.node_size)
        and agent.registered_at >= (since or order.entered[State.CLAIMED])
    )
