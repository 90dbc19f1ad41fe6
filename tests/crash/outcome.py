"""Compares the orders, the bucket, the machines and their directories with how each order is to end."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from functions.domain.order import output_prefix
from shared.domain.order import FINAL, State
from shared.wire.orders import OrderView
from tests.crash.deployment import Deployment
from tests.harness.clients import download
from tests.harness.environment import keys_in, open_uploads


def differences(deployment: Deployment) -> list[str]:
    """Return one line for each difference from the expected outcome."""
    orders = {order.id: order for order in deployment.operator.orders()}
    wrong_orders = [*_of_orders(deployment, orders)]
    return wrong_orders or [*_of_machines(deployment, orders), *_of_objects(deployment, orders)]


def final_orders(deployment: Deployment) -> Mapping[str, OrderView]:
    """Return the orders that are not to change any more."""
    return {order.id: order for order in deployment.operator.orders() if order.state in FINAL}


def _of_orders(deployment: Deployment, orders: Mapping[str, OrderView]) -> Iterator[str]:
    for order_id in orders.keys() - deployment.endings.keys():
        yield f"no answer named order {order_id}"
    for order_id, ending in deployment.endings.items():
        found = orders[order_id].state if order_id in orders else None
        if found is not ending.state:
            yield f"order {order_id} is {found}, not {ending.state}"


def _of_objects(deployment: Deployment, orders: Mapping[str, OrderView]) -> Iterator[str]:
    with deployment.projects.environment.bucket() as bucket:
        for order_id, ending in deployment.endings.items():
            order, found = orders.get(order_id), keys_in(bucket, f"outputs/{order_id}/")
            accepted = order.epoch if ending.output and order else None
            if left := open_uploads(bucket, f"outputs/{order_id}/"):
                yield f"order {order_id} has parts of {left}"
            if wrong := wrong_objects(order_id, accepted, found):
                yield wrong
            elif order and accepted and _output(deployment, order) not in (ending.output, None):
                yield f"the output of order {order_id} is another's"


def wrong_objects(order_id: str, accepted: int | None, found: Sequence[str]) -> str | None:
    """Return what is wrong with the objects of an order, if anything is. `accepted` is the epoch of its output, if any.

    An attempt that lost its lease after its upload leaves an object beside the accepted one, and so does a second run
    of one attempt with other bytes. They are removed with the output, once its retention is over. An order without an
    output has no object.
    """
    if accepted is None:
        return f"order {order_id} has the objects {found}, and no output" if found else None
    attempts = tuple(f"{output_prefix(order_id, epoch)}/" for epoch in range(1, accepted + 1))
    if not any(key.startswith(attempts[-1]) for key in found):
        return f"order {order_id} has the objects {found}, without its output below {attempts[-1]}"
    strange = sorted(key for key in found if not key.startswith(attempts))
    return f"order {order_id} has the objects {strange}, which none of its attempts has made" if strange else None


def _output(deployment: Deployment, order: OrderView) -> bytes | None:
    if order.state is not State.SUCCEEDED:
        return None
    return deployment.client.answer(lambda api: download(api, order))


def _of_machines(deployment: Deployment, orders: Mapping[str, OrderView]) -> Iterator[str]:
    running = [order for order in orders.values() if order.state is State.RUNNING]
    expected = sorted(f"{order.id}-{order.epoch}" for order in running if order.vm not in deployment.elsewhere)
    found = deployment.machines()
    if found != expected:
        yield f"the machines are {found}, not {expected}"
    directories = _names(deployment.state / "vms")
    if directories != expected:
        yield f"the machines' directories are {directories}, not {expected}"
    if deployment.fly is not None and (remote := [machine["name"] for machine in deployment.fly.machines()]):
        yield f"the remote machines are {remote}, and none is expected"
    ordered = [vm for vm in deployment.elsewhere for order in running if order.vm == vm]
    if ordered != deployment.elsewhere:
        yield f"the workers' machines that have an order are {ordered}, not {deployment.elsewhere}"
    quarantined = _names(deployment.state / "quarantine")
    if quarantined != deployment.unreadable:
        yield f"the quarantined directories are {quarantined}, not {deployment.unreadable}"


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*"))
