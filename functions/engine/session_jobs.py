"""Finds the jobs of an agent's session, by the session's name."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from functions.domain.holder import account_of
from functions.domain.order import HELD, OPEN, Order
from functions.ports.orders import OrderQuery, OrderStore
from shared.domain.order import State
from shared.domain.spec import SessionSpec

PAGE: Final = 50
"""The number of jobs that are read at a time."""
MAX_READ: Final = 500
"""The number of held jobs of one name, of all accounts, among which a session's own is looked for."""


@dataclass(frozen=True, slots=True)
class SessionJobs:
    store: OrderStore

    def last(self, account: str, name: str) -> Order | None:
        """Return the newest job that has not ended; if all have, the newest. Raises Unavailable."""
        return self._newest(account, name, OPEN, frozenset())

    def to_stop(self, account: str, name: str) -> Order | None:
        """Return the job that a launcher has, or else the newest that waits; None if all have ended."""
        return self._newest(account, name, HELD, OPEN)

    def held(self, account: str, name: str) -> Order | None:
        """Return the newest job that a launcher has; None if none has one. Raises Unavailable."""
        return self._newest(account, name, HELD)

    def held_for(self, account: str, name: str) -> tuple[Order, SessionSpec] | None:
        """Return the newest job of this name that a launcher of the account has, or that belongs to the account.

        An executor knows only the name of the session that it runs for. So return None if such jobs belong to several
        accounts, or are among too many: one account must not get the session of another. Raises Unavailable.
        """
        found: tuple[Order, SessionSpec] | None = None
        for number, order in enumerate(self._pages(OrderQuery(states=HELD, session_name=name, limit=PAGE))):
            if number >= MAX_READ:
                return None
            holder = "" if order.lease is None else account_of(order.lease.launcher)
            if account not in (order.account, holder) or not isinstance(order.spec, SessionSpec):
                continue
            if found is not None and order.account != found[0].account:
                return None
            found = found or (order, order.spec)
        return found

    def _newest(self, account: str, name: str, *preferred: frozenset[State]) -> Order | None:
        """Return the newest job in the first of these sets of states in which there is one; the empty set is any."""
        for states in preferred:
            query = OrderQuery(account=account, session_name=name, states=states, limit=1)
            for order in self.store.page(query).orders:
                return order
        return None

    def _pages(self, query: OrderQuery) -> Iterator[Order]:
        """Yield the orders of all pages."""
        page = self.store.page(query)
        yield from page.orders
        while page.next is not None:
            page = self.store.page(replace(query, after=page.next))
            yield from page.orders
