"""The environment of a machine's program that knows nothing of us: each contract makes that of its kind of order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from functions.domain import request_ids
from functions.domain.events import Fail
from functions.domain.fence import fence, require_has_held
from functions.domain.order import Order
from functions.domain.refusals import Conflict, WrongState
from functions.engine.credentials import CallbackTokens
from functions.ports.orders import OrderStore
from shared.domain.order import Reason, State
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
    clock: Callable[[], datetime]
    makers: Mapping[OrderKind, Callable[..., Environment]] = field(default_factory=dict)

    def for_launcher(self, order_id: str, epoch: int, holder: str) -> Environment:
        """Return the environment for the machine that this holder starts.

        Raises NotFound, also for an order that this holder never held, LeaseLost, WrongState if the order has ended, or
        ends here.
        """
        order = self.store.read(order_id).order
        require_has_held(order, holder)
        fence(order, epoch, holder)
        if order.final:
            raise WrongState(f"The order is {order.state}; it needs no machine.", state=order.state)
        return self.of(order)

    def of(self, order: Order) -> Environment:
        """Return the environment of a held order; an empty one if its kind has none.

        If it cannot be made, the order fails for good: another attempt would end in the same way. Raises WrongState
        then, which says why, and LeaseLost.
        """
        make = self.makers.get(order.kind)
        if make is None:
            return Environment({})
        try:
            return make(order=order)
        except Conflict as refusal:
            request_id = request_ids.environment_refused(order.epoch)
            failed = Fail(request_id, order.epoch, Reason.PROGRAM_FAILED, refusal.message)
            self.store.apply(order.id, failed, self.clock())
            raise WrongState(f"The order has failed: {refusal.message}", state=State.FAILED) from None
