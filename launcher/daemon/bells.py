"""The port through which a launcher receives bells."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from shared.wire.bell import Bell


class BellsUnavailable(Exception):
    """The broker did not answer. The request may be repeated."""


@dataclass(frozen=True, slots=True)
class DeliveredBell:
    """A bell as it was delivered; `receipt` is the broker's name for this delivery."""

    bell: Bell
    receipt: str


class BellListener(Protocol):
    """Pulls bells. A launcher pulls only as many as it has room for."""

    def pull(self, most: int) -> Sequence[DeliveredBell]:
        """Wait some seconds for bells, and return at most `most` of them, or none. Malformed ones are left out.

        A bell that is neither acknowledged nor given back is delivered again after half a minute. Raises
        BellsUnavailable.
        """

    def acknowledge(self, delivered: DeliveredBell) -> None:
        """Acknowledge the bell at the broker. Raises BellsUnavailable; then the bell may be delivered again."""

    def give_back(self, delivered: DeliveredBell, after: timedelta) -> None:
        """Have the bell delivered again, to any launcher, `after` a time of at most 10 minutes.

        Raises BellsUnavailable; then the broker delivers it again at its own time.
        """
