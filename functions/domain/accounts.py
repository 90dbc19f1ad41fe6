"""Accounts of those who pay for orders, and of those who fulfil them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from functions.domain.access import Role
from shared.domain import datacenters
from shared.domain.lanes import SECRETS
from shared.domain.spec import ANY_POOL, EVERY


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
DEFAULT_SCOPE: Final = (EVERY, ANY_POOL)
"""The scope of a launcher account that was given none: everything but what needs `secrets`."""
SCOPE_WORDS: Final = frozenset({EVERY, ANY_POOL, SECRETS})
UNCONFIRMED_TTL: Final = timedelta(days=7)
"""After this time, the sweep removes an unconfirmed account whose key was never used, and confirms any other."""
NOBODY: Final = "-"
"""The account of the orders of the operator's own pools."""


@dataclass(frozen=True, slots=True)
class Account:
    """Stored under its name, so that names are unique.

    `datacenters` is the scope of a launcher's key (see `access.ApiKey`). `retired` holds digests of former keys that
    may still have to be removed. `unconfirmed` is true for an account that was created without an operator's consent,
    until the sweep has found that its key was used in its first days.
    """

    id: str
    name: str
    account_type: AccountType
    description: str
    key_digest: str
    created_at: datetime
    datacenters: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    unconfirmed: bool = False


@dataclass(frozen=True, slots=True)
class Removal:
    """The deletion of an account, stored under the account's id until nothing of the account can appear any more.

    `due_at` is when the sweep must look again for what is left.
    """

    account: str
    name: str
    began_at: datetime
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A right to create one account of a type, stored under its token's SHA-256. `used_by` is that account's id.

    `datacenters` is the largest scope that the account of a launcher may have.
    """

    digest: str
    account_type: AccountType
    expires_at: datetime
    used_by: str | None = None
    datacenters: tuple[str, ...] = DEFAULT_SCOPE

    def valid(self, account_type: AccountType, now: datetime) -> bool:
        """Return whether the enrolment can create an account of this type now."""
        return self.used_by is None and self.account_type is account_type and now < self.expires_at


def scope(text: str) -> str:
    """Return a word of a scope as `Account.datacenters` has it: `Google` becomes `gcp`. Raises ValueError."""
    if (word := text.strip().lower()) in SCOPE_WORDS:
        return word
    datacenter = datacenters.parse(text)
    return datacenter if ":" in text else datacenter.partition(":")[0]
