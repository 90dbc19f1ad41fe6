"""requirements.lock holds what pyproject.toml asks for, on every Python that the set-up takes."""

import re
import tomllib
from collections import deque
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.locked import requirements

ROOT: Final = Path(__file__).parents[2]
LOCK: Final = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PYPROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SET_UP: Final = (ROOT / "infra" / "setup").read_text(encoding="utf-8")
PYTHONS: Final = sorted(set(re.findall(r"\bpython(3\.\d+)", SET_UP)), key=lambda version: int(version[2:]))


def environment(python: str) -> dict[str, str]:
    """The markers' environment of this platform with another Python."""
    of_ours = {name: str(value) for name, value in default_environment().items()}
    full = {"python_full_version": f"{python}.0", "implementation_version": f"{python}.0"}
    return of_ours | full | {"python_version": python}


def asked_for() -> list[Requirement]:
    return list(requirements(PYPROJECT["project"]["optional-dependencies"]))


def locked(python: str) -> dict[str, str]:
    """Return the version of each package that the lock installs on a Python."""
    lines = re.findall(r"^(\w.*?)(?: \\)?$", LOCK, re.MULTILINE)
    pins = [Requirement(line) for line in lines]
    chosen = [pin for pin in pins if pin.marker is None or pin.marker.evaluate(environment(python))]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in chosen}


@cache
def needs(package: str) -> tuple[Requirement, ...]:
    return tuple(Requirement(line) for line in distribution(package).requires or [])


def unmet(python: str) -> list[str]:
    """Return what pyproject.toml, or a package that it needs, asks for on this Python and the lock does not give.

    What a locked package needs is read from the one installed here, which is of the lock.
    """
    pins, missing = locked(python), set()
    queue, seen = deque((need, "pyproject.toml") for need in asked_for()), set[tuple[str, str]]()
    while queue:
        need, wanted_by = queue.popleft()
        name = canonicalize_name(need.name)
        if name not in pins or not need.specifier.contains(pins[name], prereleases=True):
            missing.add(f"{wanted_by} needs {need}; locked is {pins.get(name, 'none')}")
            continue
        for extra in {"", *need.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            wanted = needs(name)
            where = environment(python) | {"extra": extra}
            queue.extend((one, name) for one in wanted if one.marker is None or one.marker.evaluate(where))
    return sorted(missing)


def test_the_set_up_takes_the_pythons_that_are_looked_at_here() -> None:
    assert PYTHONS == ["3.11", "3.12", "3.13", "3.14"]
    assert "(3, 11) <= sys.version_info[:2] <= (3, 14)" in SET_UP
    assert PYPROJECT["project"]["requires-python"] == ">=3.11"


@pytest.mark.parametrize("python", PYTHONS)
def test_all_that_is_asked_for_is_locked_on_every_python(python: str) -> None:
    assert unmet(python) == []


@pytest.mark.parametrize("python", PYTHONS)
def test_a_missing_pin_is_found_on_every_python(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.LOCK", re.sub(r"^certifi==", "else==", LOCK, flags=re.MULTILINE))
    assert any("needs certifi" in line for line in unmet(python))


def test_every_pin_has_a_hash_and_none_an_address() -> None:
    pins = re.split(r"\n(?=\w)", LOCK.strip())
    assert [pin.splitlines()[0] for pin in pins if "--hash=sha256:" not in pin] == []
    assert "://" not in LOCK
