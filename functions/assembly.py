"""Finds what a function's routes need, and makes that and nothing else.

What makes a service is a class or a plain function. The types of its parameters say what it takes, and its return type
says what it makes; so the types are the whole graph, from the handlers down to the settings:

    handlers, dialects → services → ports → settings

A type here is any annotation that names one thing, `Records[Account]` and `Callable[[], datetime]` included.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any, get_type_hints

from pydantic_settings import BaseSettings

from functions.http.api import Api
from functions.http.dialect import AUTHENTICATE_GIVEN
from functions.http.endpoint import dialect_of
from functions.http.handlers import Services, WrongHandler, wanted_by
from functions.http.routing import Route


@dataclass(frozen=True, slots=True)
class Maker:
    """`takes` maps the parameters of `make` to their types."""

    name: str
    make: Callable[..., object]
    takes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Assembly:
    """What a function needs: `asked` by its routes, and all (`needed`) that these are made of, settings included."""

    asked: Sequence[Any]
    needed: Set[Any]
    makers: Mapping[Any, Maker]

    @property
    def settings(self) -> Sequence[type[BaseSettings]]:
        return sorted(filter(_is_settings, self.needed), key=lambda kind: (kind.__module__, kind.__qualname__))

    def make(self, given: Services) -> Services:
        """Make what the routes ask for, and return it by type, with all that it is made of.

        What is `given` is not made: the settings always, in tests the ports, too.
        """
        made = dict[Any, object](given)

        def get(kind: Any) -> object:
            if kind not in made:
                maker = self.makers[kind]
                made[kind] = maker.make(**{name: get(taken) for name, taken in maker.takes.items()})
            return made[kind]

        for kind in self.asked:
            get(kind)
        return made


def plan(
    apis: Sequence[Api], routes: Iterable[Route], makers: Mapping[Any, Maker], always: Iterable[type[BaseSettings]] = ()
) -> Assembly:
    """Return what these routes need; the process itself needs the settings `always`.

    Raises WrongHandler if anything needs what nobody makes.
    """
    needed, open_ = set[Any](always), list(_asked_by(apis, routes))
    asked = tuple(dict.fromkeys(kind for _, wanted in open_ for kind in wanted.values()))
    while open_:
        asker, wanted = open_.pop()
        for parameter, kind in wanted.items():
            if kind in needed:
                continue
            needed.add(kind)
            if _is_settings(kind):
                continue
            if kind not in makers:
                raise WrongHandler(f"{asker}: no service is a {kind} ({parameter}).")
            open_.append((makers[kind].name, makers[kind].takes))
    return Assembly(asked, needed, makers)


def by_type(makers: Iterable[Callable[..., object]]) -> Mapping[Any, Maker]:
    """Return each class under itself, and each function under its return type."""
    return {_made_by(make): Maker(_name(make), make, wanted_by(_called(make))) for make in makers}


def bound(
    name: str,
    functions: Iterable[Callable[..., object]],
    given: frozenset[str],
    collect: Callable[[Sequence[Callable[..., Any]]], object] = list,
) -> Maker:
    """Return what collects the functions, each with the services that it takes: its parameters but those in `given`."""
    wanted = [(function, wanted_by(function, given)) for function in functions]

    def make(**services: object) -> object:
        return collect(
            [
                partial(function, **{parameter: services[f"{_name(function)}.{parameter}"] for parameter in takes})
                for function, takes in wanted
            ]
        )

    all_taken = {f"{_name(one)}.{parameter}": kind for one, takes in wanted for parameter, kind in takes.items()}
    return Maker(name, make, all_taken)


def once(make: Callable[[], Services]) -> Callable[[], Services]:
    """Return a function that makes the services at its first call, and returns the same ones at every call."""
    lock, made = threading.Lock(), list[Services]()

    def services() -> Services:
        with lock:
            if not made:
                made.append(make())
            return made[0]

    return services


def _asked_by(apis: Sequence[Api], routes: Iterable[Route]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what each handler, and the dialect of its path, is called with."""
    for route in routes:
        yield _name(route.handler), route.signature.services
        authenticate = dialect_of(apis, route.path).authenticate
        yield _name(authenticate), wanted_by(authenticate, AUTHENTICATE_GIVEN)


def _is_settings(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseSettings)


def _called(make: Callable[..., object]) -> Callable[..., object]:
    return make.__init__ if isinstance(make, type) else make  # type: ignore[misc]


def _made_by(make: Callable[..., object]) -> Any:
    return make if isinstance(make, type) else get_type_hints(make)["return"]


def _name(function: Callable[..., object]) -> str:
    return f"{function.__module__}.{function.__qualname__}"
