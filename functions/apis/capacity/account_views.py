"""Accounts in the contract's words. Times are in UTC, balances in USD."""

from datetime import datetime
from operator import not_
from typing import Annotated, Final

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from functions.domain.accounts import AccountType
from functions.domain.refusals import Malformed

UNKNOWN_TYPE: Final = f"Invalid account_type. Expected one of: {', '.join(AccountType)}"


class AccountFields(BaseModel):
    """What every answer tells of an account."""

    model_config = ConfigDict(from_attributes=True)

    account_id: Annotated[str, Field(validation_alias=AliasChoices("account_id", "id"))]
    name: str
    description: str
    account_type: AccountType
    balance: float
    created_at: datetime


class AccountView(AccountFields):
    """`datacenters` is an addition of ours, only there where a launcher is held to some."""

    github_login: str | None
    github_org: str | None
    datacenters: Annotated[tuple[str, ...], Field(exclude_if=not_)]


def account_type(text: str) -> AccountType:
    """Raises Malformed: what is no type is 400 here, not 422."""
    if text not in list(AccountType):
        raise Malformed(UNKNOWN_TYPE)
    return AccountType(text)
