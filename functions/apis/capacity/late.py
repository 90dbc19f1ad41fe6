"""A worker comes with its machine after its claim expired: the machine runs, so it is put to use, or kept in the books.

The contract's worker ends at any refusal, and nobody could tell it to stop its machine. So a former holder is not told
that its order is another's: it gets the order back where nobody has it, and else its machine gets an order of its own.
"""

from dataclasses import replace

from functions.apis.capacity.links import meet
from functions.apis.capacity.wire import STATUS_OF, Status
from functions.app import App
from functions.domain.events import Claim, Provision, Start
from functions.domain.order import Order, place
from functions.domain.refusals import NotFound, WrongState
from functions.domain.rules import advance, demands_attestation
from functions.domain.timing import MIN_BOOT_WITHOUT_HEARTBEATS
from functions.engine import request_ids
from functions.http import logs
from functions.ports import IdempotencyKey
from shared.crash_points import Point, reach
from shared.domain.order import State


def comes_late(order: Order, sender: str) -> bool:
    """Whether the sender's claim is over: also where it was the last, and the order ended because nothing was heard."""
    ended_unheard = STATUS_OF[order.state] is Status.FAILED and sender in order.former
    return order.claimed_by != sender or ended_unheard


def accept_late(status: Status, vm_name: str | None, order: Order, sender: str, app: App) -> Order:
    """Return the order as it then stands. Raises NotFound where the sender never held it."""
    if sender not in order.former:
        raise NotFound("Capacity launch order not found")
    if status is Status.FAILED:
        return order  # there is no machine, and the order has gone on without it
    if order.state is State.QUEUED:
        taken = _take_back(status, vm_name, order, sender, app)
        if taken is not None:
            return taken
    if status is not Status.FULFILLED:
        raise NotFound("Capacity launch order not found")
    adopt(vm_name, order, sender, app)
    return order


def adopt(vm_name: str | None, order: Order, sender: str, app: App) -> None:
    """Make an order for the machine; the same one however often it is told of.

    In one write: an order that waited, or was only claimed, would become another machine's where this is cut short. It
    is never tried again: what was asked for is the first order's to bring, and a machine that came too late is not
    replaced.
    """
    now, new_id = app.clock(), request_ids.late_workers_order(order.id, sender, vm_name)
    placed = place(new_id, order.account, order.spec, now, order.limits, requeued_from=order.id)
    claim = Claim(app.new_id(), sender, now + app.capacity.claim_ttl, attended=False)
    taken = advance(replace(placed, max_attempts=1), claim, now)
    told = advance(taken, _news(Status.FULFILLED, vm_name, taken, sender, app), now)
    adopted = app.store.create(told, IdempotencyKey(order.account, request_ids.late_worker_key(new_id), new_id)).order
    reach(Point.LATE_CREATED)
    logs.LOG.warning("A machine came too late for its order; it has one of its own.", order_id=order.id, adopted=new_id)
    meet(adopted, app, order.created_at)


def _take_back(status: Status, vm_name: str | None, order: Order, sender: str, app: App) -> Order | None:
    """Give the order back to its former holder; None where another was faster."""
    now = app.clock()
    try:
        taken = app.store.apply(order.id, Claim(app.new_id(), sender, now + app.capacity.claim_ttl, False), now)
    except WrongState:
        return None
    logs.LOG.info("An order was given back to its former holder.", order_id=order.id, epoch=taken.epoch)
    news = _news(status, vm_name, taken, sender, app)
    told = taken if status is Status.CLAIMED else app.store.apply(order.id, news, now)
    return meet(told, app, order.created_at)


def _news(status: Status, vm_name: str | None, order: Order, sender: str, app: App) -> Provision | Start:
    """Return what its holder, the sender, has just said of an order."""
    if status is Status.FULFILLED and not demands_attestation(order):
        return Start(app.new_id(), order.epoch, vm_name)
    return Provision(app.new_id(), order.epoch, sender, vm_name, app.clock() + MIN_BOOT_WITHOUT_HEARTBEATS)
