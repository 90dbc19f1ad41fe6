"""A class's name says which class it is: no two modules of the product define classes of one name."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tools.sources import PRODUCT, tree_of

ROOT: Final = Path(__file__).parents[2]
CLIENTS: Final = "the client raises what the control plane answers"
EACH_CONTRACT: Final = "the wire of each contract has its own"
SHARED_NAMES: Final = {
    "ClaimAnswer": EACH_CONTRACT,
    "ErrorAnswer": EACH_CONTRACT,
    "Health": EACH_CONTRACT,
    "HeartbeatAnswer": EACH_CONTRACT,
    "HeartbeatRequest": EACH_CONTRACT,
    "JobView": "the commands print a job as the contract of agent jobs shows it",
    "NoOutput": CLIENTS,
    "OrderFilter": EACH_CONTRACT,
    "OrderList": EACH_CONTRACT,
    "OtherVersion": CLIENTS,
    "QuotaExceeded": CLIENTS,
    "Records": "a port of the functions; in the guest image, the records of a file",
    "RegisterRequest": EACH_CONTRACT,
    "Registered": EACH_CONTRACT,
}
"""Names of several classes on purpose, and why."""


def classes() -> Iterator[tuple[str, str]]:
    """Yield the name of each class of a module, and the module's path."""
    for folder in PRODUCT:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in tree_of(file).body:
                if isinstance(node, ast.ClassDef):
                    yield node.name, str(file.relative_to(ROOT))


def test_no_two_modules_define_a_class_of_one_name() -> None:
    defined = defaultdict(set)
    for name, path in classes():
        defined[name].add(path)

    assert "Order" in defined
    several = {name: sorted(paths) for name, paths in defined.items() if len(paths) > 1}
    assert {name: paths for name, paths in several.items() if name not in SHARED_NAMES} == {}
    assert [name for name in SHARED_NAMES if name not in several] == []
