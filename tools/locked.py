"""`python -m tools.locked EXTRA…`: print the part of requirements.lock that these extras need.

`pip install --require-hashes` takes the output, so a host can install one part of the product and nothing more. The
dependencies of locked packages are read from the packages that are installed beside this Python: run it in `.venv`.
"""

import re
import sys
import tomllib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Final

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[1]
PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
"""The lock serves all of these, and so does a part of it."""


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
    """Return the lines of requirements.lock, with their hashes, that these extras need. Raises KeyError."""
    names = needed(requirements(extras))
    pins = re.split(r"\n(?=\w)", (ROOT / "requirements.lock").read_text(encoding="utf-8").strip())
    return "".join(f"{pin}\n" for pin in pins if canonicalize_name(re.split(r"[=; ]", pin)[0]) in names)


def _dependencies(name: str) -> list[Requirement]:
    try:
        return [Requirement(line) for line in requires(name) or []]
    except PackageNotFoundError:  # another Python needs it
        return []


def _environment(python: str) -> Mapping[str, str]:
    """Return the environment in which markers are evaluated on this platform with another Python."""
    here = {name: str(value) for name, value in default_environment().items()}
    full = f"{python}.0"
    return here | {"python_version": python, "python_full_version": full, "implementation_version": full}


if __name__ == "__main__":
    sys.stdout.write(locked(sys.argv[1:]))
