"""Accounts of those who pay for orders, and of those who fulfil them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from functions.domain.access import Role
from shared.domain import datacenters


class AccountType(StrEnum):
    DEPLOYER = "deployer"
    AGENT = "agent"
    CONTRIBUTOR = "contributor"
    LAUNCHER = "launcher"


ROLE_OF: Final[Mapping[AccountType, Role]] = {
    AccountType.DEPLOYER: Role.CLIENT,
    AccountType.AGENT: Role.AGENT,
    AccountType.CONTRIBUTOR: Role.CONTRIBUTOR,
    AccountType.LAUNCHER: Role.LAUNCHER,
}
PRIVILEGED: Final = frozenset({AccountType.DEPLOYER, AccountType.AGENT, AccountType.LAUNCHER})
"""Accounts of these types can start machines or claim orders, so not everyone may create one."""
NOBODY: Final = "-"
"""The account of the orders of the operator's own pools."""


@dataclass(frozen=True, slots=True)
class Account:
    """Stored under its name, so that names are unique.

    `datacenters` are those that a launcher may claim for (`gcp`, or `gcp:us-central1-a`); empty means all. `retired`
    holds digests of former keys that may still have to be removed.
    """

    id: str
    name: str
    account_type: AccountType
    description: str
    key_digest: str
    created_at: datetime
    datacenters: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A right to create one account of a type, stored under its token's SHA-256. `used_by` is that account's id."""

    digest: str
    account_type: AccountType
    expires_at: datetime
    used_by: str | None = None

    def valid(self, account_type: AccountType, now: datetime) -> bool:
        """Return whether the enrolment can create an account of this type now."""
        return self.used_by is None and self.account_type is account_type and now < self.expires_at


def scope(text: str) -> str:
    """Return a cloud or a datacenter as `Account.datacenters` has it: `Google` becomes `gcp`. Raises ValueError."""
    datacenter = datacenters.parse(text)
    return datacenter if ":" in text else datacenter.partition(":")[0]
