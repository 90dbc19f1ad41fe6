"""What Compute Engine answers where it does not do as asked, and what that makes of an attempt.

https://cloud.google.com/compute/docs/troubleshooting/troubleshooting-resource-availability
"""

from http import HTTPStatus
from typing import Final

from launcher.vm.provider import LaunchFailed
from shared.domain.order import Failure, Reason

EXHAUSTED: Final = frozenset(
    {"ZONE_RESOURCE_POOL_EXHAUSTED", "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", "RESOURCE_POOL_EXHAUSTED"}
)
QUOTA: Final = frozenset({"QUOTA_EXCEEDED", "quotaExceeded", "CPUS_ALL_REGIONS_QUOTA_EXCEEDED"})
RATE: Final = frozenset({"rateLimitExceeded", "RATE_LIMIT_EXCEEDED"})
FORBIDDEN: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
MESSAGE_LENGTH: Final = 400


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
    def none_left(self) -> bool:
        """Whether another zone may have what this one has not. Quotas are of a region."""
        return self.code in EXHAUSTED | QUOTA

    @property
    def taken(self) -> bool:
        return self.status == HTTPStatus.CONFLICT


def launch_failed(refused: Refused) -> LaunchFailed:
    """Return the failure that a refused insert amounts to.

    Without permission, this launcher starts nothing, as a host without QEMU: so it is HYPERVISOR_MISSING.
    """
    message = f"Compute Engine refused the instance: {refused}"
    if refused.none_left:
        return LaunchFailed(message, Reason.NO_CAPACITY, Failure.NO_CAPACITY)
    if refused.status in FORBIDDEN:
        return LaunchFailed(message, Reason.HYPERVISOR_MISSING)
    if refused.status == HTTPStatus.NOT_FOUND and "/images/" in message:
        return LaunchFailed(message, Reason.IMAGE_MISSING)
    return LaunchFailed(message)
