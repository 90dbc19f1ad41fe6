"""The port by which the doorbell is rung."""

from typing import Protocol

from shared.wire.bell import Bell


class Doorbell(Protocol):
    def ring(self, bell: Bell) -> None:
        """Publish the bell, and return once the broker has it. Raises Unavailable."""
