"""Checks what a chaos run left behind: pure functions over what was read once everything had settled."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from functions.domain.order import Order, Output, output_key, output_prefix
from shared.domain.order import Reason, State
from shared.domain.spec import CapacitySpec, ExportSpec, TaskSpec
from tests.chaos.observations import Asked, Remains
from tests.chaos.orphans import bound, orphans
from tests.chaos.schedule import FAILS


class Wrong(StrEnum):
    LOST = "lost"
    """A create that was answered and is not stored, or an order that is not final and is not to run."""
    DUPLICATE = "duplicate"
    """Two orders of one key, or an output that is not the accepted one."""
    ORPHAN = "orphan"
    """A process or a directory of a machine that belongs to no running order."""
    GHOST = "ghost"
    """A running order without its one machine."""
    REFUSED = "refused"
    """A request that was refused or never answered, although each was valid."""
    UNEXPLAINED = "unexplained"
    """An end that neither the order, nor its client, nor a disruption explains."""
    ENDED = "ended"
    """A server that ended although nobody killed it."""
    HOLLOW = "hollow"
    """A run that proves nothing, because nothing of what it is to test happened in it."""


PASSING: Final = frozenset({Wrong.LOST, Wrong.DUPLICATE, Wrong.ORPHAN, Wrong.GHOST})
"""Violations that may be gone at the next look."""
EVENTFUL_SECONDS: Final = 60.0
"""A storm of this length has adoptions and lost leases, whatever its seed and its host."""


@dataclass(frozen=True, slots=True)
class Violation:
    """`passed`: it has happened already, and no later look undoes it."""

    wrong: Wrong
    what: str
    passed: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    created: int
    unanswered: int
    states: Mapping[State, int]
    failed: Mapping[str, int]
    """By reason."""
    stale_uploads: tuple[str, ...]
    """Objects of earlier epochs, or of orders that did not succeed: the sweep is to remove them."""
    violations: tuple[Violation, ...]
    requeued: int = 0
    purged: int = 0
    downloaded: int = 0
    longest_orphan: float = 0.0
    """Seconds."""

    @property
    def good(self) -> bool:
        return not self.violations

    @property
    def may_pass(self) -> bool:
        """Whether a later look may find fewer violations."""
        return any(violation.wrong in PASSING and not violation.passed for violation in self.violations)

    def count(self, wrong: Wrong) -> int:
        return sum(violation.wrong is wrong for violation in self.violations)


def check(remains: Remains) -> Verdict:
    checks: Sequence[Callable[[Remains], Iterator[Violation]]] = (
        _refused,
        _lost,
        _two_orders,
        _successors,
        _purged,
        _outputs,
        _downloads,
        _objects,
        _orphans,
        _long_orphans,
        _ghosts,
        _unexplained,
        _ended,
        _hollow,
    )
    orders = remains.orders.values()
    return Verdict(
        created=sum(bool(asked.answers) for asked in remains.asked),
        unanswered=sum(not asked.answers and asked.refusal is None for asked in remains.asked),
        states=Counter(order.state for order in orders),
        failed=Counter(str(order.reason) for order in orders if order.state is State.FAILED),
        stale_uploads=tuple(key for key in sorted(remains.objects) if _is_stale(key, remains)),
        violations=tuple(violation for one in checks for violation in one(remains)),
        requeued=sum(bool(requeue.answers) for requeue in remains.requeues),
        purged=sum(purge.done for purge in remains.purges),
        downloaded=sum(download.content is not None for download in remains.downloads),
        longest_orphan=max(remains.ages.values(), default=0.0),
    )


def unsettled(asked: tuple[Asked, ...], orders: Mapping[str, Order], keys: Mapping[str, str]) -> list[Order]:
    """Return the orders that are neither final nor kept and running."""
    kept = {keys.get(one.planned.key) for one in asked if one.planned.keep}
    return [
        order
        for order in orders.values()
        if not order.final and not (order.state is State.RUNNING and order.id in kept)
    ]


def _refused(remains: Remains) -> Iterator[Violation]:
    for asked in remains.asked:
        if asked.refusal is not None or not asked.answers:
            yield Violation(Wrong.REFUSED, f"{asked.planned.text}: {asked.refusal or 'never answered'}")
    for requeue in remains.requeues:
        if requeue.refusal is not None or not requeue.answers:
            yield Violation(Wrong.REFUSED, f"requeue of {requeue.order_id}: {requeue.refusal or 'never answered'}")
    for purge in remains.purges:
        if purge.refusal is not None or not purge.done:
            yield Violation(Wrong.REFUSED, f"purge of {purge.order_id}: {purge.refusal or 'never answered'}")
    for download in remains.downloads:
        if download.refusal is not None or download.content is None:
            yield Violation(Wrong.REFUSED, f"download of {download.order_id}: {download.refusal or 'never answered'}")


def _lost(remains: Remains) -> Iterator[Violation]:
    purged = {purge.order_id for purge in remains.purges}
    for asked in remains.asked:
        for order_id in sorted(asked.answers - remains.orders.keys() - purged):
            yield Violation(Wrong.LOST, f"order {order_id} of {asked.planned.text} was answered, and is not stored")
    for order in unsettled(remains.asked, remains.orders, remains.keys):
        yield Violation(Wrong.LOST, f"order {order.id} is still {order.state}, at epoch {order.epoch}")


def _two_orders(remains: Remains) -> Iterator[Violation]:
    for asked in remains.asked:
        known = {*asked.answers, remains.keys.get(asked.planned.key, "")} - {""}
        if len(known) > 1:
            yield Violation(Wrong.DUPLICATE, f"{asked.planned.text} has the orders {', '.join(sorted(known))}")
    for order_id in sorted(remains.orders.keys() - set(remains.keys.values())):
        yield Violation(Wrong.DUPLICATE, f"order {order_id} belongs to no Idempotency-Key")


def _successors(remains: Remains) -> Iterator[Violation]:
    """An order that was requeued has one successor, the one in the answer; no other order has any."""
    stored = defaultdict[str, set[str]](set)
    for order in remains.orders.values():
        if order.requeued_from is not None:
            stored[order.requeued_from].add(order.id)
    answered = {requeue.order_id: requeue.answers for requeue in remains.requeues}
    for order_id in sorted(stored.keys() | answered.keys()):
        there, known = stored[order_id], answered.get(order_id, frozenset())
        for lost in sorted(known - there):
            yield Violation(Wrong.LOST, f"order {lost}, the successor of {order_id}, was answered, and is not stored")
        if len(there | known) > 1 or order_id not in answered:
            successors = ", ".join(sorted(there | known))
            yield Violation(Wrong.DUPLICATE, f"order {order_id} was requeued as {successors}")


def _purged(remains: Remains) -> Iterator[Violation]:
    for purge in remains.purges:
        if purge.done and purge.order_id in remains.orders:
            yield Violation(Wrong.DUPLICATE, f"order {purge.order_id} was purged, and is stored")


def expected_texts(remains: Remains) -> dict[str, str]:
    """Return the text that each order is to print: a successor prints the same as the order it replaces."""
    known = {remains.keys.get(asked.planned.key, ""): asked.planned.text for asked in remains.asked}
    successors = {
        order.id: known[order.requeued_from]
        for order in remains.orders.values()
        if order.requeued_from is not None and order.requeued_from in known
    }
    return known | successors


def _downloads(remains: Remains) -> Iterator[Violation]:
    texts = expected_texts(remains)
    for download in remains.downloads:
        order = remains.orders.get(download.order_id)
        if download.content is None or order is None or order.output is None:
            continue
        wrong = _wrong_with_bytes(order, order.output, download.content, texts.get(order.id))
        if wrong is not None:
            yield Violation(Wrong.DUPLICATE, f"the download of order {order.id}: {wrong}")


def _outputs(remains: Remains) -> Iterator[Violation]:
    """The accepted output is the object of its key, and holds the text of this order alone."""
    texts = expected_texts(remains)
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
    if output.sha256 is None or output.key != output_key(order.id, order.epoch, output.sha256, output.content_type):
        return f"its output {output.key} is not of its epoch {order.epoch}, its SHA-256 and its type"
    if output.key not in objects:
        return f"its output {output.key} is not in the bucket"
    return _wrong_with_bytes(order, output, objects[output.key], text)


def _wrong_with_bytes(order: Order, output: Output, content: bytes, text: str | None) -> str | None:
    if (len(content), hashlib.sha256(content).hexdigest()) != (output.size, output.sha256):
        return f"its output {output.key} is not of the size and SHA-256 accepted"
    match order.spec:
        case TaskSpec() if content != f"{text}\n".encode():
            return f"its output {output.key} does not hold {text!r}"
        case ExportSpec(pi=pi) if pi.encode() not in content:
            return f"its output {output.key} is not the record of {pi}"
    return None


def _objects(remains: Remains) -> Iterator[Violation]:
    for key in sorted(remains.objects):
        if not _is_accepted(key, remains) and not _is_stale(key, remains):
            yield Violation(
                Wrong.DUPLICATE, f"the object {key} belongs to no order, or to an epoch after the accepted one"
            )


def _is_accepted(key: str, remains: Remains) -> bool:
    order, _ = _owner(key, remains)
    return order is not None and order.output is not None and order.output.key == key


def _is_stale(key: str, remains: Remains) -> bool:
    """Return whether an attempt left it that is over, or a second run of the one whose output was accepted."""
    order, epoch = _owner(key, remains)
    if order is None or epoch > order.epoch:
        return False
    return order.output is None or (order.state is State.SUCCEEDED and order.output.key != key)


def _owner(key: str, remains: Remains) -> tuple[Order | None, int]:
    """Return the order and the epoch whose output has this key; None if no order's has."""
    order_id, epoch = (*key.removeprefix("outputs/").split("/"), "")[:2]
    order = remains.orders.get(order_id)
    if order is None or not epoch.isdecimal() or not key.startswith(f"{output_prefix(order_id, int(epoch))}/"):
        return None, 0
    return order, int(epoch)


