"""Makes what knows callers: accounts, operators, and whoever shows a token."""

import secrets
from collections.abc import Callable, Sequence
from typing import Final

from functions.domain.accounts import Account
from functions.engine.account_removals import AccountRemovals
from functions.engine.accounts import Accounts
from functions.engine.credentials import CallbackTokens, ChallengeNonces
from functions.engine.enrolments import Enrolments
from functions.engine.environments import CallbackAddresses
from functions.engine.operator_secrets import OperatorSecrets
from functions.engine.operator_sessions import SessionEnd, SessionEnds, Sessions
from functions.engine.quotas import TokenBucket
from functions.ports.clock import Clock, NewId
from functions.ports.keys import KeyStore
from functions.ports.records import Records
from functions.settings import AddressSettings, CallbackSettings, LoginSettings, OperatorSecretSettings, SignupSettings

NewSecret = Callable[[int], str]
"""Returns this number of random bytes in URL-safe base64."""


def accounts(
    records: Records[Account],
    keys: KeyStore,
    enrolments: Enrolments,
    removals: AccountRemovals,
    settings: SignupSettings,
    clock: Clock,
    new_id: NewId,
    new_secret: NewSecret,
) -> Accounts:
    signups = TokenBucket(settings.signups_a_minute / 60, settings.signups_a_minute, clock)
    return Accounts(records, keys, enrolments, removals, signups, settings.max_unconfirmed, clock, new_id, new_secret)


def sessions(callback: CallbackSettings, login: LoginSettings, ends: Records[SessionEnd], clock: Clock) -> Sessions:
    secret, previous = callback.secrets()
    password = None if login.admin_password is None else login.admin_password.get_secret_value()
    return Sessions(secret, password, login.password_login, previous=previous, ends=ends, clock=clock)


def callback_tokens(settings: CallbackSettings) -> CallbackTokens:
    return CallbackTokens(*settings.secrets())


def challenge_nonces(settings: CallbackSettings) -> ChallengeNonces:
    return ChallengeNonces(*settings.secrets())


def callback_addresses(address: AddressSettings, tokens: CallbackTokens) -> CallbackAddresses:
    return CallbackAddresses(address.url, tokens)


def operator_secrets(settings: OperatorSecretSettings) -> OperatorSecrets:
    return settings.operator_secrets()


def new_secret() -> NewSecret:
    return secrets.token_urlsafe


MAKERS: Final[Sequence[Callable[..., object]]] = (
    accounts,
    AccountRemovals,
    Enrolments,
    sessions,
    SessionEnds,
    callback_tokens,
    challenge_nonces,
    callback_addresses,
    operator_secrets,
    new_secret,
)
