"""shared/ holds what at least two deployables import, and nothing else."""

from collections.abc import Iterator
from typing import Final

import grimp
import pytest

DEPLOYABLES: Final = ("functions", "launcher", "worker", "cli")
"""The emulators and the tests do not count: they may import anything."""


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("shared", *DEPLOYABLES, cache_dir=None)


def modules_of_shared(imports: grimp.ImportGraph) -> Iterator[str]:
    """Packages are left out: their __init__.py holds a docstring only."""
    for module in sorted(imports.find_descendants("shared")):
        if not imports.find_children(module):
            yield module


def test_each_module_of_shared_is_imported_by_two_deployables(imports: grimp.ImportGraph) -> None:
    importers = {
        module: {name.partition(".")[0] for name in imports.find_downstream_modules(module)} & set(DEPLOYABLES)
        for module in modules_of_shared(imports)
    }

    assert {module for module, found in importers.items() if len(found) < 2} == set()
