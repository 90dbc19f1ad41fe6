"""Makes what gives orders to launchers, and takes them back."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from functions.engine.arrivals import Arrivals
from functions.engine.backlogs import Backlogs
from functions.engine.candidates import Candidates
from functions.engine.claim_quotas import ClaimUsage
from functions.engine.claims import Claims, NextClaim
from functions.engine.leases import Leases
from functions.engine.oldest_first_claims import OldestFirst, OldestFirstClaims
from functions.engine.outputs import Outputs
from functions.engine.parent_notices import ParentNotices
from functions.engine.sweep import Sweep
from functions.http.shutdown import stopping
from functions.ports.clock import Clock, NewId
from functions.ports.doorbell import Doorbell
from functions.ports.order_feed import OrderFeed
from functions.ports.orders import OrderStore
from functions.settings import LeaseSettings, QuotaSettings, WaitingSettings


def any_order(store: OrderStore) -> NextClaim:
    return Candidates(store)


def oldest_first(store: OrderStore) -> OldestFirst:
    return Candidates(store, pause=timedelta(), oldest_first=True)


def arrivals(feed: OrderFeed, any_order: NextClaim, clock: Clock, waiting: WaitingSettings) -> Arrivals:
    return Arrivals(
        feed, any_order.note_queued, clock, waiting.claims_that_wait, waiting.claims_held_back, stopping=stopping
    )


def claim_usage(store: OrderStore, clock: Clock, quotas: QuotaSettings, waiting: WaitingSettings) -> ClaimUsage:
    limits = quotas.quotas()
    here = min(limits.waiting_claims, waiting.claims_that_wait)
    return ClaimUsage(store, clock, replace(limits, waiting_claims=here))


def claims(
    store: OrderStore,
    any_order: NextClaim,
    arrivals: Arrivals,
    backlogs: Backlogs,
    usage: ClaimUsage,
    clock: Clock,
    leases: LeaseSettings,
) -> Claims:
    return Claims(store, any_order, arrivals, backlogs, usage, clock, leases.lease)


def oldest_first_claims(
    oldest_first: OldestFirst,
    store: OrderStore,
    doorbell: Doorbell,
    outputs: Outputs,
    notices: ParentNotices,
    usage: ClaimUsage,
    clock: Clock,
    new_id: NewId,
) -> OldestFirstClaims:
    expired = Sweep(store, doorbell, outputs, clock, new_id, after_end=notices.settle)
    return OldestFirstClaims(oldest_first, expired.settle_held, usage, clock, new_id)


def leases(
    store: OrderStore, outputs: Outputs, clock: Clock, settings: LeaseSettings, notices: ParentNotices
) -> Leases:
    return Leases(store, outputs, clock, settings.lease, notices.settle)


MAKERS: Final[Sequence[Callable[..., object]]] = (
    any_order,
    oldest_first,
    Backlogs,
    arrivals,
    claim_usage,
    claims,
    oldest_first_claims,
    leases,
)
