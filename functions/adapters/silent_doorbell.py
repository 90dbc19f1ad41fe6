"""The doorbell of the memory backend."""

from shared.wire.bell import Bell


class SilentDoorbell:
    """Publishes nothing: the memory backend has no broker, so its launchers poll."""

    def ring(self, bell: Bell) -> None: ...
