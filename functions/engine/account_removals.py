"""Ends all that a deleted account has: its keys, what its launchers hold, and what it has ordered.

A record says that an account is being deleted before anything is changed, so that the sweep finishes what a death has
interrupted. What was in progress meanwhile (a claim, a create) may still add something, so the sweep looks again until
no request of the account can be in progress any more. The record stands for as long as a launcher may report a machine
of an order of the account that it has lost: such a machine gets no order (`late_workers`).

An order that is given back or that has ended accepts nothing from its machine: the worker's token, the bootstrap token
and the granted uploads of its epoch are over at the moment of the write.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from functions.domain import request_ids
from functions.domain.accounts import Account, Removal
from functions.domain.events import Cancel, Release, Return, Stop
from functions.domain.order import LAPSED_CLAIM_VALID, OPEN, Order
from functions.domain.refusals import LeaseLost, NotFound, Unavailable, WrongState
from functions.engine.agent_sessions import AgentSessions
from functions.engine.batches import Batches
from functions.engine.concurrency import run_all
from functions.engine.job_launchers import JobLaunchers
from functions.engine.outputs import Outputs
from functions.engine.parent_notices import ParentNotices
from functions.engine.pools import Pools
from functions.ports.keys import KeyStore
from functions.ports.orders import OrderQuery, OrderStore
from functions.ports.records import Records
from shared.domain.order import Reason, State
from shared.domain.spec import OrderKind
from shared.log_events import LogEvent

FIRST_CHECK_DELAY: Final = timedelta(seconds=30)
"""The time to the first check for what a request added that was in progress during the deletion. The next checks come
after half of the time since the deletion, if that is more.
"""
REMOVAL_TTL: Final = LAPSED_CLAIM_VALID + timedelta(minutes=10)
"""How long the checks go on: longer than any request, and than a former holder may report its machine."""
TIME_BUDGET: Final = 20.0
"""Seconds that one run spends on the orders that a launcher holds, and as many on those that the account has placed."""
PAGE: Final = 500
NOT_DONE: Final = (
    "The account's key is dead, but not all that it had has ended. The sweep ends the rest; an operator may also send "
    "the same request again."
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class AccountRemovals:
    """`batches`, `notices`, `sessions` and `job_launchers` keep records of the accounts, which go with them."""

    records: Records[Removal]
    accounts: Records[Account]
    keys: KeyStore
    store: OrderStore
    outputs: Outputs
    pools: Pools
    batches: Batches
    notices: ParentNotices
    sessions: AgentSessions
    job_launchers: JobLaunchers
    clock: Callable[[], datetime]

    def remove(self, account: Account) -> None:
        """Remove the account with its keys, and end all that it has. Raises Unavailable; a repeat then goes on.

        The keys are removed first: nothing new can begin.
        """
        self.pools.of_account(account.id)  # before any change: if one cannot be read, the caller must try again
        now = self.clock()
        fresh = Removal(account.id, account.name, began_at=now, due_at=now + FIRST_CHECK_DELAY)
        removal = self.records.upsert(account.id, fresh, lambda stored: replace(stored, began_at=now))
        self.withdraw([account.key_digest, *account.retired])
        self._finish(removal)
        log.info(
            LogEvent.ACCOUNT_REMOVED,
            message="An account was deleted; what it had is ended.",
            account=account.id,
            account_type=account.account_type,
        )

    def withdraw(self, key_digests: Iterable[str]) -> None:
        """Remove the keys with these digests. Raises Unavailable."""
        for key_digest in key_digests:
            self.keys.remove(key_digest)

    def sweep(self, limit: int) -> Counter[str]:
        """Look again at deleted accounts, at most `limit`; return the number of `records_forgotten`.

        Raises Unavailable.
        """
        due = self.records.before("due_at", self.clock(), limit)
        return sum(run_all(self._check, due, TIME_BUDGET), start=Counter[str]())

    def _check(self, removal: Removal) -> Counter[str]:
        self._finish(removal)
        now = self.clock()
        if now >= removal.began_at + REMOVAL_TTL:
            gone = self.records.take(removal.account, lambda stored: stored.began_at == removal.began_at)
            return Counter(records_forgotten=int(gone is not None))
        wait = max(FIRST_CHECK_DELAY, (now - removal.began_at) / 2)
        self.records.change(removal.account, lambda stored: replace(stored, due_at=now + wait))
        return Counter()

    def _finish(self, removal: Removal) -> None:
        """Remove what is left of the account. Every step may be repeated."""
        self._withdraw_stored(removal)
        self._end_held(removal.account)
        self._end_placed(removal.account)
        gone = self.accounts.take(removal.name, lambda stored: stored.id == removal.account)
        if gone is not None:  # its key may have been replaced since it was read, and an order placed
            self.withdraw([gone.key_digest, *gone.retired])
            self._end_held(removal.account)
            self._end_placed(removal.account)

    def _withdraw_stored(self, removal: Removal) -> None:
        stored = self.accounts.get(removal.name)
        if stored is not None and stored.id == removal.account:
            self.withdraw([stored.key_digest, *stored.retired])

    def _end_held(self, account: str) -> None:
        """Give back what the account's launchers hold, of any name. Raises Unavailable if that takes too long."""
        self.job_launchers.remove_all(account)
        tried = set[tuple[str, int]]()
        while held := self.store.held_by_account(account):
            if tried.issuperset((order.id, order.epoch) for order in held):
                raise Unavailable(NOT_DONE)
            tried.update((order.id, order.epoch) for order in held)
            self._each(self._give_back, held)

    def _give_back(self, order: Order) -> None:
        if order.lease is None:
            return
        message = "The account of its launcher was deleted."
        request_id = request_ids.account_removed(order.epoch)
        event = Return(request_id, order.epoch, order.lease.launcher, Reason.RETURNED, message)
        try:
            given_back = self.store.apply(order.id, event, self.clock())
        except (WrongState, LeaseLost, NotFound):
            return  # it has moved on since
        self.outputs.abandon(given_back)
        self.notices.settle(given_back)

    def _end_placed(self, account: str) -> None:
        """Cancel the account's orders, and remove whatever could create another. Raises Unavailable."""
        for pool in self.pools.of_account(account):
            if pool.standing:
                self.pools.give_up(pool)
        self.batches.remove_all(account)
        self.notices.remove_all(account)
        after: str | None = None
        while True:
            page = self.store.page(OrderQuery(account=account, states=OPEN, limit=PAGE, after=after))
            self._each(self._cancel, page.orders)
            after = page.next
            if after is None:
                break
        self.sessions.remove_all(account)

    def _cancel(self, order: Order) -> None:
        """Cancel the order, and end it at once: its launcher learns of the end from its next heartbeat.

        A session that is not attended ends a minute later (`timing.STOP_PATIENCE`): its launcher is sent a stop command
        only while it holds the session.
        """
        now = self.clock()
        try:
            order = self.store.apply(order.id, Cancel(request_ids.cancel_by_removal()), now)
            if order.lease is not None and (order.attended or order.kind is not OrderKind.SESSION):
                fulfilled = order.kind is OrderKind.CAPACITY and order.state is State.RUNNING
                end = Release if fulfilled else Stop
                request_id = request_ids.account_removed(order.epoch)
                order = self.store.apply(order.id, end(request_id, order.epoch, order.lease.launcher), now)
        except (WrongState, LeaseLost, NotFound):
            return  # it has ended since
        self.outputs.abandon(order)

    def _each(self, action: Callable[[Order], None], orders: Sequence[Order]) -> None:
        """Run the action on each order. Raises Unavailable if it did not end for all of them in time."""

        def done(order: Order) -> bool:
            action(order)
            return True

        if len(run_all(done, orders, TIME_BUDGET)) < len(orders):
            raise Unavailable(NOT_DONE)
