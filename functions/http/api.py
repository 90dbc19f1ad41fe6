"""A contract as one value, which plugs into the control plane. `functions/apis/__init__.py` lists all."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from functions.engine.environments import Environment
from functions.http.dialect import Dialect
from functions.http.routing import Route
from shared.domain.spec import OrderKind

Chore = Callable[..., Counter[str]]
"""The sweep's work for a contract. It is called with `limit`, the number of records to read of each kind, and with
services by their type; it returns counts by the names of SweepAnswer's fields. Raises Unavailable.
"""

CHORE_GIVEN: Final = frozenset({"limit"})
"""The parameters of a chore that are not services."""


MakeEnvironment = Callable[..., Environment]
"""Makes the environment of a contract's image. It is called with `order` and with services by their type. Raises
Conflict.
"""

ENVIRONMENT_GIVEN: Final = frozenset({"order"})


@dataclass(frozen=True, slots=True)
class Api:
    """`services` maps the deployed functions' names to their routes. The prefix of a path decides which API serves it.

    Handlers and chores take a contract's own settings by their type, like any service.
    """

    name: str
    prefixes: tuple[str, ...]
    dialect: Dialect
    services: Mapping[str, Sequence[Route]]
    chores: Sequence[Chore] = ()
    environments: Mapping[OrderKind, MakeEnvironment] = field(default_factory=dict)
    """For each kind of order whose images expect this contract's environment."""

    @property
    def routes(self) -> tuple[Route, ...]:
        return tuple(chain.from_iterable(self.services.values()))
