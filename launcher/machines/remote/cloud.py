"""A cloud as the shared parts see it: the machines that it lists, and the error if it does not do as asked."""

from collections.abc import Mapping
from typing import Protocol


class CloudError(Exception):
    """The cloud refused a request, or did not answer it."""


class Listed(Protocol):
    """A machine in a cloud's list."""

    @property
    def name(self) -> str: ...

    @property
    def place(self) -> str:
        """Return its zone or region, for the log."""

    @property
    def marks(self) -> Mapping[str, str]:
        """Return the labels or the metadata that it was created with."""

    @property
    def ending(self) -> bool:
        """Return whether its end was requested, or goes on by itself."""
