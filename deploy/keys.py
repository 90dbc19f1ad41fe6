"""The API keys in a deployment's Firestore: makes, lists and removes them with the operator's own credentials.

The first admin key cannot come from the control plane, which asks for a key itself. Only digests are stored.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypedDict

from pydantic import ValidationError

from deploy.credentials import LOGIN_ADVICE
from deploy.google import DISABLED, LoggedOut
from functions.domain.access import KEY_BYTES, KEY_PREFIX, ApiKey, Role, digest
from functions.domain.accounts import DEFAULT_SCOPE, NOBODY
from functions.domain.accounts import scope as scope_of

if TYPE_CHECKING:
    from google.cloud.firestore import Client

ACCOUNT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,199}")
PREFIX: Final = re.compile(r"[0-9a-f]{8,64}")
SHOWN: Final = 12
"""The number of a digest's characters in a list."""
PAGE: Final = 500
"""How many documents one request reads."""


class KeyRefused(Exception):
    """The message says what to do instead."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """`key` is None if another version of the control plane wrote the document."""

    digest: str
    key: ApiKey | None
    made_at: datetime | None


class KeyDocument(TypedDict):
    digest: str
    role: str
    account: str
    scope: list[str]
    made: str


def new_key(role: Role, account: str, scope: Sequence[str], new_secret: Callable[[int], str]) -> tuple[str, ApiKey]:
    """Return a key and what is stored of it. `new_secret` returns that many random bytes in URL-safe base64.

    The scope of a launcher's key that was given none excludes the orders that need `secrets`. Raises KeyRefused.
    """
    if not ACCOUNT.fullmatch(account) or account == NOBODY:
        raise KeyRefused("--account: up to 200 letters, digits and . _ @ -, a letter or digit first")
    if scope and role is not Role.LAUNCHER:
        raise KeyRefused("--scope: only launchers' keys have one; leave it out, or choose --role launcher")
    try:
        words = tuple(dict.fromkeys(scope_of(word) for word in scope))
    except ValueError as error:
        raise KeyRefused(f"--scope: {error}") from None
    limits = (words or DEFAULT_SCOPE) if role is Role.LAUNCHER else ()
    key = f"{KEY_PREFIX}{new_secret(KEY_BYTES)}"
    return key, ApiKey(digest(key), role, account, revocable=True, datacenters=limits)


def add(client: "Client", key: ApiKey) -> None:
    """Raises KeyRefused if the database cannot be written."""
    from functions.adapters.firestore_keys import FirestoreKeyStore

    with _reaching(client):
        FirestoreKeyStore(client).add(key)


def stored(client: "Client") -> Sequence[StoredKey]:
    """Return all keys, sorted by role and account. Raises KeyRefused if the database cannot be read."""
    with _reaching(client):
        found = list(_all(client))
    return sorted(found, key=lambda one: (*((one.key.role, one.key.account) if one.key else ("", "")), one.digest))


def remove(client: "Client", prefix: str) -> StoredKey:
    """Remove the one key whose digest begins with `prefix`, and return it. Raises KeyRefused."""
    from functions.adapters.firestore_keys import FirestoreKeyStore

    if not PREFIX.fullmatch(prefix):
        raise KeyRefused(
            "Name a key by the first 8 or more characters of its digest, as `launchyard deploy keys` shows"
        )
    matching = [one for one in stored(client) if one.digest.startswith(prefix)]
    if len(matching) != 1:
        count = "No key has" if not matching else f"{len(matching)} keys have"
        raise KeyRefused(f"{count} a digest that begins with {prefix}: see `launchyard deploy keys`")
    with _reaching(client):
        FirestoreKeyStore(client).remove(matching[0].digest)
    return matching[0]


def document(stored_key: StoredKey) -> "KeyDocument":
    """Return what a list shows of a key."""
    key, made_at = stored_key.key, stored_key.made_at
    return {
        "digest": stored_key.digest,
        "role": key.role if key else "of another version",
        "account": key.account if key else "",
        "scope": list(key.datacenters) if key else [],
        "made": made_at.isoformat(timespec="seconds") if made_at else "",
    }


def _all(client: "Client") -> Iterator[StoredKey]:
    from functions.adapters.firestore_calls import ONCE, persistently
    from functions.adapters.firestore_keys import API_KEY, API_KEYS

    every, last = client.collection(API_KEYS).order_by("__name__").limit(PAGE), None
    while True:
        query = every if last is None else every.start_after(last)
        page = persistently(lambda asked=query: list(asked.stream(**ONCE)))()
        for document in page:
            try:
                key = API_KEY.validate_python(document.to_dict())
            except ValidationError:
                key = None
            yield StoredKey(document.id, key, document.create_time)
        if len(page) < PAGE:
            return
        last = page[-1]


@contextmanager
def _reaching(client: "Client") -> Iterator[None]:
    """Raise KeyRefused for what Firestore refuses, with the next step."""
    from google.api_core.exceptions import Forbidden, GoogleAPICallError, InvalidArgument, NotFound
    from google.auth.exceptions import GoogleAuthError

    from functions.domain.refusals import Unavailable

    try:
        yield
    except NotFound:
        raise KeyRefused(f"There is no database {client._database}: name it with --database") from None
    except InvalidArgument:
        raise KeyRefused("Firestore takes no such project or database: correct --project and --database") from None
    except Forbidden as error:
        if error.reason == DISABLED:
            raise KeyRefused("The project has no Firestore yet: run `terraform apply` first") from None
        raise KeyRefused("Firestore denies access: this needs the role roles/datastore.user") from None
    except GoogleAuthError as error:
        raise LoggedOut(f"Google issued no token ({type(error).__name__}): {LOGIN_ADVICE}") from None
    except (GoogleAPICallError, Unavailable) as error:
        raise KeyRefused(f"Firestore does not answer ({type(error).__name__}): run the command again") from None
