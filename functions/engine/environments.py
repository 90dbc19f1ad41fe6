"""The environment of a machine's program that knows nothing of us: each contract makes that of its kind of order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from functions.domain.fence import fence
from functions.domain.order import Order
from functions.domain.refusals import WrongState
from functions.engine.credentials import CallbackTokens
from functions.ports import OrderStore
from shared.domain.spec import OrderKind


@dataclass(frozen=True, slots=True)
class Environment:
    """Environment variables, among them credentials, and the arguments of the image's entry point."""

    variables: Mapping[str, str] = field(repr=False)
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CallbackAddresses:
    """The addresses that a machine's program calls back: each holds the credential of one order at one epoch.

    `url` is the control plane's own address, without a trailing slash.
    """

    url: str
    tokens: CallbackTokens

    def of(self, order: Order, path: str) -> str:
        """Return the address with this path, such as `/callback/{order_id}/{secret}`."""
        return f"{self.url}{path.format(order_id=order.id, secret=self.tokens.secret(order.id, order.epoch))}"


@dataclass(frozen=True, slots=True)
class Environments:
    store: OrderStore
    makers: Mapping[OrderKind, Callable[..., Environment]] = field(default_factory=dict)

    def for_launcher(self, order_id: str, epoch: int, holder: str) -> Environment:
        """Return the environment for the machine that this holder starts.

        Raises NotFound, LeaseLost, WrongState if the order has ended, Conflict.
        """
        order = self.store.look(order_id).order
        fence(order, epoch, holder)
        if order.final:
            raise WrongState(f"The order is {order.state}; it needs no machine.", state=order.state)
        return self.of(order)

    def of(self, order: Order) -> Environment:
        """Return the environment of a held order; an empty one if its kind has none. Raises Conflict."""
        make = self.makers.get(order.kind)
        return Environment({}) if make is None else make(order=order)
