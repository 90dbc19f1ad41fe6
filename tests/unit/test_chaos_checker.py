"""The chaos run's checker finds each kind of violation in remains that have just one."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from functions.domain.order import Lease, Order, Output, output_key
from shared.domain.order import Reason, State
from shared.domain.spec import AnySpec, TaskSpec
from tests.chaos.checker import Wrong, check, unsettled
from tests.chaos.observations import Asked, Downloaded, Effects, Process, Purged, Remains, Requeued
from tests.chaos.orphans import bound
from tests.chaos.schedule import FAILS, PlannedOrder
from tests.factories import CAPACITY, EXPORT, NOW, an_order

TEXT = b"text-1\n"
DOOMED = TaskSpec(command=("sh", "-c", FAILS, "task", "text-1", "0"))


def asked(order: Order, **changes: Any) -> Asked:
    planned = PlannedOrder(1, f"key-of-{order.id}", order.spec, "text-1", keep=order.kind == "capacity")
    return Asked(planned, **{"answers": frozenset([order.id]), **changes})


def a_task(state: State = State.SUCCEEDED, epoch: int = 2, spec: AnySpec | None = None, **changes: Any) -> Order:
    return an_order(spec or TaskSpec(command=("echo", "text-1")), state=state, epoch=epoch, **changes)


def a_key(order_id: str, epoch: int, sha256: str = "0" * 64) -> str:
    return output_key(order_id, epoch, sha256, "text/plain")


def succeeded(content: bytes = TEXT, spec: AnySpec | None = None) -> Order:
    order = a_task(spec=spec)
    sha256 = hashlib.sha256(content).hexdigest()
    output = Output(a_key(order.id, 2, sha256), "output.log", "text/plain", len(content), sha256)
    return replace(order, output=output)


def running() -> Order:
    return an_order(CAPACITY, state=State.RUNNING, epoch=1, vm="vm-1", lease=Lease("rack/alpha", NOW))


def a_machine(vm: str | None = "vm-1", machine: bool = True) -> Process:
    return Process(4711, vm, machine, "python -m worker")


def remains(*orders: Order, **changes: Any) -> Remains:
    """Return remains that are as they should be with these orders, except for the changes."""
    as_it_should_be: dict[str, Any] = {
        "asked": tuple(asked(order) for order in orders),
        "orders": {order.id: order for order in orders},
        "keys": {f"key-of-{order.id}": order.id for order in orders},
        "objects": {order.output.key: TEXT for order in orders if order.output},
        "processes": tuple(a_machine(order.vm) for order in orders if order.state is State.RUNNING),
        "directories": tuple(f"{order.id}-{order.epoch}" for order in orders if order.state is State.RUNNING),
    }
    return Remains(**as_it_should_be | changes)


def found(world: Remains) -> list[Wrong]:
    return [violation.wrong for violation in check(world).violations]


def test_remains_as_they_should_be_are_good_and_counted() -> None:
    failed = a_task(State.FAILED, spec=DOOMED, reason=Reason.PROGRAM_FAILED)
    cancelled = a_task(State.CANCELLED, cancel_requested_at=NOW)
    verdict = check(remains(succeeded(), failed, cancelled, running()))

    assert verdict.good
    assert (verdict.created, verdict.unanswered, verdict.stale_uploads) == (4, 0, ())
    assert verdict.states == {State.SUCCEEDED: 1, State.FAILED: 1, State.CANCELLED: 1, State.RUNNING: 1}
    assert verdict.failed == {"program_failed": 1}


def test_an_order_that_was_answered_and_is_not_stored_is_lost() -> None:
    order = succeeded()
    world = remains(asked=(asked(order),))

    assert found(world) == [Wrong.LOST]
    assert order.id in check(world).violations[0].what


@pytest.mark.parametrize("state", [State.QUEUED, State.CLAIMED, State.PROVISIONING])
def test_an_order_that_is_not_final_is_lost(state: State) -> None:
    assert found(remains(a_task(state))) == [Wrong.LOST]


def test_a_capacity_order_that_runs_and_is_not_kept_is_lost() -> None:
    order = running()
    released = asked(order)
    world = remains(order, asked=(replace(released, planned=replace(released.planned, keep=False)),))

    assert found(world) == [Wrong.LOST]
    assert unsettled(world.asked, world.orders, world.keys) == [order]


def test_a_kept_capacity_order_that_waits_is_lost() -> None:
    assert found(remains(replace(running(), state=State.QUEUED, vm=None))) == [Wrong.LOST]


def test_an_order_that_was_stored_without_an_answer_is_not_left_waiting_either() -> None:
    order = a_task(State.QUEUED)
    world = remains(order, asked=(asked(order, answers=frozenset()),))

    assert found(world) == [Wrong.REFUSED, Wrong.LOST]
    assert check(world).unanswered == 1


def test_two_answers_to_one_key_are_a_duplicate() -> None:
    one, other = succeeded(), succeeded()
    world = remains(one, other, asked=(asked(one, answers=frozenset([one.id, other.id])), asked(other)))

    assert found(world) == [Wrong.DUPLICATE]


def test_an_order_that_no_key_leads_to_is_a_duplicate() -> None:
    one, other = succeeded(), succeeded()
    world = remains(one, other, asked=(asked(one),), keys={f"key-of-{one.id}": one.id})

    assert Wrong.DUPLICATE in found(world)
    assert other.id in check(world).violations[0].what


def test_a_key_that_leads_elsewhere_than_its_answer_is_a_duplicate() -> None:
    one, other = succeeded(), succeeded()
    world = remains(one, other, keys={f"key-of-{one.id}": other.id, f"key-of-{other.id}": one.id})

    assert found(world) == [Wrong.DUPLICATE, Wrong.DUPLICATE]


@pytest.mark.parametrize("content", [None, b"", b"text-1", b"text-2\n"])
def test_an_accepted_output_that_is_not_in_the_bucket_as_accepted_is_wrong(content: bytes | None) -> None:
    order = succeeded()
    assert order.output is not None
    objects = {} if content is None else {order.output.key: content}

    assert found(remains(order, objects=objects)) == [Wrong.DUPLICATE]


def test_an_output_with_the_text_of_another_order_is_wrong() -> None:
    order = succeeded(b"text-2\n")
    assert order.output is not None

    assert found(remains(order, objects={order.output.key: b"text-2\n"})) == [Wrong.DUPLICATE]


def test_an_export_that_is_not_of_its_entity_is_wrong() -> None:
    order = succeeded(spec=EXPORT)

    assert found(remains(order)) == [Wrong.DUPLICATE]


def test_a_task_that_succeeded_without_an_output_is_wrong() -> None:
    assert found(remains(a_task())) == [Wrong.DUPLICATE]


def test_an_accepted_output_of_an_order_that_did_not_succeed_is_wrong() -> None:
    assert set(found(remains(replace(succeeded(), state=State.CANCELLED, cancel_requested_at=NOW)))) == {
        Wrong.DUPLICATE
    }


def test_an_accepted_output_of_another_epoch_is_wrong() -> None:
    assert Wrong.DUPLICATE in found(remains(replace(succeeded(), epoch=3)))


def test_an_object_of_a_later_epoch_is_a_duplicate() -> None:
    order = succeeded()
    assert order.output is not None
    world = remains(order, objects={order.output.key: TEXT, a_key(order.id, 3): TEXT})

    assert found(world) == [Wrong.DUPLICATE]
    assert f"{order.id}/3/" in check(world).violations[0].what


@pytest.mark.parametrize("key", ["outputs/nobody/1", "elsewhere", "outputs/"])
def test_an_object_of_no_order_is_a_duplicate(key: str) -> None:
    assert found(remains(objects={key: TEXT})) == [Wrong.DUPLICATE]


def test_uploads_of_epochs_that_were_over_are_stale_and_nothing_worse() -> None:
    order, cancelled = succeeded(), a_task(State.CANCELLED, cancel_requested_at=NOW)
    assert order.output is not None
    stale = [a_key(order.id, 1), a_key(order.id, 2), a_key(cancelled.id, 1), a_key(cancelled.id, 2)]
    verdict = check(remains(order, cancelled, objects=dict.fromkeys([order.output.key, *stale], TEXT)))

    assert verdict.good
    assert set(verdict.stale_uploads) == set(stale)


@pytest.mark.parametrize("vm", ["vm-2", None])
def test_a_process_that_no_running_order_has_is_an_orphan(vm: str | None) -> None:
    world = remains(running(), processes=(a_machine(), a_machine(vm, machine=False)))

    assert found(world) == [Wrong.ORPHAN]
    assert "4711" in check(world).violations[0].what


def test_the_machine_of_an_order_that_ended_is_an_orphan() -> None:
    assert found(remains(replace(succeeded(), vm="vm-1"), processes=(a_machine(),))) == [Wrong.ORPHAN]


def test_a_directory_that_no_running_order_has_is_an_orphan() -> None:
    order = running()
    left = (f"{order.id}-{order.epoch}", f"{order.id}-0", ".half.removed")

    assert found(remains(order, directories=left)) == [Wrong.ORPHAN, Wrong.ORPHAN]


def test_a_running_order_without_a_machine_is_a_ghost() -> None:
    assert found(remains(running(), processes=(a_machine(machine=False),))) == [Wrong.GHOST]


def test_a_running_order_with_two_machines_is_a_ghost() -> None:
    assert found(remains(running(), processes=(a_machine(), a_machine()))) == [Wrong.GHOST]


def test_a_create_that_was_refused_is_wrong() -> None:
    order = a_task(State.CANCELLED)
    assert found(remains(asked=(asked(order, answers=frozenset(), refusal="no"),))) == [Wrong.REFUSED]


def test_a_server_that_ended_by_itself_is_wrong() -> None:
    assert found(remains(ended=("alpha",))) == [Wrong.ENDED]


@pytest.mark.parametrize(
    "order",
    [
        a_task(State.FAILED, reason=Reason.LAUNCH_FAILED),
        a_task(State.FAILED, reason=Reason.PROGRAM_FAILED),
        a_task(State.EXPIRED, reason=Reason.QUEUE_TTL),
        a_task(State.CANCELLED, reason=Reason.CANCELLED),
        succeeded(spec=DOOMED),
    ],
    ids=lambda order: f"{order.state}, {order.reason}",
)
def test_an_unexplained_end_is_wrong(order: Order) -> None:
    assert found(remains(order)) == [Wrong.UNEXPLAINED]


def test_an_order_whose_attempts_were_used_up_is_explained() -> None:
    assert check(remains(a_task(State.FAILED, reason=Reason.RETRIES_EXHAUSTED))).good


def a_successor_of(order: Order) -> Order:
    return replace(succeeded(), requeued_from=order.id)


def a_failed() -> Order:
    return a_task(State.FAILED, reason=Reason.RETRIES_EXHAUSTED)


def requeued(dead: Order, *successors: Order, answers: frozenset[str] | None = None, **changes: Any) -> Remains:
    """Return remains in which the dead order was requeued as these; by default that is what was answered."""
    known = frozenset(successor.id for successor in successors) if answers is None else answers
    keys = {f"key-of-{dead.id}": dead.id} | {f"key-of-{successor.id}": successor.id for successor in successors}
    world = {"asked": (asked(dead),), "keys": keys, "requeues": (Requeued(dead.id, known),)}
    return remains(dead, *successors, **world | changes)


def test_a_requeued_order_that_prints_the_text_of_the_first_is_counted() -> None:
    dead = a_failed()
    verdict = check(requeued(dead, a_successor_of(dead)))

    assert verdict.good
    assert verdict.requeued == 1


def test_a_successor_that_prints_another_text_is_wrong() -> None:
    dead = a_failed()
    other = replace(succeeded(b"text-2\n"), requeued_from=dead.id)
    assert other.output is not None

    assert found(requeued(dead, other, objects={other.output.key: b"text-2\n"})) == [Wrong.DUPLICATE]


def test_two_successors_of_one_order_are_a_duplicate() -> None:
    dead = a_failed()

    assert found(requeued(dead, a_successor_of(dead), a_successor_of(dead))) == [Wrong.DUPLICATE]


def test_a_successor_without_a_requeue_is_a_duplicate() -> None:
    dead = a_failed()

    assert found(requeued(dead, a_successor_of(dead), requeues=())) == [Wrong.DUPLICATE]


def test_a_successor_that_was_answered_and_is_not_stored_is_lost() -> None:
    assert found(requeued(a_failed(), answers=frozenset(["successor"]))) == [Wrong.LOST]


@pytest.mark.parametrize(
    "changes",
    [
        {"requeues": (Requeued("an-id", frozenset()),)},
        {"purges": (Purged("an-id", done=False, refusal="no"),)},
        {"purges": (Purged("an-id", done=False),)},
        {"downloads": (Downloaded("an-id", None, "no"),)},
        {"downloads": (Downloaded("an-id", None),)},
    ],
)
def test_refused_and_unanswered_requests_are_wrong(changes: dict[str, Any]) -> None:
    assert found(remains(**changes)) == [Wrong.REFUSED]


def test_a_purged_order_is_not_lost_and_is_counted() -> None:
    order = succeeded()
    verdict = check(remains(asked=(asked(order),), purges=(Purged(order.id, done=True),)))

    assert verdict.good
    assert verdict.purged == 1


def test_a_purged_order_that_is_stored_is_wrong() -> None:
    order = succeeded()

    assert found(remains(order, purges=(Purged(order.id, done=True),))) == [Wrong.DUPLICATE]


def test_an_object_of_a_purged_order_is_wrong() -> None:
    order = succeeded()
    world = remains(asked=(asked(order),), purges=(Purged(order.id, done=True),), objects={a_key(order.id, 2): TEXT})

    assert found(world) == [Wrong.DUPLICATE]


def test_a_download_of_the_orders_text_is_counted() -> None:
    order = succeeded()
    verdict = check(remains(order, downloads=(Downloaded(order.id, TEXT),)))

    assert verdict.good
    assert verdict.downloaded == 1


def test_a_download_of_another_text_is_wrong() -> None:
    order = succeeded()

    assert found(remains(order, downloads=(Downloaded(order.id, b"text-2\n"),))) == [Wrong.DUPLICATE]


def test_an_orphan_that_existed_too_long_is_still_reported() -> None:
    world = remains(ages={"process 4711": bound(60) + 1, "process 4712": bound(60) - 1})

    assert found(world) == [Wrong.ORPHAN]
    assert "4711" in check(world).violations[0].what
    assert check(world).longest_orphan == bound(60) + 1
    assert not check(world).may_pass


def test_an_orphan_may_be_gone_at_the_next_check() -> None:
    assert check(remains(processes=(a_machine(),))).may_pass


EFFECTS = Effects(machines_adopted=1, machines_lost=1)


def test_a_long_storm_with_adoptions_and_lost_leases_is_not_hollow() -> None:
    assert check(remains(running(), storm_seconds=60.0, effects=EFFECTS)).good


@pytest.mark.parametrize(
    "changes",
    [{"effects": replace(EFFECTS, machines_adopted=0)}, {"effects": replace(EFFECTS, machines_lost=0)}],
    ids=["no adoption", "no lost lease"],
)
def test_a_long_storm_without_an_adoption_or_a_lost_lease_is_hollow(changes: dict[str, Any]) -> None:
    world = {"storm_seconds": 60.0, **changes}

    assert found(remains(running(), **world)) == [Wrong.HOLLOW]
    assert not check(remains(running(), **world)).may_pass
    assert found(remains(running(), **world | {"storm_seconds": 59.0})) == []


def test_a_long_storm_after_which_no_kept_capacity_order_runs_is_hollow() -> None:
    assert found(remains(succeeded(), storm_seconds=60.0, effects=EFFECTS)) == [Wrong.HOLLOW]
