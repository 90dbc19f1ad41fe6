"""Orders and events for tests, with a default for everything: a test names only what matters to it."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from functions.domain.events import Claim
from functions.domain.order import Order, place
from functions.domain.rules import advance
from functions.ports.orders import IdempotencyKey
from shared.domain.order import LEASE
from shared.domain.spec import AnySpec, CapacitySpec, ExportSpec, NodeSize, SessionSpec, TaskSpec

NOW: Final = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ACCOUNT: Final = "acme"
LAUNCHER: Final = "rack/alpha"
TASK: Final = TaskSpec(command=("true",))
CAPACITY: Final = CapacitySpec(datacenter="local:dev", node_size=NodeSize.TINY)
SESSION: Final = SessionSpec(session_name="nightly", prompt="Tidy up.")
EXPORT: Final = ExportSpec(pi="01K9MHPYR07M6YMZ1QGR8DZB8S")


@dataclass(frozen=True, slots=True)
class Challenge:
    """A small record of texts and times, for the tests of `Records`."""

    vm_name: str
    nonce: str
    issued_at: datetime
    expires_at: datetime


def an_order(spec: AnySpec = TASK, account: str = ACCOUNT, now: datetime = NOW, **changes: Any) -> Order:
    return replace(place(str(uuid4()), account, spec, now), **changes)


def a_key(order: Order, value: str | None = None, fingerprint: str = "0" * 64) -> IdempotencyKey:
    return IdempotencyKey(order.account, value or order.id, fingerprint)


def a_claim(launcher: str = LAUNCHER, now: datetime = NOW, lease: timedelta = LEASE) -> Claim:
    return Claim(request_id=str(uuid4()), launcher=launcher, lease_until=now + lease)


def a_claimed_order(spec: AnySpec = TASK, launcher: str = LAUNCHER, now: datetime = NOW) -> Order:
    return advance(an_order(spec, now=now), a_claim(launcher, now), now)
