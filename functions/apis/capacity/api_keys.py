"""Keys of the contract's accounts: shown once, kept by their digest."""

from collections.abc import Iterable
from typing import Final

from functions.app import App
from functions.domain.access import ApiKey
from functions.domain.accounts import ROLE_OF, Account

PREFIX: Final = "ee_live_"
RANDOM_BYTES: Final = 24
WARNING: Final = "Store this API key now: it is not shown again. Whoever has it acts as this account."


def new_key(app: App) -> str:
    return f"{PREFIX}{app.new_secret(RANDOM_BYTES)}"


def admit(key_digest: str, account: Account, app: App) -> None:
    """From now on the key is the account's, until it is withdrawn."""
    app.keys.add(ApiKey(key_digest, ROLE_OF[account.account_type], account.id, True, account.datacenters))


def withdraw(key_digests: Iterable[str], app: App) -> None:
    for key_digest in key_digests:
        app.keys.remove(key_digest)
