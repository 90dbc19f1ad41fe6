"""Compute Engine's refusals, and the failure that each means for an attempt.

https://cloud.google.com/compute/docs/troubleshooting/troubleshooting-vm-creation and, of zones without room,
https://cloud.google.com/compute/docs/troubleshooting/troubleshooting-resource-availability
"""

from collections.abc import Sequence
from enum import Enum, auto
from http import HTTPStatus
from typing import Final

from launcher.machines.failures import NO_CAPACITY, OTHER, Class
from launcher.machines.port import Concerns, LaunchFailed
from launcher.machines.remote.cloud import CloudError
from launcher.machines.remote.refusals import RefusalRule, kind_of
from shared.domain.order import Failure, Reason

EXHAUSTED: Final = frozenset(
    {"ZONE_RESOURCE_POOL_EXHAUSTED", "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", "RESOURCE_POOL_EXHAUSTED"}
)
"""A zone without TDX is exhausted, too (with details): kubernetes-sigs/cluster-api-provider-gcp, issue 1437."""
QUOTA_OF_PROJECT: Final = frozenset({"CPUS_ALL_REGIONS_QUOTA_EXCEEDED"})
QUOTA: Final = frozenset({"QUOTA_EXCEEDED", "quotaExceeded"}) | QUOTA_OF_PROJECT
"""The first two are mostly about one region (https://cloud.google.com/compute/resource-usage)."""
RATE: Final = frozenset({"rateLimitExceeded", "RATE_LIMIT_EXCEEDED"})
FORBIDDEN: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
WRONG: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND})
"""Which of the two it answers depends on the resource, and has changed over the years."""
MAX_MESSAGE_LENGTH: Final = 400


class ComputeRefusalKind(Enum):
    """What a refusal is about, and so whether another zone or launcher may do better."""

    EXHAUSTED = auto()
    """The zone has no machine left; another may, and this one may later."""
    USED_UP = auto()
    """A quota of the project is reached."""
    LACKING = auto()
    """The zone never has such a machine; another may."""
    NO_ZONE = auto()
    """There is no such zone."""
    ORDER = auto()
    """The order itself is refused: no launcher and no zone would do better."""
    CREDENTIALS = auto()
    IMAGE = auto()
    OTHER = auto()
    """Such as a network or disk of this launcher's settings: the next order's instance is refused, too, unless the zone
    is one that only this order names."""


KINDS: Final = (
    RefusalRule(ComputeRefusalKind.EXHAUSTED, codes=EXHAUSTED),
    RefusalRule(ComputeRefusalKind.USED_UP, codes=QUOTA),
    RefusalRule(
        ComputeRefusalKind.NO_ZONE, FORBIDDEN | WRONG, words=r"denied on 'locations/[^']*' \(or it may not exist\)"
    ),
    RefusalRule(ComputeRefusalKind.CREDENTIALS, FORBIDDEN),
    RefusalRule(
        ComputeRefusalKind.LACKING,
        WRONG,
        words=r"[Mm]achine type .*does not exist in zone|/machineTypes/[^/' ]+' was not found",
    ),
    RefusalRule(
        ComputeRefusalKind.LACKING,
        WRONG,
        words=r"(?i)(TDX|confidential).*not (supported|available) (in|by) (the |this )?zone",
    ),
    RefusalRule(
        ComputeRefusalKind.NO_ZONE, WRONG, words=r"field 'zone'.*Unknown zone|(zone |/zones/)[^/ ]+ was not found"
    ),
    RefusalRule(ComputeRefusalKind.IMAGE, WRONG, words=r"/images/|sourceImage|TDX compatible image"),
    RefusalRule(ComputeRefusalKind.ORDER, WRONG, words=r"field 'resource\.(name|labels|metadata)\b"),
)
"""The first row that fits counts; a refusal that fits none is OTHER. The words are from reports of users."""

