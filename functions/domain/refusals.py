"""Why a request was refused. Each refusal belongs to a family, and the HTTP layer maps each family to a status.

Refusal
├─ Malformed          the request cannot be read
├─ Invalid            the request can be read, but fields are wrong (`fields` names each)
├─ Unauthenticated    there is no credential, or it is not valid
├─ Forbidden          the credential does not permit this
├─ NotFound           it does not exist, or this account may not see it
├─ Conflict           the request contradicts what is stored
│  ├─ WrongState      the order's state does not allow it (`state`)
│  ├─ LeaseLost       the sender's epoch is over: it must destroy its machine
│  └─ KeyReused       the Idempotency-Key was used for another body
├─ Gone               it existed, and was removed
├─ TooLarge           the request exceeds a size limit
├─ QuotaExceeded      the caller has used up a quota (`quota`); it may try again later
└─ Unavailable        not possible now; the same request may be sent again
└─ OtherVersion    another version of the control plane wrote it, and this one cannot read it
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Final

from shared.wire.problems import OTHER_VERSION

NO_FIELDS: Final[Mapping[str, str]] = MappingProxyType({})


class Refusal(Exception):
    """A request was refused. The message tells its sender why."""

    code: ClassVar[str] = "refused"
    title: ClassVar[str] = "Refused"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Malformed(Refusal):
    code = "malformed"
    title = "The request cannot be read"


class Invalid(Refusal):
    """`fields` maps the dotted path of each wrong field to a description of the error."""

    code = "invalid"
    title = "Some fields are wrong"

    def __init__(self, message: str, fields: Mapping[str, str] = NO_FIELDS) -> None:
        super().__init__(message)
        self.fields = fields


class Unauthenticated(Refusal):
    code = "unauthenticated"
    title = "A valid key is needed"


class Forbidden(Refusal):
    code = "forbidden"
    title = "This key may not do that"


class NotFound(Refusal):
    code = "not_found"
    title = "Not found"


class Conflict(Refusal):
    code = "conflict"
    title = "Conflict"


class WrongState(Conflict):
    """`state` is the order's current state."""

    code = "wrong_state"
    title = "The order's state does not allow it"

    def __init__(self, message: str, state: str) -> None:
        super().__init__(message)
        self.state = state


class LeaseLost(Conflict):
    code = "lease_lost"
    title = "The lease is over"


class KeyReused(Conflict):
    code = "idempotency_key_reused"
    title = "The Idempotency-Key was used for another request"


class Gone(Refusal):
    code = "gone"
    title = "It was removed"


class TooLarge(Refusal):
    code = "too_large"
    title = "Too large"


class QuotaExceeded(Refusal):
    """`quota` is the quota's name, `retry_seconds` the time after which the same request may be sent again."""

    code = "quota_exceeded"
    title = "A quota is used up"

    def __init__(self, quota: str, message: str, retry_seconds: int) -> None:
        super().__init__(f"{message} (quota: {quota})")
        self.quota, self.retry_seconds = quota, retry_seconds


class Unavailable(Refusal):
    code = "unavailable"
    title = "Not available now"


class OtherVersion(Unavailable):
    """The record exists, and an instance of the version that wrote it can answer."""

    code = OTHER_VERSION
