"""What the control planes of tests share: a process makes it once."""

import hashlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import functions_framework
import pytest
import structlog
from flask import Flask
from pydantic_settings import BaseSettings

import functions
from functions import assembly
from functions.http.handlers import Services
from functions.settings import WHOLE, AllSettings
from functions.settings import read_settings as read

MAIN: Final = Path(functions.__path__[0]) / "main.py"
ENVIRONMENTS: Final = 8
"""How many applications are kept, one an environment: nearly all tests have one of a few."""
SLOW_HASH: Final = hashlib.scrypt


class Application:
    """The framework's application of a target, as the product makes it of the environment; it serves `services`.

    `log` is how the product has configured structlog.
    """

    services: Callable[[], Services]

    def __init__(self, target: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "path", list(sys.path))  # the framework adds the source's directory
            patch.setattr(assembly, "once", lambda make: lambda: self.services())
            self.flask: Flask = functions_framework.create_app(target, str(MAIN))  # type: ignore[no-untyped-call]
        sys.modules.pop("main", None)
        self.log: Mapping[str, Any] = structlog.get_config()


def application(target: str) -> Application:
    """Return the application of this target, which is made once for each environment."""
    return _application(target, frozenset(_environment().items()))


@lru_cache(maxsize=ENVIRONMENTS)
def _application(target: str, _environment: Set[tuple[str, str]]) -> Application:
    return Application(target)


def read_settings(kinds: Sequence[type[BaseSettings]], function: str = WHOLE) -> AllSettings:
    """Return what the product's function of this name does; each environment is read once."""
    return _settings(tuple(kinds), function, frozenset(_environment().items()))


@cache
def _settings(kinds: Sequence[type[BaseSettings]], function: str, _environment: Set[tuple[str, str]]) -> AllSettings:
    return AllSettings(MappingProxyType(read(kinds, function).by_type))


def _environment() -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


def scrypt(password: bytes, *, salt: bytes, n: int, r: int, p: int, maxmem: int) -> bytes:
    """Return a hash that depends on what the real one depends on, but takes microseconds."""
    return SLOW_HASH(password, salt=salt + repr((n, r, p, maxmem)).encode(), n=2, r=1, p=1)
