"""Creates, lists and deletes accounts, and replaces their keys.

A key is shown once, and only its digest is stored. A crash between two steps leaves at worst a key that nobody knows,
or an account without a key: never a valid key without an account.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from functions.domain.access import ApiKey, digest
from functions.domain.accounts import ROLE_OF, UNCONFIRMED_TTL, Account, AccountType, Enrolment
from functions.domain.refusals import Conflict, Invalid, NotFound, QuotaExceeded
from functions.engine.account_removals import AccountRemovals
from functions.engine.concurrency import run_all
from functions.engine.enrolments import Enrolments
from functions.engine.quotas import TokenBucket
from functions.engine.record_pages import every
from functions.ports.keys import KeyStore
from functions.ports.records import Records

NO_ACCOUNT: Final = "Account not found"
KEY_BYTES: Final = 24
BY: Final = "created_at"
"""The time by which accounts are listed."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
BEGINNING: Final = (0, "")
"""The place before every account in a list."""
MAX_DIGITS: Final = 18
"""The number of digits of a time in a page mark: microseconds until after the year 9999."""
SIGNUPS: Final = "signups"
"""The quota of accounts that are created without an operator's consent."""
SIGNUPS_A_MINUTE: Final = 60
MAX_UNCONFIRMED: Final = 1000
FULL_SECONDS: Final = 3600
"""When to try again if there are too many unconfirmed accounts."""
MAX_SETTLED: Final = 50
"""How many unconfirmed accounts a sweep looks at."""
TIME_BUDGET: Final = 10.0
"""Seconds that a sweep spends on them."""


@dataclass(frozen=True, slots=True)
class AccountPage:
    """A page of a list of accounts; `total` counts those of all pages, and `next` is the mark of the next page."""

    accounts: Sequence[Account]
    total: int
    next: str | None