OF_KIND: Final[dict[ComputeRefusalKind, Class]] = {
    ComputeRefusalKind.EXHAUSTED: NO_CAPACITY,
    ComputeRefusalKind.USED_UP: NO_CAPACITY,
    ComputeRefusalKind.LACKING: (Reason.LAUNCH_FAILED, Failure.PERMANENT),
    ComputeRefusalKind.NO_ZONE: (Reason.LAUNCH_FAILED, Failure.PERMANENT),
    ComputeRefusalKind.ORDER: (Reason.LAUNCH_FAILED, Failure.PERMANENT),
    # Like a host without QEMU, it starts nothing.
    ComputeRefusalKind.CREDENTIALS: (Reason.HYPERVISOR_MISSING, Failure.RETRYABLE),
    ComputeRefusalKind.IMAGE: (Reason.IMAGE_MISSING, Failure.RETRYABLE),
    ComputeRefusalKind.OTHER: OTHER,
}
"""What the order, or the zone that it names, does to an attempt. For the kinds of LAUNCHERS, see `launch_failed`."""
EXPLAINED: Final[dict[ComputeRefusalKind, str]] = {
    ComputeRefusalKind.EXHAUSTED: "The zone has no such machine left now.",
    ComputeRefusalKind.USED_UP: "The launcher's quota of such machines is used up.",
    ComputeRefusalKind.LACKING: "The zone has no machines of this size.",
    ComputeRefusalKind.NO_ZONE: "There is no such zone.",
    ComputeRefusalKind.ORDER: "The cloud refused what the order says of its machine.",
}
"""What whoever placed the order is told. Of the other kinds it is told the reason only."""

LAUNCHERS: Final = frozenset({ComputeRefusalKind.CREDENTIALS, ComputeRefusalKind.IMAGE})
"""These are about this launcher's settings, whatever zone the order names."""
OF_ZONE: Final = frozenset({ComputeRefusalKind.LACKING, ComputeRefusalKind.NO_ZONE})
LEFT_NOTHING: Final = frozenset({ComputeRefusalKind.EXHAUSTED, ComputeRefusalKind.USED_UP})
REPORTED_FIRST: Final = (ComputeRefusalKind.EXHAUSTED, ComputeRefusalKind.USED_UP, ComputeRefusalKind.LACKING)
"""Of the refusals of several zones, the first of these kinds is reported; else the last refusal."""


class ComputeError(CloudError):
    """Compute Engine did not do as asked: `ComputeRefused` with its answer, or `ComputeUnreachable` without one."""


class ComputeUnreachable(ComputeError):
    """No answer, or one that says to try again (`answered`): the request may or may not have been carried out."""

    def __init__(self, message: str, answered: bool = False) -> None:
        super().__init__(message)
        self.answered = answered


class ComputeRefused(ComputeError):
    """`code` is Compute Engine's word, `status` the HTTP status; either may be empty or 0.

    `begun` is true if an instance may exist: the request was accepted, but its operation failed or cannot be read; or
    an earlier, unanswered request may have been accepted.
    """

    def __init__(self, code: str, status: int, message: str, begun: bool = False) -> None:
        super().__init__(f"{code or status}: {message[:MAX_MESSAGE_LENGTH]}")
        self.code, self.status, self.begun = code, status, begun

    @property
    def kind(self) -> ComputeRefusalKind:
        return kind_of(KINDS, ComputeRefusalKind.OTHER, self.status, str(self), self.code)

    @property
    def of_project(self) -> bool:
        """True if a quota of all regions is reached."""
        return self.code in QUOTA_OF_PROJECT

    @property
    def taken(self) -> bool:
        return self.status == HTTPStatus.CONFLICT

    @property
    def not_found(self) -> bool:
        """True if there is no such resource, or no such zone."""
        return self.status == HTTPStatus.NOT_FOUND or self.kind is ComputeRefusalKind.NO_ZONE


def launch_failed(refusals: Sequence[ComputeRefused], names_zone: bool, own_zone: bool = True) -> LaunchFailed:
    """Return the failure that follows from the refusals, one for each zone that was tried.

    If any zone may have room later, the order waits. If none ever will, that is the order's failure only if it names a
    zone (`names_zone`): else the zones, and their machine type, are this launcher's settings alone. `own_zone` is false
    if the last refusal is about a zone that only the order names.
    """
    reported = next((one for kind in REPORTED_FIRST for one in refusals if one.kind is kind), refusals[-1])
    kind, concerns = reported.kind, _concerns(reported, names_zone, own_zone)
    settings_alone = kind in OF_ZONE and not names_zone
    reason, failure = OTHER if settings_alone else OF_KIND[kind]
    explanation = None if settings_alone else EXPLAINED.get(kind)
    return LaunchFailed(f"Compute Engine refused the instance: {reported}", reason, failure, concerns, explanation)


def _concerns(refused: ComputeRefused, names_zone: bool, own_zone: bool) -> Concerns:
    """Return whose orders would be refused, too: no other's because of the zone that an order names."""
    if refused.kind in LAUNCHERS:
        return Concerns.PROVIDER
    if refused.kind is ComputeRefusalKind.OTHER:
        return Concerns.PROVIDER if own_zone else Concerns.ORDER
    if names_zone and not refused.of_project:
        return Concerns.ORDER
    if refused.kind is ComputeRefusalKind.NO_ZONE:
        return Concerns.PROVIDER
    return Concerns.LANE  # another size has another machine type
