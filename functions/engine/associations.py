"""Finds the order that an agent's machine belongs to, and makes it the agent of that order.

An agent finds its order by the order's bootstrap token. Without a token, it finds it by the machine name that the
launcher reported, unless the order demands attestation: anyone can register any name.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from functions.domain import request_ids
from functions.domain.agents import Agent
from functions.domain.events import Register
from functions.domain.order import HELD, Order
from functions.domain.refusals import Forbidden, LeaseLost, NotFound, WrongState
from functions.domain.rules import demands_attestation
from functions.engine.credentials import CallbackTokens
from functions.ports.orders import OrderQuery, OrderStore
from functions.ports.records import Records
from shared.domain.order import State
from shared.domain.spec import CapacitySpec, OrderKind

PAGE: Final = 100
MAX_PAGES: Final = 10


class InvalidBootstrapToken(Forbidden):
    """The token does not belong to the order's current epoch, or another agent has used it."""

    def __init__(self) -> None:
        super().__init__("Invalid bootstrap token")


@dataclass(frozen=True, slots=True)
class BootedOrder:
    """The order of a bootstrap token. `replaces` is the order's agent, if only its name made it that."""

    order: Order
    replaces: str | None = None


@dataclass(frozen=True, slots=True)
class Associations:
    agents: Records[Agent]
    store: OrderStore
    tokens: CallbackTokens
    clock: Callable[[], datetime]

    def order_of_token(self, order_id: str, token: str, vm_name: str, binding: str | None) -> BootedOrder:
        """Return the order that the bootstrap token is for. Raises InvalidBootstrapToken.

        A token is valid for one machine while the order's epoch lasts: for one name, and for one `binding` of a key.
        """
        order = _held(self.store, order_id)
        if order is None or not self.tokens.verify_bootstrap(order.id, order.epoch, token):
            raise InvalidBootstrapToken
        if order.agent is None:
            return BootedOrder(order)
        for agent in self.agents.find_every("id", order.agent, 1):  # read after the order: it is written before it
            if not agent.bootstrapped:
                return BootedOrder(order, replaces=agent.id)
            if (agent.vm_name, agent.binding) == (vm_name, binding):
                return BootedOrder(order)
        raise InvalidBootstrapToken

    def order_of(self, agent: Agent) -> Order | None:
        return order_of(self.store, agent)

    def order_by_name(self, agent: Agent) -> Order | None:
        """Return the held order in the agent's lane whose launcher reported a machine of the agent's name."""
        lane = f"{agent.datacenter}/{OrderKind.CAPACITY}/{agent.node_size}"
        query = OrderQuery(states=HELD, lane=lane, oldest_first=True, limit=PAGE)
        for _ in range(MAX_PAGES):
            page = self.store.page(query)
            for order in page.orders:
                if order.vm == agent.vm_name and order.agent in (None, agent.id) and not demands_attestation(order):
                    return order
            if page.next is None:
                return None
            query = replace(query, after=page.next)
        return None

    def associate(self, order: Order, agent: Agent, replaces: str | None = None) -> Order | None:
        """Make it the agent of the order's machine, and return the order; None if that is no longer possible.

        The agent's record is written first. The association counts only once the order is written too.
        """
        request_id = request_ids.register_agent(order.epoch, agent.id)
        event = Register(request_id, order.epoch, agent.id, agent.vm_name, replaces)
        try:
            self.agents.change(agent.record_id, lambda stored: replace(stored, order_id=order.id, epoch=order.epoch))
            return self.store.apply(order.id, event, self.clock())
        except (WrongState, LeaseLost, NotFound):
            return None

    def associate_by_name(self, order: Order, since: datetime | None = None) -> Order:
        """Return the order, associated with an agent that registered before the launcher reported the machine's name.

        The machine may have existed `since` that time, or, if it is None, since the order's claim. An agent that
        registered earlier is in another machine of the same name.
        """
        unknown = order.agent is None and not demands_attestation(order)
        spec, agent = order.spec, self.agents.get(order.vm) if order.vm and unknown else None
        if (
            agent is None
            or not isinstance(spec, CapacitySpec)
            or order.state not in HELD
            or (spec.datacenter, spec.node_size) != (agent.datacenter, agent.node_size)
            or agent.registered_at < (since or order.entered[State.CLAIMED])
            or self.order_of(agent) is not None
        ):
            return order
        return self.associate(order, agent) or order


def order_of(store: OrderStore, agent: Agent) -> Order | None:
    """Return the order that the agent is associated with; None if there is none, or if that epoch has ended."""
    order = _held(store, agent.order_id) if agent.order_id is not None else None
    if order is None or (order.epoch, order.agent) != (agent.epoch, agent.id):
        return None
    return order


def _held(store: OrderStore, order_id: str) -> Order | None:
    try:
        order = store.get(order_id)
    except NotFound:
        return None
    return order if order.state in HELD and order.kind is OrderKind.CAPACITY else None
