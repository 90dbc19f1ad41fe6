"""The ports of the time and of new ids."""

from collections.abc import Callable
from datetime import datetime

Clock = Callable[[], datetime]
NewId = Callable[[], str]
"""Returns a new UUID."""
