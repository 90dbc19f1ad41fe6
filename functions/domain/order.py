"""The order as the control plane keeps it: what was asked, who holds it, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from functions.domain.holder import are_one
from functions.domain.limits import DEFAULT_ATTEMPTS, DEFAULT_LIMITS, POLICIES, Limits
from shared.domain.lanes import lane, offered
from shared.domain.order import FINAL, Reason, State
from shared.domain.spec import AnySpec, OrderKind

LAPSE_MARGIN: Final = timedelta(seconds=5)
"""How long after its end a lease lapses: by then the launcher, which stops before the end, has nothing left running."""


RING_GRACE: Final = timedelta(seconds=10)
"""How long after its creation an order is given for its first bell to be recorded."""


FIRST_RING_INTERVAL: Final = timedelta(seconds=60)
"""How long after a bell an order that still waits gets the next one, at first; then twice as long each time."""


MAX_RING_INTERVAL: Final = timedelta(minutes=30)
"""The longest time between two of its bells."""


REMEMBERED_REQUESTS: Final = 16


REMEMBERED_HOLDERS: Final = 4


UPLOAD_VALID: Final = timedelta(minutes=15)
"""How long an upload that was granted may begin."""


HELD: Final = frozenset({State.CLAIMED, State.PROVISIONING, State.RUNNING})


@dataclass(frozen=True, slots=True)
class Lease:
    """A launcher's hold on an order. The epoch is the order's: one higher at every claim.

    If `attended` is false, the launcher sends no heartbeats, and the lease never expires once the order is running.
    """

    launcher: str
    until: datetime
    attended: bool = True


@dataclass(frozen=True, slots=True)
class Output:
    """The object an order's worker left. `size` in bytes, `sha256` in lower-case hex."""

    key: str
    file_name: str
    content_type: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Order:
    """One request for work. Changed only by `rules.advance`, stored only through `OrderStore`."""

    id: str
    account: str
    spec: AnySpec
    lane: str
    lanes: tuple[str, ...]
    """Every lane in which it may be asked for, its own among them."""
    state: State
    created_at: datetime
    updated_at: datetime
    available_at: datetime
    """From when it may be claimed."""
    expires_at: datetime
    """Until when it waits for a launcher."""
    due_at: datetime | None
    """When the sweep must look at it next; None if nothing is left to do."""
    limits: Limits = DEFAULT_LIMITS
    max_attempts: int = DEFAULT_ATTEMPTS
    epoch: int = 0
    attempt: int = 0
    """How many attempts were begun, but for those that were handed back untried, or lapsed before that."""
    lease: Lease | None = None
    claimed_by: str | None = None
    """Who holds it, or held it when it ended."""
    former: tuple[str, ...] = ()
    """The last few that held it until their lease lapsed: their machine may yet come up."""
    agent: str | None = None
    """The id of the agent that registered from inside its machine."""
    cancel_requested_at: datetime | None = None
    vm: str | None = None
    reason: Reason | None = None
    message: str | None = None
    output: Output | None = None
    discarded_at: datetime | None = None
    """When what it left in the bucket was removed, first: an upload may still come late."""
    requeued_from: str | None = None
    """The order that this one was placed again for."""
    metrics: Mapping[str, int | float] = field(default_factory=dict)
    entered: Mapping[State, datetime] = field(default_factory=dict)
    """When each state was last entered."""
    recent: tuple[str, ...] = ()
    """The ids of the last requests that changed it, so that a repeat changes nothing."""

    @property
    def kind(self) -> OrderKind:
        return self.spec.kind

    @property
    def final(self) -> bool:
        return self.state in FINAL

    def held_by(self, launcher: str) -> bool:
        """Return whether this launcher holds the order (`holder.are_one`)."""
        return self.lease is not None and are_one(self.lease.launcher, launcher)

    @property
    def attended(self) -> bool:
        """Return False if a launcher holds the order and sends no heartbeats: nobody can tell it to stop."""
        return self.lease is None or self.lease.attended

    @property
    def lease_expires(self) -> bool:
        """Return False if the order runs and is not attended: then it stays with its launcher."""
        return self.attended or self.state is not State.RUNNING


def place(
    order_id: str,
    account: str,
    spec: AnySpec,
    now: datetime,
    limits: Limits | None = None,
    not_before: datetime | None = None,
    requeued_from: str | None = None,
) -> Order:
    """Return a new order, queued. `limits` None are those of its kind; it cannot be claimed `not_before` that time."""
    policy = POLICIES[spec.kind]
    limits = limits or policy.limits
    available_at = max(now, not_before or now)
    expires_at = available_at + timedelta(seconds=limits.queue_seconds)
    return Order(
        id=order_id,
        account=account,
        spec=spec,
        lane=lane(spec),
        lanes=offered(lane(spec)),
        state=State.QUEUED,
        created_at=now,
        updated_at=now,
        available_at=available_at,
        expires_at=expires_at,
        limits=limits,
        max_attempts=policy.max_attempts,
        due_at=min(now + RING_GRACE if available_at == now else available_at, expires_at),
        requeued_from=requeued_from,
        entered={State.QUEUED: now},
    )


def output_key(order_id: str, epoch: int) -> str:
    """Return the one key that this epoch of this order may write; a stale worker cannot reach a later one's."""
    return f"outputs/{order_id}/{epoch}"


def output_keys(order: Order) -> tuple[str, ...]:
    """Return every key that a worker of this order may have written."""
    if order.kind is OrderKind.CAPACITY:
        return ()
    return tuple(output_key(order.id, epoch) for epoch in range(1, order.epoch + 1))
