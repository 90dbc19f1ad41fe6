"""What Compute Engine answers if it does not do as asked, and what that makes of an attempt.

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
from shared.domain.order import Failure, Reason

EXHAUSTED: Final = frozenset(
    {"ZONE_RESOURCE_POOL_EXHAUSTED", "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", "RESOURCE_POOL_EXHAUSTED"}
)
"""A zone without TDX is exhausted, too (with details): kubernetes-sigs/cluster-api-provider-gcp, issue 1437."""
QUOTA: Final = frozenset({"QUOTA_EXCEEDED", "quotaExceeded", "CPUS_ALL_REGIONS_QUOTA_EXCEEDED"})
RATE: Final = frozenset({"rateLimitExceeded", "RATE_LIMIT_EXCEEDED"})
FORBIDDEN: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
WRONG: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND})
"""Which of the two is a matter of the resource and of the year."""
MESSAGE_LENGTH: Final = 400


class Kind(Enum):
    """What a refusal is about, and so who can do better."""

    EXHAUSTED = auto()
    """This zone has none left; another may have, and this one later."""
    LACKING = auto()
    """This zone never has such a machine; another may."""
    NO_ZONE = auto()
    """There is no such zone."""
    ORDER = auto()
    """What the order itself says is refused: no launcher, and no zone, would do better."""
    CREDENTIALS = auto()
    IMAGE = auto()
    OTHER = auto()
    """Such as the network or the disk that this launcher asks for: the next order's instance is refused, too."""


@dataclass(frozen=True, slots=True)
class Row:
    """Refusals of a kind: of one of these statuses, and one of these codes, with these words. Empty is any."""

    kind: Kind
    statuses: frozenset[HTTPStatus] = frozenset()
    codes: frozenset[str] = frozenset()
    words: str = ""

    def fits(self, refused: "Refused") -> bool:
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
"""The first row that fits counts; what none fits is OTHER. The words are those that its clients' users report."""

OF_KIND: Final[dict[Kind, Class]] = {
    Kind.EXHAUSTED: NO_CAPACITY,
    Kind.LACKING: (Reason.LAUNCH_FAILED, Failure.PERMANENT),
    Kind.NO_ZONE: (Reason.LAUNCH_FAILED, Failure.PERMANENT),
    Kind.ORDER: (Reason.LAUNCH_FAILED, Failure.PERMANENT),
    Kind.CREDENTIALS: (Reason.HYPERVISOR_MISSING, Failure.RETRYABLE),  # it starts nothing, as a host without QEMU
    Kind.IMAGE: (Reason.IMAGE_MISSING, Failure.RETRYABLE),
    Kind.OTHER: OTHER,
}
"""A permanent failure is its order's alone; for all others the provider rests."""


OF_ZONE: Final = frozenset({Kind.LACKING, Kind.NO_ZONE})
WORTH_TELLING: Final = (Kind.EXHAUSTED, Kind.LACKING)
"""Of several zones' refusals, the first of the first of these; else the last one."""


class ComputeError(Exception):
    """Compute Engine did not do as asked: `Refused` with its answer, or `NoAnswer` without one."""


class NoAnswer(ComputeError):
    """No answer, or none but to try again: the request may or may not have been carried out."""


class Refused(ComputeError):
    """`code` is Compute Engine's word, `status` the HTTP status; either may be empty or 0.

    `begun`: the request was taken, and its operation failed or cannot be asked for; or an earlier one may have been
    taken that was not answered.
    """

    def __init__(self, code: str, status: int, message: str, begun: bool = False) -> None:
        super().__init__(f"{code or status}: {message[:MESSAGE_LENGTH]}")
        self.code, self.status, self.begun = code, status, begun

    @property
    def kind(self) -> Kind:
        return next((row.kind for row in KINDS if row.fits(self)), Kind.OTHER)

    @property
    def taken(self) -> bool:
        return self.status == HTTPStatus.CONFLICT

    @property
    def nothing_there(self) -> bool:
        """Whether what was named is not there; in a zone that is not there, nothing is."""
        return self.status == HTTPStatus.NOT_FOUND or self.kind is Kind.NO_ZONE


def launch_failed(refusals: Sequence[Refused], names_zone: bool) -> LaunchFailed:
    """Return the failure that the refusals amount to, one for each zone that was tried.

    If any zone may have room later, the order waits. If none ever will, that is the order's failure only if it names a
    zone (`names_zone`): else the zones, and their machine type, are this launcher's settings alone.
    """
    told = next((one for kind in WORTH_TELLING for one in refusals if one.kind is kind), refusals[-1])
    reason, failure = OF_KIND[told.kind] if names_zone or told.kind not in OF_ZONE else OTHER
    return LaunchFailed(f"Compute Engine refused the instance: {told}", reason, failure)
