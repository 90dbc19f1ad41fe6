"""A contract, plugged into the control plane as one value: the list of all is `functions/apis/__init__.py`."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from pydantic_settings import BaseSettings

from functions.http.dialect import Dialect
from functions.http.routing import Route

Chore = Callable[..., Counter[str]]
"""What the sweep does for a contract. It is called with `limit`, the most records to read of a kind, and with services
by their type; it returns how many of what it did, by the names of SweepAnswer's fields. Raises Unavailable."""


@dataclass(frozen=True, slots=True)
class Api:
    """`services` are the deployed functions by name, each with its routes; the prefix of a path says whose API it is.

    `settings` are the contract's own: its handlers and chores ask for them by their type, as for any service.
    """

    name: str
    prefixes: tuple[str, ...]
    dialect: Dialect
    services: Mapping[str, Sequence[Route]]
    chores: Sequence[Chore] = ()
    settings: type[BaseSettings] | None = None

    @property
    def routes(self) -> tuple[Route, ...]:
        return tuple(chain.from_iterable(self.services.values()))
