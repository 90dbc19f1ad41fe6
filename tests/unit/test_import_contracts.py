"""Every contract of import-linter breaks if one import against it is planted."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Final

import grimp
import pytest
from importlinter import configuration
from importlinter.application.use_cases import read_user_options
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.independence import IndependenceContract
from importlinter.contracts.layers import LayersContract
from importlinter.domain.contract import Contract

PYPROJECT: Final = Path(__file__).parents[2] / "pyproject.toml"
TYPES: Final[dict[str, type[Contract]]] = {
    "forbidden": ForbiddenContract,
    "independence": IndependenceContract,
    "layers": LayersContract,
}

PLANTS: Final[dict[str, Sequence[tuple[str, str]]]] = {
    "the control plane is layered: composition, APIs, HTTP, engine beside adapters, ports, domain": [
        ("functions.wiring.makers", "functions.main"),
        ("functions.assembly", "functions.wiring.makers"),
        ("functions.settings", "functions.assembly"),
        ("functions.apis.tasks.settings", "functions.settings"),
        ("functions.http.cors", "functions.apis.v1"),
        ("functions.engine.purges", "functions.apis.v1"),
        ("functions.engine.purges", "functions.http.cors"),
        ("functions.engine.purges", "functions.adapters.memory"),
        ("functions.adapters.memory", "functions.engine.purges"),
        ("functions.ports.orders", "functions.engine.purges"),
        ("functions.domain.exits", "functions.engine.purges"),
        ("functions.domain.exits", "functions.ports.clock"),
    ],
    "no API knows another": [
        ("functions.apis.tasks.settings", "functions.apis.jobs.settings"),
        ("functions.apis.v1.health", "functions.apis.capacity.wire"),
    ],
    "an API knows no adapter": [
        ("functions.apis.tasks.settings", "functions.adapters.memory"),
    ],
    "only the HTTP layer and the servers know the web framework": [
        ("functions.apis.tasks.settings", "flask"),
        ("functions.engine.purges", "flask"),
        ("functions.engine.purges", "werkzeug"),
        ("functions.adapters.memory", "gunicorn"),
        ("functions.ports.orders", "functions_framework"),
        ("functions.domain.exits", "flask"),
    ],
    "the engine knows no wire models but the bell": [
        ("functions.engine.purges", "shared.wire.orders"),
        ("functions.engine.purges", "shared.wire.launchers"),
        ("functions.engine.purges", "shared.wire.workers"),
        ("functions.engine.purges", "shared.wire.problems"),
        ("functions.ports.doorbell", "shared.wire.operators"),
        ("functions.domain.exits", "shared.wire.base"),
    ],
    "the domain does no I/O": [
        ("functions.domain.exits", "subprocess"),
        ("functions.domain.exits", "boto3"),
        ("shared.domain.lanes", "socket"),
        ("shared.domain.lanes", "os"),
    ],
    "parts talk over HTTPS, not over imports": [
        ("launcher.orders.lanes", "functions.domain.exits"),
        ("cli.view", "launcher.orders.lanes"),
        ("worker.uploads", "cli.view"),
        ("functions.http.cors", "worker.uploads"),
    ],
    "shared imports no part": [
        ("shared.lines", part) for part in ("cli", "deploy", "emulators", "functions", "launcher", "worker")
    ],
    "the product does not need its emulators": [
        ("cli.view", "emulators.progress"),
        ("deploy.rows", "emulators.progress"),
        ("functions.http.cors", "emulators.progress"),
        ("launcher.orders.lanes", "emulators.progress"),
        ("worker.uploads", "emulators.progress"),
    ],
    "the operator's commands know of the control plane its data and its store, and no other part": [
        ("deploy.rows", "functions.apis.v1"),
        ("deploy.rows", "functions.assembly"),
        ("deploy.rows", "functions.engine.purges"),
        ("deploy.rows", "functions.http.cors"),
        ("deploy.rows", "functions.settings"),
        ("deploy.rows", "functions.wiring.makers"),
        ("deploy.rows", "launcher.orders.lanes"),
        ("deploy.rows", "worker.uploads"),
        ("deploy.rows", "cli.view"),
    ],
    "no deployable needs the operator's commands": [
        ("cli.view", "deploy.rows"),
        ("functions.http.cors", "deploy.rows"),
        ("launcher.orders.lanes", "deploy.rows"),
        ("worker.uploads", "deploy.rows"),
    ],
    "a check is layered: commands, the check, each kind of thing, what must be there, Google's APIs, rows": [
        ("deploy.check", "deploy.commands"),
        ("deploy.check", "deploy.keys"),
        ("deploy.entities.bucket", "deploy.check"),
        ("deploy.deployment", "deploy.entities.bucket"),
        ("deploy.google", "deploy.data"),
        ("deploy.rows", "deploy.google"),
    ],
    "the launcher is layered: commands, installation, composition, loops, orders, providers, machines, host": [
        ("launcher.cli.daemon", "launcher.__main__"),
        ("launcher.settings", "launcher.composition.launcher"),
        ("launcher.daemon.poll", "launcher.settings"),
        ("launcher.daemon.poll", "launcher.vm_tool.facts"),
        ("launcher.orders.lanes", "launcher.daemon.poll"),
        ("launcher.providers.registry", "launcher.orders.lanes"),
        ("launcher.machines.failures", "launcher.orders.lanes"),
        ("launcher.host.clock", "launcher.machines.failures"),
    ],
    "of the launcher's providers, virtual machines build on processes, never the other way about": [
        ("launcher.providers.process.identity", "launcher.providers.qemu.argv"),
        ("launcher.providers.qemu.argv", "launcher.providers.gcp.compute"),
        ("launcher.providers.fly.body", "launcher.providers.gcp.compute"),
        ("launcher.providers.gcp.compute", "launcher.providers.registry"),
    ],
}
"""For each contract, imports that it forbids: who imports, and what."""


@pytest.fixture(scope="module")
def contracts() -> dict[str, Contract]:
    configuration.configure()
    options = read_user_options(str(PYPROJECT))
    return {
        one["name"]: TYPES[one["type"]](one["name"], options.session_options, one) for one in options.contracts_options
    }


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    configuration.configure()
    packages = read_user_options(str(PYPROJECT)).session_options["root_packages"]
    return grimp.build_graph(*packages, include_external_packages=True, cache_dir=None)


def is_kept(contract: Contract, imports: grimp.ImportGraph) -> bool:
    """A check changes the graph that it is given."""
    return contract.check(deepcopy(imports), verbose=False).kept


def test_every_contract_has_imports_that_are_planted_against_it(contracts: dict[str, Contract]) -> None:
    assert {name for name, planted in PLANTS.items() if planted} == set(contracts)


@pytest.mark.parametrize("name", PLANTS)
def test_a_contract_breaks_on_each_import_that_it_forbids(
    name: str, contracts: dict[str, Contract], imports: grimp.ImportGraph
) -> None:
    assert is_kept(contracts[name], imports)
    for importer, imported in PLANTS[name]:
        planted = deepcopy(imports)
        if imported.partition(".")[0] not in planted.modules:
            planted.add_module(imported, is_squashed=True)  # a library that nothing imports
        assert {importer, imported} <= planted.modules
        planted.add_import(importer=importer, imported=imported)

        assert not is_kept(contracts[name], planted), f"{importer} imports {imported}"


def test_a_module_in_no_layer_breaks_its_layers(contracts: dict[str, Contract], imports: grimp.ImportGraph) -> None:
    layered = {
        container: contract
        for contract in contracts.values()
        if isinstance(contract, LayersContract)
        for container in contract.contract_options["containers"]
    }

    assert set(layered) == {"deploy", "functions", "launcher", "launcher.providers"}
    for container, contract in layered.items():
        with_another = deepcopy(imports)
        with_another.add_module(f"{container}.another")
        assert not is_kept(contract, with_another), container