@dataclass(frozen=True, slots=True)
class Accounts:
    """`signups` and `max_unconfirmed` limit the accounts that are created without an operator's consent.

    `new_secret` returns this number of random bytes in URL-safe base64.
    """

    records: Records[Account]
    keys: KeyStore
    enrolments: Enrolments
    removals: AccountRemovals
    signups: TokenBucket
    max_unconfirmed: int
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    new_secret: Callable[[int], str]

    def create(
        self,
        name: str,
        account_type: AccountType,
        description: str,
        datacenters: Iterable[str],
        enrolment: Enrolment | None,
        confirmed: bool,
        key_prefix: str,
    ) -> tuple[Account, str]:
        """Return a new account and its key, and use up the enrolment.

        `confirmed` is true if an operator has consented to the account. If this raises, the enrolment can be used
        again. Raises Conflict, UnusableEnrolment, QuotaExceeded, Unavailable.
        """
        if not confirmed:
            self._require_room()  # first: whether a name is taken is an answer of which there are so many a minute
        if self.records.get(name) is not None:
            raise Conflict(f"Account '{name}' already exists")
        key = f"{key_prefix}{self.new_secret(KEY_BYTES)}"
        account = Account(
            id=self.new_id(),
            name=name,
            account_type=account_type,
            description=description,
            key_digest=digest(key),
            created_at=self.clock(),
            datacenters=tuple(dict.fromkeys(datacenters)),
            unconfirmed=not confirmed,
        )
        with self.enrolments.used(enrolment, account.id):
            self._admit(account.key_digest, account)
            try:
                self.records.add(name, account)
            except Conflict:
                self.removals.withdraw([account.key_digest])
                raise Conflict(f"Account '{name}' already exists") from None
        return account, key

    def get(self, account_id: str) -> Account:
        """Return the account. Raises NotFound, and Unavailable if another version wrote the record."""
        for account in self.records.find_every("id", account_id, 1):
            return account
        raise NotFound(NO_ACCOUNT)

    def list_accounts(self, name: str, account_type: AccountType | None, limit: int, after: str | None) -> AccountPage:
        """Return a page of the accounts of this type whose names contain this text in any case, the oldest first.

        None stands for any type. `after` is the last page's `next`. No store finds a part of a name, so if there is
        one, every account of the type is read. Raises Invalid if `after` is not a page mark of such a list.
        """
        where = {} if account_type is None else {"account_type": account_type.value}
        if not name:
            page = self.records.page(where, BY, limit, after)
            return AccountPage(page.records, self.records.count(where), page.next)
        beyond = BEGINNING if after is None else _marked(after)
        named = [account for account in every(self.records, BY, where) if name.casefold() in account.name.casefold()]
        rest = sorted((account for account in named if _position(account) > beyond), key=_position)
        return AccountPage(rest[:limit], len(named), _mark(rest[limit - 1]) if len(rest) > limit else None)

    def settle_unconfirmed(self, limit: int) -> int:
        """Look at the oldest unconfirmed accounts, at most `limit`, whose time is over: confirm those whose keys were
        used, and remove the others. Return the number of removed ones. Raises Unavailable.
        """
        oldest = self.records.page({"unconfirmed": True}, BY, min(limit, MAX_SETTLED)).records
        over = [account for account in oldest if account.created_at + UNCONFIRMED_TTL <= self.clock()]
        return sum(run_all(self._settle, over, TIME_BUDGET))

    def rotate_key(self, account: Account, key_prefix: str) -> tuple[str, datetime]:
        """Return a new key of the account and the time; the old key is invalid from then on. Raises NotFound.

        The new key is stored before the account names it, and the old one is removed before this returns.
        """
        key = f"{key_prefix}{self.new_secret(KEY_BYTES)}"
        key_digest = digest(key)

        def rekeyed(stored: Account) -> Account:
            if stored.id != account.id:  # the account was deleted, and another has its name now
                raise NotFound(NO_ACCOUNT)
            if key_digest in (stored.key_digest, *stored.retired):  # a repeat: the answer to the first try was lost
                return stored
            retired = [one for one in stored.retired if one not in account.retired]
            retired = [*retired, stored.key_digest]
            return replace(stored, key_digest=key_digest, retired=tuple(retired), unconfirmed=False)

        self.removals.withdraw(account.retired)
        self._admit(key_digest, replace(account, unconfirmed=False))
        try:
            changed = self.records.change(account.name, rekeyed)
        except NotFound:
            self.removals.withdraw([key_digest])
            raise NotFound(NO_ACCOUNT) from None
        self.removals.withdraw(changed.retired)
        return key, self.clock()

    def delete(self, account: Account) -> None:
        """Remove the account with its keys, and end all that it has. Raises Unavailable; a repeat then goes on."""
        self.removals.remove(account)

    def _settle(self, account: Account) -> bool:
        key = self.keys.find(account.key_digest)
        if key is None or key.unused:
            self.removals.remove(account)
            return True
        with suppress(NotFound):
            self.records.change(
                account.name, lambda stored: replace(stored, unconfirmed=False) if stored.id == account.id else stored
            )
        return False

    def _require_room(self) -> None:
        """Raise QuotaExceeded if too many accounts are created without an operator's consent."""
        if wait := math.ceil(self.signups.try_take()):
            raise QuotaExceeded(SIGNUPS, f"Too many accounts are created now; try again in {wait} s.", wait)
        if self.records.count({"unconfirmed": True}) >= self.max_unconfirmed:
            message = "Too many accounts wait to be confirmed; ask the operator for one, or try again later."
            raise QuotaExceeded(SIGNUPS, message, FULL_SECONDS)

    def _admit(self, key_digest: str, account: Account) -> None:
        role = ROLE_OF[account.account_type]
        self.keys.add(ApiKey(key_digest, role, account.id, True, account.datacenters, account.unconfirmed))


def _position(account: Account) -> tuple[int, str]:
    """Return the account's place in a list: the microsecond of its creation (Unix time), and its id."""
    return (account.created_at - EPOCH) // timedelta(microseconds=1), account.id


def _mark(account: Account) -> str:
    """Return the mark of the page that follows this account, which may be deleted before that page is asked for."""
    created_at, account_id = _position(account)
    return f"{created_at}_{account_id}"


def _marked(mark: str) -> tuple[int, str]:
    """Return the place of a mark. Raises Invalid."""
    created_at, _, account_id = mark.partition("_")
    if not (created_at.isascii() and created_at.isdigit() and len(created_at) <= MAX_DIGITS):
        raise Invalid("The page mark is not one of ours.", {"after": "pass the `next` of the page before"})
    return int(created_at), account_id
