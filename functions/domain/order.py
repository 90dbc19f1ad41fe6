"""The order as the control plane stores it: the request, the lease, and the result."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from functions.domain.holder import are_one
from functions.domain.limits import DEFAULT_ATTEMPTS, DEFAULT_LIMITS, POLICIES, TASK_IMAGE, OrderLimits, Policy
from shared.domain.lanes import lane, offered
from shared.domain.order import FINAL, Reason, State
from shared.domain.spec import AnySpec, ExportSpec, OrderKind, TaskSpec

LAPSE_MARGIN: Final = timedelta(seconds=5)
"""The time between a lease's end and its lapse. The launcher stops its machine before the end."""
RING_GRACE: Final = timedelta(seconds=10)
"""How long the sweep waits, after an order's creation, for the record of its first bell."""
FIRST_RING_INTERVAL: Final = timedelta(seconds=60)
"""The time between an order's first bell and the next, if it still waits. Each later wait is twice as long."""
MAX_RING_INTERVAL: Final = timedelta(minutes=30)
"""The longest time between two bells of an order."""
REMEMBERED_REQUESTS: Final = 16
REMEMBERED_HOLDERS: Final = 4
LAPSED_CLAIM_VALID: Final = timedelta(hours=1)
"""How long after its claim has lapsed a worker without heartbeats may still report its machine."""
UPLOAD_VALID: Final = timedelta(minutes=15)
"""The time in which a granted upload may begin."""
HELD: Final = frozenset({State.CLAIMED, State.PROVISIONING, State.RUNNING})
OPEN: Final = HELD | {State.QUEUED}
"""The states of an order that has not ended."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A launcher's right to an order `until` a time. The order's epoch numbers its leases: one higher at every claim.

    If `attended` is false, the launcher sends no heartbeats, and the lease never expires once the order is running.
    """

    launcher: str
    until: datetime
    attended: bool = True


@dataclass(frozen=True, slots=True)
class LapsedClaim:
    """A claim whose lease lapsed, or whose boot limit passed. Its machine may still start."""

    launcher: str
    epoch: int
    lapsed_at: datetime


@dataclass(frozen=True, slots=True)
class Output:
    """The object that an order's worker uploaded. `size` is in bytes, `sha256` in lower-case hex.

    `sha256` is None if another's worker uploaded it: it reports no digest.
    """

    key: str
    file_name: str
    content_type: str
    size: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Order:
    """One request for work. Only `rules.advance` changes it, and only an `OrderStore` stores it."""

    id: str
    account: str
    spec: AnySpec
    lane: str
    lanes: tuple[str, ...]
    """Every lane in which a claim finds the order, its own included."""
    state: State
    created_at: datetime
    updated_at: datetime
    available_at: datetime
    """The time from which it may be claimed."""
    expires_at: datetime
    """The end of its queue TTL."""
    due_at: datetime | None
    """When the sweep must look at it next; None if nothing is left to do."""
    limits: OrderLimits = DEFAULT_LIMITS
    max_attempts: int = DEFAULT_ATTEMPTS
    epoch: int = 0
    attempt: int = 0
    """The number of attempts. Claims that were returned, or that lapsed before a machine was started, do not count."""
    lease: Lease | None = None
    claimed_by: str | None = None
    """The holder, or the last holder of an order that has ended."""
    former: tuple[str, ...] = ()
    """The last few former holders, whose lease lapsed."""
    lapsed: tuple[LapsedClaim, ...] = ()
    """The last few claims that lapsed. Each counts for LAPSED_CLAIM_VALID (`recently_lapsed`)."""
    agent: str | None = None
    """The id of the agent that registered from inside its machine."""
    cancel_requested_at: datetime | None = None
    vm: str | None = None
    reason: Reason | None = None
    message: str | None = None
    output: Output | None = None
    discarded_at: datetime | None = None
    """The time of the first removal of its output. A second one follows, for uploads that began before the first."""
    requeued_from: str | None = None
    """The failed order that this one replaces."""
    metrics: Mapping[str, int | float] = field(default_factory=dict)
    progress: Mapping[str, int] = field(default_factory=dict)
    """What the worker of the present attempt last reported of its work."""
    entered: Mapping[State, datetime] = field(default_factory=dict)
    """The time at which each state was last entered."""
    recent: tuple[str, ...] = ()
    """The ids of the last requests that changed it, so that a repeat changes nothing."""

    @property
    def kind(self) -> OrderKind:
        return self.spec.kind

    @property
    def final(self) -> bool:
        return self.state in FINAL

    def recently_lapsed(self, launcher: str, now: datetime) -> tuple[LapsedClaim, ...]:
        """Return the launcher's claims that lapsed not long ago, the oldest first."""
        return tuple(
            claim for claim in self.lapsed if claim.launcher == launcher and now < claim.lapsed_at + LAPSED_CLAIM_VALID
        )

    def held_by(self, launcher: str) -> bool:
        """Return whether this launcher holds the order (`holder.are_one`)."""
        return self.lease is not None and are_one(self.lease.launcher, launcher)

    @property
    def attended(self) -> bool:
        """Return False if the order's holder sends no heartbeats for its orders."""
        return self.lease is None or self.lease.attended

    @property
    def can_be_stopped(self) -> bool:
        """Return whether its holder can be told to stop: by heartbeats, or for a session, by polls."""
        return self.attended or self.kind is OrderKind.SESSION

    @property
    def lease_expires(self) -> bool:
        """Return False if the order is running and not attended: its launcher keeps it."""
        return self.attended or self.state is not State.RUNNING


