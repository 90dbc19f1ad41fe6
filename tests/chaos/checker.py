"""What a chaos run must not have done: pure functions over what was read once everything had come to rest."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from shared.domain.order import Order, Output, Reason, State, output_key
from shared.domain.spec import CapacitySpec, ExportSpec, TaskSpec
from tests.chaos.schedule import FAILS, Wanted


class Wrong(StrEnum):
    LOST = "lost"
    """A create that was answered and is not there, or an order that is not final and not meant to run."""
    DUPLICATE = "duplicate"
    """Two orders of one key, or an output that is not the one accepted."""
    ORPHAN = "orphan"
    """A process or a directory of a machine that no running order has."""
    GHOST = "ghost"
    """A running order without its one machine."""
    REFUSED = "refused"
    """A create that was refused, or never answered: each was well formed, and had a key of its own."""
    UNEXPLAINED = "unexplained"
    """An end that neither the order, nor its client, nor any blow accounts for."""
    ENDED = "ended"
    """A server that nobody killed, and that runs no more."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A create as its client knows it: the ids it was answered with, and what it was refused with."""

    wanted: Wanted
    answers: frozenset[str]
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Process:
    """A process of a machine, or of what a machine's task started. `vm` is its machine's name, where it is known.

    `machine`: it is the machine itself.
    """

    pid: int
    vm: str | None
    machine: bool
    argv: str


@dataclass(frozen=True, slots=True)
class Remains:
    """Everything that was read. `keys` leads from an Idempotency-Key to its order; `objects` are whole."""

    asked: tuple[Asked, ...]
    orders: Mapping[str, Order]
    keys: Mapping[str, str]
    objects: Mapping[str, bytes]
    processes: tuple[Process, ...]
    directories: tuple[str, ...]
    """Names of machines' directories, `<order id>-<epoch>`."""
    ended: tuple[str, ...] = ()
    """Names of the servers that ended by themselves."""


@dataclass(frozen=True, slots=True)
class Violation:
    wrong: Wrong
    what: str


@dataclass(frozen=True, slots=True)
class Verdict:
    created: int
    unanswered: int
    states: Mapping[State, int]
    failed: Mapping[str, int]
    """By reason."""
    stale_uploads: tuple[str, ...]
    """Objects of epochs that were over, or of orders that did not succeed: left for the sweep to remove."""
    violations: tuple[Violation, ...]

    @property
    def good(self) -> bool:
        return not self.violations

    def count(self, wrong: Wrong) -> int:
        return sum(violation.wrong is wrong for violation in self.violations)


def check(remains: Remains) -> Verdict:
    parts = (_refused, _lost, _two_orders, _outputs, _objects, _orphans, _ghosts, _unexplained, _ended)
    orders = remains.orders.values()
    return Verdict(
        created=sum(bool(asked.answers) for asked in remains.asked),
        unanswered=sum(not asked.answers and asked.refusal is None for asked in remains.asked),
        states=Counter(order.state for order in orders),
        failed=Counter(str(order.reason) for order in orders if order.state is State.FAILED),
        stale_uploads=tuple(key for key in sorted(remains.objects) if _is_stale(key, remains)),
        violations=tuple(violation for part in parts for violation in part(remains)),
    )


def unsettled(asked: tuple[Asked, ...], orders: Mapping[str, Order], keys: Mapping[str, str]) -> list[Order]:
    """Return the orders that are neither final nor running as they are meant to."""
    kept = {keys.get(one.wanted.key) for one in asked if one.wanted.keep}
    return [
        order
        for order in orders.values()
        if not order.final and not (order.state is State.RUNNING and order.id in kept)
    ]


def _refused(remains: Remains) -> Iterator[Violation]:
    for asked in remains.asked:
        if asked.refusal is not None or not asked.answers:
            yield Violation(Wrong.REFUSED, f"{asked.wanted.text}: {asked.refusal or 'never answered'}")


def _lost(remains: Remains) -> Iterator[Violation]:
    for asked in remains.asked:
        for order_id in sorted(asked.answers - remains.orders.keys()):
            yield Violation(Wrong.LOST, f"order {order_id} of {asked.wanted.text} was answered, and is not there")
    for order in unsettled(remains.asked, remains.orders, remains.keys):
        yield Violation(Wrong.LOST, f"order {order.id} is {order.state} still, at epoch {order.epoch}")


def _two_orders(remains: Remains) -> Iterator[Violation]:
    for asked in remains.asked:
        known = {*asked.answers, remains.keys.get(asked.wanted.key, "")} - {""}
        if len(known) > 1:
            yield Violation(Wrong.DUPLICATE, f"{asked.wanted.text} has the orders {', '.join(sorted(known))}")
    for order_id in sorted(remains.orders.keys() - set(remains.keys.values())):
        yield Violation(Wrong.DUPLICATE, f"order {order_id} is of no Idempotency-Key")


