"""The port that issues credentials to images that upload by themselves."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol


class WorkerCredentials(StrEnum):
    """The bucket credentials that an image which uploads by itself gets.

    `TEMPORARY` are R2's, for one prefix and a short time, with a session token. `EMBEDDED` are the same with the token
    in the access key id, for images that know no session token; R2 does not accept them, the local stack does. `PLAIN`
    are the bucket's own, which reach everything in it until they are changed.
    """

    TEMPORARY = "temporary"
    EMBEDDED = "embedded"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class BucketCredentials:
    """What an S3 client needs to write below one prefix of the bucket. `endpoint` is None for Amazon's own."""

    account_id: str
    bucket: str
    endpoint: str | None
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(repr=False)


class CredentialIssuer(Protocol):
    """Issues credentials for images that upload by themselves."""

    def issue(self, prefix: str, now: datetime, valid: timedelta) -> BucketCredentials:
        """Return credentials that can write keys below `prefix` until `now + valid`; at most 7 days count.

        Raises Conflict if the bucket has no such credentials.
        """