def place(
    order_id: str,
    account: str,
    spec: AnySpec,
    now: datetime,
    limits: OrderLimits | None = None,
    not_before: datetime | None = None,
    requeued_from: str | None = None,
) -> Order:
    """Return a new, queued order. If `limits` is None, its kind's apply. It cannot be claimed before `not_before`."""
    policy = policy_of(spec)
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


def policy_of(spec: AnySpec) -> Policy:
    """Return the defaults for an order of this spec."""
    return TASK_IMAGE if is_task_image(spec) else POLICIES[spec.kind]


def is_task_image(spec: AnySpec) -> bool:
    """Return whether the order runs an image as a task: its program itself reports its start and its end."""
    return isinstance(spec, TaskSpec) and spec.image is not None


def output_prefix(order_id: str, epoch: int) -> str:
    """Return what the keys of this epoch's outputs begin with: a stale worker cannot write a later epoch's."""
    return f"outputs/{order_id}/{epoch}"


def output_key(order_id: str, epoch: int, sha256: str, content_type: str) -> str:
    """Return the key of an output: other bytes or another type have another key, so nothing replaces the output."""
    return f"{output_prefix(order_id, epoch)}/{sha256}/{content_type.replace('/', '-', 1)}"


def copy_key(order_id: str, epoch: int, copy_id: str, name: str) -> str:
    """Return the key to which an image's upload is copied: the image's credentials do not reach it."""
    return f"{output_prefix(order_id, epoch)}/{copy_id}/{name}"


def outputs_below(order: Order) -> str | None:
    """Return the prefix below which the control plane grants the order's uploads; None if its kind has no output."""
    return None if order.kind is OrderKind.CAPACITY else f"outputs/{order.id}/"


def uploads_below(order: Order) -> str | None:
    """Return the prefix below which the order's image uploads by itself; None if the order has no such image."""
    return f"exports/{order.id}/" if isinstance(order.spec, ExportSpec) and order.spec.image is not None else None


def uploads_for(order: Order) -> timedelta:
    """Return how long after a claim its worker may begin an upload."""
    if uploads_below(order) is None:
        return UPLOAD_VALID
    return order.limits.boot + (order.limits.run or timedelta()) + UPLOAD_VALID


def output_prefixes(order: Order) -> tuple[str, ...]:
    """Return what the keys begin with that the workers of this order may have written: one prefix for each epoch."""
    if order.kind is OrderKind.CAPACITY:
        return ()
    return tuple(output_prefix(order.id, epoch) for epoch in range(1, order.epoch + 1))


def uploaded_key(order: Order) -> str | None:
    """Return the key of the output as its worker knows it: an image knows the key that it uploaded to."""
    if order.output is None:
        return None
    prefix = uploads_below(order)
    return order.output.key if prefix is None else f"{prefix}{order.output.key.rpartition('/')[2]}"
