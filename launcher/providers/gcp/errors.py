"""Compute Engine's refusals, and the failure that each means for an attempt.

https://cloud.google.com/compute/docs/troubleshooting/troubleshooting-vm-creation and, of zones without room,
https://cloud.google.com/compute/docs/troubleshooting/troubleshooting-resource-availability
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Final

from launcher.machines.failures import NO_CAPACITY, OTHER, Class
from launcher.machines.port import LaunchFailed
from launcher.machines.remote.cloud import CloudError
from shared.domain.order import Failure, Reason

EXHAUSTED: Final = frozenset(
    {"ZONE_RESOURCE_POOL_EXHAUSTED", "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", "RESOURCE_POOL_EXHAUSTED"}
)
"""A zone without TDX is exhausted, too (with details): kubernetes-sigs/cluster-api-provider-gcp, issue 1437."""
QUOTA: Final = frozenset({"QUOTA_EXCEEDED", "quotaExceeded", "CPUS_ALL_REGIONS_QUOTA_EXCEEDED"})
RATE: Final = frozenset({"rateLimitExceeded", "RATE_LIMIT_EXCEEDED"})
FORBIDDEN: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
WRONG: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND})
"""Which of the two it answers depends on the resource, and has changed over the years."""
MAX_MESSAGE_LENGTH: Final = 400


class Kind(Enum):
    """What a refusal is about, and so whether another zone or launcher may do better."""

    EXHAUSTED = auto()
    """The zone has no machine left; another may, and this one may later."""
    LACKING = auto()
    """The zone never has such a machine; another may."""
    NO_ZONE = auto()
    """There is no such zone."""
    ORDER = auto()
    """The order itself is refused: no launcher and no zone would do better."""
    CREDENTIALS = auto()
    IMAGE = auto()
    OTHER = auto()
    """Such as a network or disk of this launcher's settings: the next order's instance is refused, too."""


@dataclass(frozen=True, slots=True)
class Row:
    """Refusals of a kind: with one of these statuses, one of these codes, and these words. Empty means any."""

    kind: Kind
    statuses: frozenset[HTTPStatus] = frozenset()
    codes: frozenset[str] = frozenset()
    words: str = ""

    def fits(self, refused: "ComputeRefused") -> bool:
        return (
            (not self.codes or refused.code in self.codes)
            and (not self.statuses or refused.status in self.statuses)
            and re.search(self.words, str(refused)) is not None
        )


KINDS: Final = (
    Row(Kind.EXHAUSTED, codes=EXHAUSTED | QUOTA),
    Row(Kind.CREDENTIALS, FORBIDDEN),
    Row(Kind.LACKING, WRONG, words=r"[Mm]achine type .*does not exist in zone|/machineTypes/[^/' ]+' was not found"),
    Row(Kind.LACKING, WRONG, words=r"(?i)(TDX|confidential).*not (supported|available) (in|by) (the |this )?zone"),
    Row(Kind.NO_ZONE, WRONG, words=r"field 'zone'.*Unknown zone|(zone |/zones/)[^/ ]+ was not found"),
    Row(Kind.IMAGE, WRONG, words=r"/images/|sourceImage|TDX compatible image"),
    Row(Kind.ORDER, WRONG, words=r"field 'resource\.(name|labels|metadata)\b"),
)
"""The first row that fits counts; a refusal that fits none is OTHER. The words are from reports of users."""

OF_KIND: Final[dict[Kind, Class]] = {
    Kind.EXHAUSTED: NO_CAPACITY,
    Kind.LACKING: (Reason.LAUNCH_FAILED, Failure.PERMANENT),
    Kind.NO_ZONE: (Reason.LAUNCH_FAILED, Failure.PERMANENT),
    Kind.ORDER: (Reason.LAUNCH_FAILED, Failure.PERMANENT),
    Kind.CREDENTIALS: (Reason.HYPERVISOR_MISSING, Failure.RETRYABLE),  # like a host without QEMU, it starts nothing
    Kind.IMAGE: (Reason.IMAGE_MISSING, Failure.RETRYABLE),
    Kind.OTHER: OTHER,
}
"""A permanent failure is about the order only; after any other, the provider rests."""

OF_ZONE: Final = frozenset({Kind.LACKING, Kind.NO_ZONE})
REPORTED_FIRST: Final = (Kind.EXHAUSTED, Kind.LACKING)
"""Of the refusals of several zones, the first of these kinds is reported; else the last refusal."""


class ComputeError(CloudError):
    """Compute Engine did not do as asked: `ComputeRefused` with its answer, or `ComputeUnreachable` without one."""


class ComputeUnreachable(ComputeError):
    """No answer, or one that says to try again: the request may or may not have been carried out."""


class ComputeRefused(ComputeError):
    """`code` is Compute Engine's word, `status` the HTTP status; either may be empty or 0.

    `begun` is true if an instance may exist: the request was accepted, but its operation failed or cannot be read; or
    an earlier, unanswered request may have been accepted.
    """

    def __init__(self, code: str, status: int, message: str, begun: bool = False) -> None:
        super().__init__(f"{code or status}: {message[:MAX_MESSAGE_LENGTH]}")
        self.code, self.status, self.begun = code, status, begun

    @property
    def kind(self) -> Kind:
        return next((row.kind for row in KINDS if row.fits(self)), Kind.OTHER)

    @property
    def taken(self) -> bool:
        return self.status == HTTPStatus.CONFLICT

    @property
    def not_found(self) -> bool:
        """True if there is no such resource, or no such zone."""
        return self.status == HTTPStatus.NOT_FOUND or self.kind is Kind.NO_ZONE


def launch_failed(refusals: Sequence[ComputeRefused], names_zone: bool) -> LaunchFailed:
    """Return the failure that follows from the refusals, one for each zone that was tried.

    If any zone may have room later, the order waits. If none ever will, that is the order's failure only if it names a
    zone (`names_zone`): else the zones, and their machine type, are this launcher's settings alone.
    """
    reported = next((one for kind in REPORTED_FIRST for one in refusals if one.kind is kind), refusals[-1])
    reason, failure = OF_KIND[reported.kind] if names_zone or reported.kind not in OF_ZONE else OTHER
    return LaunchFailed(f"Compute Engine refused the instance: {reported}", reason, failure)
