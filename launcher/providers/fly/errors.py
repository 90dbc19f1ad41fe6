"""Fly's refusals, and the failure that each means for an attempt. The words are from Fly's answers to its users."""

import re
from enum import Enum, auto
from http import HTTPStatus
from typing import Final

from launcher.machines.failures import NO_CAPACITY, OTHER, Class
from launcher.machines.port import Concerns, LaunchFailed
from launcher.machines.remote.cloud import CloudError
from launcher.machines.remote.refusals import RefusalRule, kind_of
from shared.domain.order import Failure, Reason

MAX_MESSAGE_LENGTH: Final = 400
INVALID: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})
TOO_LARGE: Final = frozenset({HTTPStatus.REQUEST_ENTITY_TOO_LARGE})
NOT_FOUND: Final = frozenset({HTTPStatus.NOT_FOUND})
FORBIDDEN: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


class FlyRefusalKind(Enum):
    """What a refusal is about."""

    TAKEN = auto()
    """A machine has this name already."""
    FULL = auto()
    """No host of the region has room now."""
    LIMIT = auto()
    """The organisation's limit of machines or of requests is reached."""
    TOKEN = auto()
    NO_APP = auto()
    """There is no such app, or the token is not for it."""
    NO_MACHINE = auto()
    IMAGE = auto()
    REGION = auto()
    SIZE = auto()
    CONFIG = auto()
    OTHER = auto()


KINDS: Final = (
    # The first: its text may repeat a name of any words.
    RefusalRule(FlyRefusalKind.IMAGE, INVALID | NOT_FOUND | FORBIDDEN, r"(?i)manifest|\bimage\b"),
    RefusalRule(FlyRefusalKind.LIMIT, frozenset({HTTPStatus.TOO_MANY_REQUESTS})),
    RefusalRule(FlyRefusalKind.LIMIT, words=r"(?i)machine limit|limit of .*machines"),
    RefusalRule(
        FlyRefusalKind.FULL,
        words=r"(?i)insufficient|could not reserve|no capacity|not enough capacity|temporarily disabled",
    ),
    RefusalRule(FlyRefusalKind.TAKEN, words=r"already_exists|unique machine name violation"),
    RefusalRule(FlyRefusalKind.TAKEN, frozenset({HTTPStatus.CONFLICT})),
    RefusalRule(FlyRefusalKind.TOKEN, FORBIDDEN),
    RefusalRule(FlyRefusalKind.NO_APP, NOT_FOUND, r"(?i)\bapp\b"),
    RefusalRule(FlyRefusalKind.NO_MACHINE, NOT_FOUND),
    RefusalRule(FlyRefusalKind.REGION, INVALID, r"(?i)\bregion\b"),
    RefusalRule(FlyRefusalKind.SIZE, INVALID, r"\bconfig\.guest\b"),
    RefusalRule(FlyRefusalKind.CONFIG, INVALID | TOO_LARGE),
)
"""The first row that fits counts; a refusal that fits none is OTHER."""

PERMANENT: Final[Class] = (Reason.LAUNCH_FAILED, Failure.PERMANENT)
OF_KIND: Final[dict[FlyRefusalKind, Class]] = {
    FlyRefusalKind.TAKEN: OTHER,
    FlyRefusalKind.FULL: NO_CAPACITY,
    FlyRefusalKind.LIMIT: NO_CAPACITY,
    FlyRefusalKind.TOKEN: (Reason.HYPERVISOR_MISSING, Failure.RETRYABLE),  # like a host without QEMU, it starts nothing
    FlyRefusalKind.NO_APP: (Reason.HYPERVISOR_MISSING, Failure.RETRYABLE),
    FlyRefusalKind.NO_MACHINE: OTHER,
    FlyRefusalKind.IMAGE: PERMANENT,
    FlyRefusalKind.REGION: PERMANENT,
    FlyRefusalKind.SIZE: OTHER,  # a setting of this launcher: no order names it
    FlyRefusalKind.CONFIG: PERMANENT,
    FlyRefusalKind.OTHER: OTHER,
}
"""What a refusal does to the attempt."""
EXPLAINED: Final[dict[FlyRefusalKind, str]] = {
    FlyRefusalKind.FULL: "The region has no room for the machine now.",
    FlyRefusalKind.LIMIT: "The launcher's limit of machines is reached.",
    FlyRefusalKind.IMAGE: "The image cannot be found, or may not be used.",
    FlyRefusalKind.REGION: "There is no such region.",
    FlyRefusalKind.CONFIG: (
        "The cloud refused the machine's configuration: its variables or arguments may be too large."
    ),
}
"""What whoever placed the order is told. Of the other kinds it is told the reason only."""
OF_SETTINGS: Final[dict[FlyRefusalKind, Class]] = {
    FlyRefusalKind.IMAGE: (Reason.IMAGE_MISSING, Failure.RETRYABLE),
    FlyRefusalKind.REGION: OTHER,
}
"""What it means if the order names neither image nor region, so that both are this launcher's settings."""


class FlyError(CloudError):
    """Fly did not do as asked: `FlyRefused` with its answer, or `FlyUnreachable` without one."""


class FlyUnreachable(FlyError):
    """No answer, or one that says to try again: the request may or may not have been carried out."""


class FlyRefused(FlyError):
    """`message` is Fly's text. The name of the `image` that was asked for is left out of it, because it may be made of
    the words by which the kinds are told apart.
    """

    def __init__(self, status: int, message: str, image: str | None = None) -> None:
        if image is not None:
            message = re.sub(rf"(?<![A-Za-z0-9]){re.escape(image)}(?![A-Za-z0-9])", "the image", message)
        super().__init__(f"{status}: {message[:MAX_MESSAGE_LENGTH]}")
        self.status, self.message = status, message[:MAX_MESSAGE_LENGTH]

    @property
    def kind(self) -> FlyRefusalKind:
        return kind_of(KINDS, FlyRefusalKind.OTHER, self.status, self.message)


def launch_failed(refused: FlyRefused, names_image: bool, names_region: bool) -> LaunchFailed:
    """Return the failure that follows from the refusal of a machine whose order names an image, or a region."""
    own = {FlyRefusalKind.IMAGE: names_image, FlyRefusalKind.REGION: names_region}
    table = OF_KIND if own.get(refused.kind, True) else OF_SETTINGS
    reason, failure = table[refused.kind]
    concerns = _concerns(refused.kind, names_image, names_region)
    explanation = EXPLAINED.get(refused.kind) if table is OF_KIND else None
    return LaunchFailed(f"Fly refused the machine: {refused}", reason, failure, concerns, explanation)


def _concerns(kind: FlyRefusalKind, names_image: bool, names_region: bool) -> Concerns | None:
    """Return whose orders would be refused, too. None: what reason and failure say."""
    if kind is FlyRefusalKind.FULL and names_region:
        return Concerns.ORDER
    if kind in (FlyRefusalKind.OTHER, FlyRefusalKind.TAKEN) and (names_image or names_region):
        return Concerns.ORDER  # a refusal in words that are new may be about these
    return Concerns.LANE if kind is FlyRefusalKind.SIZE else None  # a kind of order has a size
