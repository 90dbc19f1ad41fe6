"""Makes the file of a host's Google credentials: what the pool's configuration has, and the host's private key.

Every command of the launcher loads this module, so Google's library is loaded only to check a key.
"""

import json
from pathlib import Path
from typing import Any, Final

from launcher.installation.config import ExternalAccount, ServiceAccount
from launcher.installation.files import CREDENTIALS, File, inside

OPTION: Final = "--private-key-file"
PRIVATE_KEY: Final = "private_key"


class CredentialsIncomplete(Exception):
    """The message says what to do, and repeats nothing of a key."""


def file_of(credentials: ExternalAccount | ServiceAccount | None, private_key: Path | None, root: Path) -> File | None:
    """Return the file to which GOOGLE_APPLICATION_CREDENTIALS leads; None if the pool has no credentials.

    `private_key` is None if the installed one stays. Raises CredentialsIncomplete.
    """
    if not isinstance(credentials, ServiceAccount):
        if private_key is not None:
            raise CredentialsIncomplete(f"{OPTION} is not needed: the pool has no public_key. Leave it out.")
        return None if credentials is None else _file(credentials.model_dump(exclude_none=True))
    document = credentials.model_dump(exclude_none=True)
    if private_key is not None:
        return _file(_with_key(document, private_key))
    kept = _installed(root)
    if kept.get("private_key_id") != credentials.private_key_id or not kept.get(PRIVATE_KEY):
        raise CredentialsIncomplete(
            f"{OPTION} is missing: the pool's launchers prove themselves with a key pair. Give the file of the private "
            "key that belongs to its public_key."
        )
    return _file({**document, PRIVATE_KEY: kept[PRIVATE_KEY]})


def _file(document: dict[str, Any]) -> File:
    return File(CREDENTIALS, json.dumps(document, indent=2).encode() + b"\n")


def _with_key(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the document with the key of this file, once Google's library has signed something with it."""
    try:
        complete = {**document, PRIVATE_KEY: path.read_text(encoding="ascii")}
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not PEM"
        raise CredentialsIncomplete(f"{OPTION}: {path} cannot be read ({why}).") from None
    from google.auth.exceptions import GoogleAuthError
    from google.oauth2 import service_account

    try:
        credentials = service_account.Credentials.from_service_account_info(complete)  # type: ignore[no-untyped-call]
        credentials.sign_bytes(b"")
    except (ValueError, TypeError, AttributeError, GoogleAuthError):  # whose text may repeat the key
        raise CredentialsIncomplete(
            f"{OPTION}: {path} is not the private key of an RSA pair in PEM without a password: `openssl rsa -in FILE "
            "-check -noout` says what it is."
        ) from None
    return complete


def _installed(root: Path) -> dict[str, Any]:
    """Return the installed credentials; nothing if there are none that can be read."""
    try:
        document = json.loads(inside(root, CREDENTIALS).read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
