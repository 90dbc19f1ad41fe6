"""Makes the clock and what makes ids."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from functions.ports.clock import Clock, NewId


def clock() -> Clock:
    return lambda: datetime.now(UTC)


def new_id() -> NewId:
    return lambda: str(uuid4())


MAKERS: Final[Sequence[Callable[..., object]]] = (clock, new_id)
