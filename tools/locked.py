"""`python -m tools.locked EXTRA…`: print the part of requirements.lock that these extras need.

`pip install --require-hashes` takes the output, so a host can install one part of the product and nothing more. The
dependencies of locked packages are read from the packages that are installed beside this Python, which must be of the
lock: run it in `.venv`. The output is the same with any Python on any platform.
"""

import re
import sys
import tomllib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[1]
PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
"""The lock serves all of these, and so does a part of it."""
PLATFORM: Final = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_release": "",
    "platform_system": "Linux",
    "platform_version": "",
    "sys_platform": "linux",
}
"""Every part of the product runs on Linux on x86-64."""


class OtherVersions(Exception):
    """Packages that are installed here are not those of the lock, so what they need is unknown."""


def requirements(extras: Iterable[str]) -> Iterator[Requirement]:
    """Yield what pyproject.toml asks for, in general and for these extras. Raises KeyError for an unknown extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    by_extra = project["optional-dependencies"]
    waiting = deque([project["dependencies"], *(by_extra[extra] for extra in extras)])
    while waiting:
        for requirement in map(Requirement, waiting.popleft()):
            if requirement.name == project["name"]:  # an extra that includes others
                waiting.extend(by_extra[extra] for extra in requirement.extras)
            else:
                yield requirement


def needed(wanted: Iterable[Requirement]) -> set[str]:
    """Return the canonical names of these packages and of all that they depend on, on any of PYTHONS."""
    environments = [_environment(python) for python in PYTHONS]
    waiting, seen = deque(wanted), set[tuple[str, str]]()
    while waiting:
        requirement = waiting.popleft()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting.extend(
                    dependency
                    for dependency in _dependencies(name)
                    if dependency.marker is None
                    or any(dependency.marker.evaluate({**where, "extra": extra}) for where in environments)
                )
    return {name for name, _ in seen}


def locked(extras: Sequence[str]) -> str:
    """Return the lines of requirements.lock, with their hashes, that these extras need.

    Raises KeyError for an unknown extra, and OtherVersions.
    """
    names = needed(requirements(extras))
    lines = re.split(r"\n(?=\w)", (ROOT / "requirements.lock").read_text(encoding="utf-8").strip())
    pins = {line: Requirement(line.partition(" \\")[0]) for line in lines}
    chosen = {line: pin for line, pin in pins.items() if canonicalize_name(pin.name) in names}
    if wrong := [str(pin) for pin in chosen.values() if not _is_met(pin)]:
        raise OtherVersions(f"Run `make setup`: .venv has other packages than requirements.lock: {', '.join(wrong)}")
    return "".join(f"{line}\n" for line in chosen)


def _is_met(pin: Requirement) -> bool:
    """Return whether the package is installed here in this version, or is for other Pythons only."""
    try:
        return pin.specifier.contains(version(pin.name), prereleases=True)
    except PackageNotFoundError:
        return pin.marker is not None and not pin.marker.evaluate()


def _dependencies(name: str) -> list[Requirement]:
    try:
        return [Requirement(line) for line in requires(name) or []]
    except PackageNotFoundError:  # another Python needs it
        return []


def _environment(python: str) -> Mapping[str, str]:
    """Return the environment in which markers are evaluated for a Python."""
    full = f"{python}.0"
    return {**PLATFORM, "python_version": python, "python_full_version": full, "implementation_version": full}


if __name__ == "__main__":
    sys.stdout.write(locked(sys.argv[1:]))
