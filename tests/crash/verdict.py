"""Whether everything is as it is to be: the orders, the bucket, the machines and their directories."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from functions.domain.order import output_key
from shared.domain.order import FINAL, State
from shared.wire.orders import OrderView
from tests.crash.ground import Ground
from tests.crash.stage import Stage


def differences(stage: Stage, ground: Ground) -> list[str]:
    """Return what is not as it is to be, one line each."""
    orders = {order.id: order for order in stage.operator.orders()}
    return [*_of_orders(stage, orders)] or [*_of_machines(stage, orders), *_of_objects(stage, ground, orders)]


def final(stage: Stage) -> Mapping[str, OrderView]:
    """Return the orders that are not to change any more."""
    return {order.id: order for order in stage.operator.orders() if order.state in FINAL}


def _of_orders(stage: Stage, orders: Mapping[str, OrderView]) -> Iterator[str]:
    for order_id in orders.keys() - stage.endings.keys():
        yield f"order {order_id} is nobody's: no answer named it"
    for order_id, ending in stage.endings.items():
        found = orders[order_id].state if order_id in orders else None
        if found is not ending.state:
            yield f"order {order_id} is {found}, not {ending.state}"


def _of_objects(stage: Stage, ground: Ground, orders: Mapping[str, OrderView]) -> Iterator[str]:
    for order_id, ending in stage.endings.items():
        found = ground.keys_under(f"outputs/{order_id}/")
        wanted = [output_key(order_id, orders[order_id].epoch)] if ending.output and order_id in orders else []
        if found != wanted:
            yield f"order {order_id} has the objects {found}, not {wanted}"
        elif wanted and orders[order_id].state is State.SUCCEEDED and stage.client.output(order_id) != ending.output:
            yield f"the output of order {order_id} is not its own"


def _of_machines(stage: Stage, orders: Mapping[str, OrderView]) -> Iterator[str]:
    running = [order for order in orders.values() if order.state is State.RUNNING]
    wanted = sorted(f"{order.id}-{order.epoch}" for order in running if order.vm not in stage.elsewhere)
    found = stage.machines.look()
    if found != wanted:
        yield f"the machines are {found}, not {wanted}"
    directories = _names(stage.state / "vms")
    if directories != wanted:
        yield f"the machines' directories are {directories}, not {wanted}"
    ordered = [vm for vm in stage.elsewhere for order in running if order.vm == vm]
    if ordered != stage.elsewhere:
        yield f"the workers' machines that have an order are {ordered}, not {stage.elsewhere}"
    if (aside := _names(stage.state / "quarantine")) != stage.strange:
        yield f"the directories put aside are {aside}, not {stage.strange}"


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*"))