def _orphans(remains: Remains) -> Iterator[Violation]:
    for orphan in orphans(remains.orders.values(), remains.processes, remains.directories):
        yield Violation(Wrong.ORPHAN, orphan)


def _long_orphans(remains: Remains) -> Iterator[Violation]:
    """Orphans that have gone, but only because their worker or task ended by itself."""
    allowed = bound(remains.lease)
    for orphan, age in sorted(remains.ages.items()):
        if age > allowed:
            what = f"for {age:.0f} s ({allowed:.0f} are allowed): {orphan}"
            yield Violation(Wrong.ORPHAN, what, passed=True)


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
    """A disruption costs one attempt; no run is as long as a queue TTL; a task that is to fail does not succeed."""
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


def _hollow(remains: Remains) -> Iterator[Violation]:
    if remains.storm_seconds < EVENTFUL_SECONDS:
        return
    if not remains.effects.machines_adopted:
        yield Violation(Wrong.HOLLOW, "no machine was adopted")
    if not remains.effects.machines_lost:
        yield Violation(Wrong.HOLLOW, "no machine was stopped because its lease was lost")
    kept = {remains.keys.get(asked.planned.key) for asked in remains.asked if asked.planned.keep}
    if not any(order.id in kept for order in _running(remains)):
        yield Violation(Wrong.HOLLOW, "no capacity order that is to run is running")


def _running(remains: Remains) -> list[Order]:
    return [order for order in remains.orders.values() if order.state is State.RUNNING]
