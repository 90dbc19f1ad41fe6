"""The bag of all ports that functions/apis/capacity is called with, until its services have arguments of their own.

To remove it: move `Ports` into wiring.py, with the fields of `Capacity` in it one by one, and delete this module.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from functions.apis.capacity.parts import Capacity
from functions.engine.claims import NextClaim
from functions.engine.credentials import CallbackTokens
from functions.engine.orders import Orders
from functions.engine.outputs import Outputs
from functions.engine.sweep import Sweep
from functions.ports import Doorbell, KeyStore, OrderStore, OutputBucket
from shared.domain.order import LEASE


@dataclass(frozen=True, slots=True)
class Ports:
    """What services are made of.

    `any_order` and `oldest_first` find orders to claim; `new_id` makes a fresh UUID, `new_secret` so many random bytes
    in URL-safe base64; `wait` sleeps (seconds); `lease` is how long a claim or a heartbeat lasts.
    """

    store: OrderStore
    keys: KeyStore
    doorbell: Doorbell
    bucket: OutputBucket
    any_order: NextClaim
    oldest_first: NextClaim
    tokens: CallbackTokens
    capacity: Capacity
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    new_secret: Callable[[int], str]
    wait: Callable[[float], None]
    lease: timedelta = LEASE

    @property
    def oldest(self) -> NextClaim:
        """For functions/apis/capacity."""
        return self.oldest_first

    @property
    def orders(self) -> Orders:
        """For functions/apis/capacity."""
        outputs = Outputs(self.store, self.bucket, self.clock)
        return Orders(self.store, self.doorbell, outputs, self.clock, self.new_id)

    @property
    def sweep(self) -> Sweep:
        """For functions/apis/capacity."""
        outputs = Outputs(self.store, self.bucket, self.clock)
        return Sweep(self.store, self.doorbell, outputs, self.clock, self.new_id)


App = Ports
