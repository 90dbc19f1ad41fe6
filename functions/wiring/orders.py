"""Makes what orders pass through from their creation to their end, launchers aside."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from functions.domain.parent_notices import Notice
from functions.domain.pools import Pool
from functions.engine.batches import Batches
from functions.engine.cancellations import Cancellations
from functions.engine.environments import Environment, Environments
from functions.engine.image_reports import ImageReports, ImageUploads
from functions.engine.late_workers import LateWorkers
from functions.engine.order_sets import OrderSets
from functions.engine.orders import Orders
from functions.engine.outputs import Outputs
from functions.engine.parent_notices import ParentNotices, expect
from functions.engine.purges import Purges
from functions.engine.quotas import Usage
from functions.engine.sweep import Chore, Sweep
from functions.ports.clock import Clock, NewId
from functions.ports.doorbell import Doorbell
from functions.ports.orders import OrderStore
from functions.ports.outputs import OutputBucket
from functions.ports.records import Records
from functions.settings import QuotaSettings
from shared.domain.spec import OrderKind


def orders(
    store: OrderStore, doorbell: Doorbell, usage: Usage, clock: Clock, new_id: NewId, notices: Records[Notice]
) -> Orders:
    return Orders(store, doorbell, usage, clock, new_id, before_session=partial(expect, notices))


def order_sets(store: OrderStore, orders: Orders, clock: Clock) -> OrderSets:
    return OrderSets(store, orders.ring, clock)


def cancellations(store: OrderStore, clock: Clock, notices: ParentNotices) -> Cancellations:
    return Cancellations(store, clock, notices.settle)


def usage(store: OrderStore, pools: Records[Pool], clock: Clock, quotas: QuotaSettings) -> Usage:
    return Usage(store, pools, clock, quotas.quotas())


def outputs(store: OrderStore, bucket: OutputBucket, clock: Clock, new_id: NewId, notices: ParentNotices) -> Outputs:
    return Outputs(store, bucket, clock, new_id, notices.settle)


MakeEnvironments = Mapping[OrderKind, Callable[..., Environment]]


def sweep(
    store: OrderStore,
    doorbell: Doorbell,
    outputs: Outputs,
    clock: Clock,
    new_id: NewId,
    chores: Sequence[Chore],
    notices: ParentNotices,
) -> Sweep:
    return Sweep(store, doorbell, outputs, clock, new_id, chores, after_end=notices.settle)


MAKERS: Final[Sequence[Callable[..., object]]] = (
    orders,
    order_sets,
    cancellations,
    outputs,
    usage,
    sweep,
    Purges,
    Batches,
    Environments,
    ImageReports,
    ImageUploads,
    LateWorkers,
)
