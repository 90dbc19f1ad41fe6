"""Each part of the product declares what it imports: in the base dependencies, or in the extra of its own name."""

from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from sys import stdlib_module_names
from typing import Final

import pytest
from packaging.utils import canonicalize_name

from tools.locked import needed, requirements
from tools.sources import tree_of
from worker.guest.imports import modules

ROOT: Final = Path(__file__).parents[2]
OWN_PACKAGES: Final = frozenset(
    {"bench", "cli", "deploy", "emulators", "functions", "launcher", "shared", "tests", "tools", "worker"}
)
PARTS: Final = {
    "shared": (),
    "cli": ("cli",),
    "deploy": ("deploy",),
    "functions": ("functions",),
    "launcher": ("launcher",),
    "worker": ("worker",),
    "emulators": ("emulators",),
    "tools": ("dev",),
    "bench": ("dev",),
    "tests": ("dev",),
}
"""The extras that may declare what a part imports."""
GCP: Final = ROOT / "launcher" / "providers" / "gcp"
"""These modules need an extra of their own: most launchers never import them."""


@pytest.mark.parametrize("part", PARTS)
def test_a_part_declares_every_package_that_it_imports(part: str) -> None:
    files = [file for file in (ROOT / part).rglob("*.py") if GCP not in file.parents]

    assert imported(files) - declared(*PARTS[part]) == set()


def test_a_launcher_for_compute_engine_declares_every_package_that_it_imports() -> None:
    assert imported(list(GCP.glob("*.py"))) - declared("launcher-gcp") == set()


@pytest.mark.parametrize("extra", ["cli", "functions", "launcher", "worker"])
def test_an_extra_declares_no_package_that_its_part_does_not_import(extra: str) -> None:
    files = [file for file in (ROOT / extra).rglob("*.py") if GCP not in file.parents]

    assert declared(extra) - declared() - imported(files) == set()


def test_the_other_extras_and_the_base_declare_no_package_that_nothing_imports() -> None:
    assert declared() - imported(list((ROOT / "shared").rglob("*.py"))) == set()
    assert declared("launcher-gcp") - declared("launcher") - imported(list(GCP.glob("*.py"))) == set()
    assert declared("deploy") - declared("cli", "functions") - imported(list((ROOT / "deploy").rglob("*.py"))) == set()
    own = declared("emulators") - declared("cli", "functions", "launcher-gcp", "worker")
    assert own - imported(list((ROOT / "emulators").rglob("*.py"))) == set()


def test_a_host_of_one_part_installs_no_library_of_another() -> None:
    firestore, compute = "google-cloud-firestore", "google-cloud-compute"
    assert {firestore, compute, "functions-framework", "boto3"} & needed(requirements(["launcher"])) == set()
    assert {compute, "qemu-qmp", "psutil", "typer"} & needed(requirements(["functions"])) == set()


def declared(*extras: str) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in requirements(extras)}


def imported(files: list[Path]) -> set[str]:
    """Return the distributions that these files import at run time."""
    return {name for file in files for module in imported_modules(file) if (name := provider(module))}


@cache
def imported_modules(file: Path) -> frozenset[tuple[str, ...]]:
    return frozenset(modules(tree_of(file)))


def provider(module: tuple[str, ...]) -> str | None:
    """Return the distribution whose file the module is; None for Python's own modules and ours."""
    if module[0] in stdlib_module_names or module[0] in OWN_PACKAGES:
        return None
    found = (installed().get(module[:length]) for length in range(len(module), 0, -1))
    return next(filter(None, found), f"nothing installed has {'.'.join(module)}")


@cache
def installed() -> dict[tuple[str, ...], str]:
    """Map each importable module to the distribution that installed its file."""
    by_module: dict[tuple[str, ...], str] = {}
    for distribution in distributions():
        name = canonicalize_name(distribution.name)  # which reads the distribution's metadata
        for file in distribution.files or ():
            if file.name == "__init__.py":
                by_module[file.parts[:-1]] = name
            elif file.suffix in {".py", ".so"}:
                by_module[(*file.parts[:-1], file.name.partition(".")[0])] = name
    return by_module