def _outputs(remains: Remains) -> Iterator[Violation]:
    """The accepted output is the one object of its key, and says what this order alone was to say."""
    texts = {remains.keys.get(asked.wanted.key): asked.wanted.text for asked in remains.asked}
    for order in remains.orders.values():
        wrong = _wrong_with_output(order, texts.get(order.id), remains.objects)
        if wrong is not None:
            yield Violation(Wrong.DUPLICATE, f"order {order.id}: {wrong}")


def _wrong_with_output(order: Order, text: str | None, objects: Mapping[str, bytes]) -> str | None:
    output = order.output
    if order.state is not State.SUCCEEDED:
        return None if output is None else f"it is {order.state}, and has an accepted output"
    if output is None:
        return None if isinstance(order.spec, CapacitySpec) else "it succeeded without an output"
    if output.key != output_key(order.id, order.epoch):
        return f"its output {output.key} is not of its epoch {order.epoch}"
    if output.key not in objects:
        return f"its output {output.key} is not in the bucket"
    return _wrong_with_bytes(order, output, objects[output.key], text)


def _wrong_with_bytes(order: Order, output: Output, content: bytes, text: str | None) -> str | None:
    if (len(content), hashlib.sha256(content).hexdigest()) != (output.size, output.sha256):
        return f"its output {output.key} is not of the size and SHA-256 accepted"
    match order.spec:
        case TaskSpec() if content != f"{text}\n".encode():
            return f"its output {output.key} does not say {text!r}"
        case ExportSpec(pi=pi) if pi.encode() not in content:
            return f"its output {output.key} is not the record of {pi}"
    return None


def _objects(remains: Remains) -> Iterator[Violation]:
    for key in sorted(remains.objects):
        if not _is_accepted(key, remains) and not _is_stale(key, remains):
            yield Violation(Wrong.DUPLICATE, f"the object {key} is of no order, or of an epoch after the accepted one")


def _is_accepted(key: str, remains: Remains) -> bool:
    order, _ = _owner(key, remains)
    return order is not None and order.output is not None and order.output.key == key


def _is_stale(key: str, remains: Remains) -> bool:
    order, epoch = _owner(key, remains)
    if order is None or epoch > order.epoch:
        return False
    return epoch < order.epoch if order.state is State.SUCCEEDED else order.output is None


def _owner(key: str, remains: Remains) -> tuple[Order | None, int]:
    """Return the order whose output this object's key may be, and the epoch."""
    order_id, _, epoch = key.removeprefix("outputs/").partition("/")
    order = remains.orders.get(order_id)
    if order is None or not epoch.isdecimal() or key != output_key(order_id, int(epoch)):
        return None, 0
    return order, int(epoch)


def _orphans(remains: Remains) -> Iterator[Violation]:
    running = {order.vm for order in _running(remains)}
    for process in remains.processes:
        if process.vm not in running:
            yield Violation(Wrong.ORPHAN, f"process {process.pid} of {process.vm}: {process.argv}")
    held = {f"{order.id}-{order.epoch}" for order in _running(remains)}
    for name in remains.directories:
        if name not in held:
            yield Violation(Wrong.ORPHAN, f"the directory of a machine, {name}")


def _ghosts(remains: Remains) -> Iterator[Violation]:
    machines = Counter(process.vm for process in remains.processes if process.machine)
    for order in _running(remains):
        if machines[order.vm] != 1:
            yield Violation(Wrong.GHOST, f"order {order.id} runs in {order.vm}, with {machines[order.vm]} processes")


def _unexplained(remains: Remains) -> Iterator[Violation]:
    for order in remains.orders.values():
        if order.final and not _is_explained(order):
            yield Violation(Wrong.UNEXPLAINED, f"order {order.id} is {order.state}: {order.reason}: {order.message}")


def _is_explained(order: Order) -> bool:
    """A blow costs an attempt, and no more; no run is as long as a queue TTL; what is to fail does not succeed."""
    doomed = isinstance(order.spec, TaskSpec) and FAILS in order.spec.command
    match order.state:
        case State.SUCCEEDED:
            return not doomed
        case State.FAILED:
            return order.reason is Reason.RETRIES_EXHAUSTED or (doomed and order.reason is Reason.PROGRAM_FAILED)
        case State.CANCELLED:
            return order.cancel_requested_at is not None
        case _:
            return False


def _ended(remains: Remains) -> Iterator[Violation]:
    for name in remains.ended:
        yield Violation(Wrong.ENDED, f"{name} ended by itself")


def _running(remains: Remains) -> list[Order]:
    return [order for order in remains.orders.values() if order.state is State.RUNNING]
