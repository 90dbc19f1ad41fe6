"""Workers' and agents' credentials, and the nonces of challenges. They are derived from one secret, not stored.

While the secret is rotated there is a second one: what was derived from it is accepted, and nothing is issued with it.
"""

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from typing import Final

MARK: Final = "_"
MAX_EPOCH_DIGITS: Final = 9
TIME_BYTES: Final = 4
SALT_BYTES: Final = 4
NONCE_BYTES: Final = 16


class CallbackTokens:
    """Derives tokens from one secret: the same order and epoch always get the same token.

    Tokens derived from `previous` are accepted, too.
    """

    def __init__(self, secret: str, previous: str | None = None) -> None:
        self._secret = secret.encode()
        self._accepted = tuple(one.encode() for one in (secret, previous) if one is not None)

    def issue(self, order_id: str, epoch: int) -> str:
        """Return the token: HMAC-SHA256 (RFC 2104) over `order_id|epoch`, in URL-safe base64 without padding."""
        return _derive(self._secret, _worker(order_id, epoch))

    def verify(self, order_id: str, epoch: int, token: str) -> bool:
        """Return, in constant time, whether `token` belongs to this order and epoch."""
        return self._accepts(token, _worker(order_id, epoch))

    def bootstrap(self, order_id: str, epoch: int) -> str:
        """Return the token with which one agent registers as the agent of this order's machine: 32 bytes in the same
        form.
        """
        return _derive(self._secret, _agent(order_id, epoch))

    def verify_bootstrap(self, order_id: str, epoch: int, token: str) -> bool:
        return self._accepts(token, _agent(order_id, epoch))

    def secret(self, order_id: str, epoch: int) -> str:
        """Return the worker's credential as one segment of a path: `<epoch>_<token>`."""
        return f"{epoch}{MARK}{self.issue(order_id, epoch)}"

    def epoch_of(self, order_id: str, secret: str) -> int | None:
        """Return the epoch for which `secret` is this order's; None if it is not this order's at any epoch."""
        epoch, _, token = secret.partition(MARK)
        if not (epoch.isascii() and epoch.isdigit() and len(epoch) <= MAX_EPOCH_DIGITS):
            return None
        return int(epoch) if self.verify(order_id, int(epoch), token) else None

    def _accepts(self, token: str, what: str) -> bool:
        return any(hmac.compare_digest(_derive(one, what).encode(), token.encode()) for one in self._accepted)


def _worker(order_id: str, epoch: int) -> str:
    return f"{order_id}|{epoch}"


def _agent(order_id: str, epoch: int) -> str:
    return f"{order_id}|{epoch}|bootstrap"


def _derive(secret: bytes, what: str) -> str:
    mac = hmac.digest(secret, what.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


class ChallengeNonces:
    """Derives the nonces of challenges, so that anyone may ask for any number of them without a write.

    A nonce has 16 bytes: the time of issue (4 bytes, seconds since 1970, big-endian), a salt (4 bytes), and the first 8
    bytes of an HMAC-SHA256 over these and the machine's name. The salt keeps two callers from getting the same nonce,
    which one of them could use up. Nonces derived from `previous` are accepted, too.
    """

    def __init__(self, secret: str, previous: str | None = None) -> None:
        secrets = [one.encode() for one in (secret, previous) if one is not None]
        self._keys = [hmac.digest(one, b"the key of nonces", hashlib.sha256) for one in secrets]

    def issue(self, vm_name: str, now: datetime, salt: bytes) -> bytes:
        head = int(now.timestamp()).to_bytes(TIME_BYTES, "big") + salt[:SALT_BYTES]
        return head + _mac(self._keys[0], head, vm_name)

    def issued_at(self, vm_name: str, nonce: bytes) -> datetime | None:
        """Return when the nonce was issued for the machine of this name; None if it was not."""
        head, mac = nonce[: TIME_BYTES + SALT_BYTES], nonce[TIME_BYTES + SALT_BYTES :]
        if not any(hmac.compare_digest(_mac(key, head, vm_name), mac) for key in self._keys):
            return None
        return datetime.fromtimestamp(int.from_bytes(head[:TIME_BYTES], "big"), UTC)


def _mac(key: bytes, head: bytes, vm_name: str) -> bytes:
    whole = hmac.digest(key, head + vm_name.encode(), hashlib.sha256)
    return whole[: NONCE_BYTES - TIME_BYTES - SALT_BYTES]
