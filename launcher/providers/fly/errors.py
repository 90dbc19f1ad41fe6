"""Fly's refusals, and the failure that each means for an attempt. The words are from Fly's answers to its users."""

import re
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Final

from launcher.machines.failures import NO_CAPACITY, OTHER, Class
from launcher.machines.port import Concerns, LaunchFailed
from launcher.machines.remote.cloud import CloudError
from shared.domain.order import Failure, Reason

MAX_MESSAGE_LENGTH: Final = 400
INVALID: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})
TOO_LARGE: Final = frozenset({HTTPStatus.REQUEST_ENTITY_TOO_LARGE})
NOT_FOUND: Final = frozenset({HTTPStatus.NOT_FOUND})
FORBIDDEN: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


class Kind(Enum):
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


@dataclass(frozen=True, slots=True)
class Row:
    """Refusals of a kind: with one of these statuses, and these words. Empty means any."""

    kind: Kind
    statuses: frozenset[HTTPStatus] = frozenset()
    words: str = ""

    def fits(self, refused: "FlyRefused") -> bool:
        return (not self.statuses or refused.status in self.statuses) and bool(re.search(self.words, refused.message))


KINDS: Final = (
    Row(Kind.IMAGE, INVALID | NOT_FOUND | FORBIDDEN, r"(?i)manifest|\bimage\b"),  # it may repeat a name of any words
    Row(Kind.LIMIT, frozenset({HTTPStatus.TOO_MANY_REQUESTS})),
    Row(Kind.LIMIT, words=r"(?i)machine limit|limit of .*machines"),
    Row(Kind.FULL, words=r"(?i)insufficient|could not reserve|no capacity|not enough capacity|temporarily disabled"),
    Row(Kind.TAKEN, words=r"already_exists|unique machine name violation"),
    Row(Kind.TAKEN, frozenset({HTTPStatus.CONFLICT})),
    Row(Kind.TOKEN, FORBIDDEN),
    Row(Kind.NO_APP, NOT_FOUND, r"(?i)\bapp\b"),
    Row(Kind.NO_MACHINE, NOT_FOUND),
    Row(Kind.REGION, INVALID, r"(?i)\bregion\b"),
    Row(Kind.SIZE, INVALID, r"\bconfig\.guest\b"),
    Row(Kind.CONFIG, INVALID | TOO_LARGE),
)
"""The first row that fits counts; a refusal that fits none is OTHER."""

PERMANENT: Final[Class] = (Reason.LAUNCH_FAILED, Failure.PERMANENT)
OF_KIND: Final[dict[Kind, Class]] = {
    Kind.TAKEN: OTHER,
    Kind.FULL: NO_CAPACITY,
    Kind.LIMIT: NO_CAPACITY,
    Kind.TOKEN: (Reason.HYPERVISOR_MISSING, Failure.RETRYABLE),  # like a host without QEMU, it starts nothing
    Kind.NO_APP: (Reason.HYPERVISOR_MISSING, Failure.RETRYABLE),
    Kind.NO_MACHINE: OTHER,
    Kind.IMAGE: PERMANENT,
    Kind.REGION: PERMANENT,
    Kind.SIZE: OTHER,  # a setting of this launcher: no order names it
    Kind.CONFIG: PERMANENT,
    Kind.OTHER: OTHER,
}
"""What a refusal does to the attempt."""
EXPLAINED: Final[dict[Kind, str]] = {
    Kind.FULL: "The region has no room for the machine now.",
    Kind.LIMIT: "The launcher's limit of machines is reached.",
    Kind.IMAGE: "The image cannot be found, or may not be used.",
    Kind.REGION: "There is no such region.",
    Kind.CONFIG: "The cloud refused the machine's configuration: its variables or arguments may be too large.",
}
"""What whoever placed the order is told. Of the other kinds it is told the reason only."""
OF_SETTINGS: Final[dict[Kind, Class]] = {Kind.IMAGE: (Reason.IMAGE_MISSING, Failure.RETRYABLE), Kind.REGION: OTHER}
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
    def kind(self) -> Kind:
        return next((row.kind for row in KINDS if row.fits(self)), Kind.OTHER)


def launch_failed(refused: FlyRefused, names_image: bool, names_region: bool) -> LaunchFailed:
    """Return the failure that follows from the refusal of a machine whose order names an image, or a region."""
    own = {Kind.IMAGE: names_image, Kind.REGION: names_region}
    table = OF_KIND if own.get(refused.kind, True) else OF_SETTINGS
    reason, failure = table[refused.kind]
    concerns = _concerns(refused.kind, names_image, names_region)
    explanation = EXPLAINED.get(refused.kind) if table is OF_KIND else None
    return LaunchFailed(f"Fly refused the machine: {refused}", reason, failure, concerns, explanation)


def _concerns(kind: Kind, names_image: bool, names_region: bool) -> Concerns | None:
    """Return whose orders would be refused, too. None: what reason and failure say."""
    if kind is Kind.FULL and names_region:
        return Concerns.ORDER
    if kind in (Kind.OTHER, Kind.TAKEN) and (names_image or names_region):
        return Concerns.ORDER  # a refusal in words that are new may be about these
    return Concerns.LANE if kind is Kind.SIZE else None  # a kind of order has a size
