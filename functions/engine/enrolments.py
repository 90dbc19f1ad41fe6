"""Enrolment tokens: an operator gives one to a person, who creates one account with it.

A used token is marked with the account's id, not removed. So if the answer to the mark was lost, a repeat finds its own
mark, and if the account could not be created, the mark is removed again.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from functions.domain.access import digest
from functions.domain.accounts import DEFAULT_SCOPE, AccountType, Enrolment
from functions.domain.refusals import Forbidden, NotFound, Refusal
from functions.engine.concurrency import run_all
from functions.ports.records import Records

TOKEN_BYTES: Final = 32
FORGET_SECONDS: Final = 2.0
"""The time that one sweep spends on expired enrolments."""


class UnusableEnrolment(Forbidden):
    """The token is unknown, expired or used, or is for accounts of another type."""

    def __init__(self, account_type: AccountType) -> None:
        super().__init__(f"This token is unknown, expired, used, or not for {account_type} accounts.")
        self.account_type = account_type


@dataclass(frozen=True, slots=True)
class Enrolments:
    """`new_secret` returns this number of random bytes in URL-safe base64."""

    records: Records[Enrolment]
    clock: Callable[[], datetime]
    new_secret: Callable[[int], str]

    def issue(
        self, account_type: AccountType, valid: timedelta, prefix: str, datacenters: Iterable[str]
    ) -> tuple[str, Enrolment]:
        """Return a new token with this prefix, and its enrolment, for an account of at most this scope.

        Only the token's digest is stored.
        """
        token = f"{prefix}{self.new_secret(TOKEN_BYTES)}"
        largest = tuple(dict.fromkeys(datacenters)) or DEFAULT_SCOPE
        enrolment = Enrolment(digest(token), account_type, self.clock() + valid, datacenters=largest)
        self.records.add(enrolment.digest, enrolment)
        return token, enrolment

    def require(self, token: str, account_type: AccountType) -> Enrolment:
        """Return the token's enrolment. Raises UnusableEnrolment if no account of this type can be created with it."""
        enrolment = self.records.get(digest(token))
        if enrolment is None or not enrolment.valid(account_type, self.clock()):
            raise UnusableEnrolment(account_type)
        return enrolment

    @contextmanager
    def used(self, enrolment: Enrolment | None, account_id: str) -> Iterator[None]:
        """Mark the enrolment as used for this account; a Refusal in the block removes the mark. If it is None, do
        nothing.

        Raises UnusableEnrolment.
        """
        if enrolment is None:
            yield
            return

        def mark(stored: Enrolment) -> Enrolment:
            if stored.used_by not in (None, account_id):
                raise UnusableEnrolment(stored.account_type)
            return replace(stored, used_by=account_id)

        try:
            self.records.change(enrolment.digest, mark)
        except NotFound:
            raise UnusableEnrolment(enrolment.account_type) from None
        try:
            yield
        except Refusal:
            with suppress(NotFound):  # the enrolment has expired, and was removed
                self.records.change(
                    enrolment.digest,
                    lambda stored: replace(stored, used_by=None) if stored.used_by == account_id else stored,
                )
            raise

    def forget_expired(self, limit: int) -> int:
        """Remove at most `limit` expired enrolments, and return how many were removed. Raises Unavailable."""
        expired = self.records.before("expires_at", self.clock(), limit)
        return sum(run_all(lambda one: self.records.take(one.digest) is not None, expired, FORGET_SECONDS))
