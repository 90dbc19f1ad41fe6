"""Creates, lists and deletes accounts, and replaces their keys.

A key is shown once, and only its digest is stored. A crash between two steps leaves at worst a key that nobody knows,
or an account without a key: never a valid key without an account.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from functions.domain.access import ApiKey, digest
from functions.domain.accounts import ROLE_OF, Account, AccountType, Enrolment
from functions.domain.refusals import Conflict, NotFound
from functions.engine.enrolments import Enrolments
from functions.engine.pools import Pools
from functions.ports import KeyStore, Records

NO_ACCOUNT: Final = "Account not found"
MAX_ACCOUNTS: Final = 10_000
"""The number of accounts that a list reads."""
KEY_BYTES: Final = 24


@dataclass(frozen=True, slots=True)
class Accounts:
    """`new_secret` returns this number of random bytes in URL-safe base64."""

    records: Records[Account]
    keys: KeyStore
    enrolments: Enrolments
    pools: Pools
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
        key_prefix: str,
    ) -> tuple[Account, str]:
        """Return a new account and its key, and use up the enrolment. Raises Conflict, UnusableEnrolment, Unavailable.

        If this raises, the enrolment can be used again.
        """
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
        )
        with self.enrolments.used(enrolment, account.id):
            self._admit(account.key_digest, account)
            try:
                self.records.add(name, account)
            except Conflict:
                self._withdraw([account.key_digest])
                raise Conflict(f"Account '{name}' already exists") from None
        return account, key

    def get(self, account_id: str) -> Account:
        """Return the account. Raises NotFound, and Unavailable if another version wrote the record."""
        for account in self.records.find_every("id", account_id, 1):
            return account
        raise NotFound(NO_ACCOUNT)

    def list_accounts(self, takes: Callable[[Account], bool]) -> Sequence[Account]:
        """Return the accounts that `takes` accepts, oldest first."""
        found = filter(takes, self.records.all(MAX_ACCOUNTS))
        return sorted(found, key=lambda account: (account.created_at, account.id))

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
            return replace(stored, key_digest=key_digest, retired=(*retired, stored.key_digest))

        self._withdraw(account.retired)
        self._admit(key_digest, account)
        try:
            changed = self.records.change(account.name, rekeyed)
        except NotFound:
            self._withdraw([key_digest])
            raise NotFound(NO_ACCOUNT) from None
        self._withdraw(changed.retired)
        return key, self.clock()

    def delete(self, account: Account) -> None:
        """Remove the account with its keys, and give up its pools. Raises Unavailable.

        The keys are removed first. Pools are given up twice, because a purchase may have been in progress; any later
        purchase finds that the account is gone.
        """
        self.pools.of_account(account.id)  # before any change: if one cannot be read, the caller must try again
        self._withdraw([account.key_digest, *account.retired])
        self._give_up_pools(account)
        gone = self.records.take(account.name, lambda stored: stored.id == account.id)
        if gone is not None:  # its key may have been replaced since it was read
            self._withdraw([gone.key_digest, *gone.retired])
        self._give_up_pools(account)

    def _give_up_pools(self, account: Account) -> None:
        for pool in self.pools.of_account(account.id):
            if pool.standing:
                self.pools.give_up(pool)

    def _admit(self, key_digest: str, account: Account) -> None:
        self.keys.add(ApiKey(key_digest, ROLE_OF[account.account_type], account.id, True, account.datacenters))

    def _withdraw(self, key_digests: Iterable[str]) -> None:
        for key_digest in key_digests:
            self.keys.remove(key_digest)
