"""The worker's credential: a token for one order at one epoch. It is derived, not stored."""

import base64
import hashlib
import hmac
from typing import Final

MARK: Final = "_"
MAX_EPOCH_DIGITS: Final = 9


class CallbackTokens:
    """Derives tokens from one secret: the same order and epoch always get the same token."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def issue(self, order_id: str, epoch: int) -> str:
        """Return the token: HMAC-SHA256 (RFC 2104) over `order_id|epoch`, in URL-safe base64 without padding."""
        return self._derive(f"{order_id}|{epoch}")

    def verify(self, order_id: str, epoch: int, token: str) -> bool:
        """Return, in constant time, whether `token` belongs to this order and epoch."""
        return hmac.compare_digest(self.issue(order_id, epoch).encode(), token.encode())

    def bootstrap(self, order_id: str, epoch: int) -> str:
        """Return the token with which one agent registers as the agent of this order's machine: 32 bytes in the same
        form.
        """
        return self._derive(f"{order_id}|{epoch}|bootstrap")

    def verify_bootstrap(self, order_id: str, epoch: int, token: str) -> bool:
        return hmac.compare_digest(self.bootstrap(order_id, epoch).encode(), token.encode())

    def secret(self, order_id: str, epoch: int) -> str:
        """Return the worker's credential as one segment of a path: `<epoch>_<token>`."""
        return f"{epoch}{MARK}{self.issue(order_id, epoch)}"

    def epoch_of(self, order_id: str, secret: str) -> int | None:
        """Return the epoch for which `secret` is this order's; None if it is not this order's at any epoch."""
        epoch, _, token = secret.partition(MARK)
        if not (epoch.isascii() and epoch.isdigit() and len(epoch) <= MAX_EPOCH_DIGITS):
            return None
        return int(epoch) if self.verify(order_id, int(epoch), token) else None

    def _derive(self, what: str) -> str:
        mac = hmac.digest(self._secret, what.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
