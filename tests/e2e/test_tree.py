"""The sample tree, exported in a real virtual machine and in a machine of a local Fly: one file, whoever makes it."""

import json
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from emulators.mods import validate
from emulators.settings import OWN_IMAGE, BackendChoice, ProviderChoice
from shared.domain.order import State
from shared.domain.spec import ExportOptions, ExportSpec
from tests.harness.stack import Stack, in_state, stack_of

pytestmark = [pytest.mark.slow, pytest.mark.vm]

EXPECTED: Final[dict[str, Any]] = json.loads(
    Path(__file__).parents[2].joinpath("emulators/arke/expected.json").read_text()
)
TREE: Final = ExportSpec(pi=EXPECTED["root"], options=ExportOptions(recursive=True))


def export(stack: Stack, spec: ExportSpec, file: Path) -> dict[str, int | float]:
    """Export, download the file, and return the metrics."""
    order_id = stack.api.create_order(spec, str(uuid4())).id
    order = stack.await_order(order_id, in_state(State.SUCCEEDED, State.FAILED))
    assert order.state is State.SUCCEEDED, order.message
    stack.api.download_output(order, file)
    return dict(order.metrics)


def test_a_tree_is_the_same_bytes_from_a_virtual_machine_and_from_fly(guest_image: Path, tmp_path: Path) -> None:
    in_vm, on_fly = tmp_path / "vm.xml", tmp_path / "fly.xml"

    with stack_of(tmp_path / "home", ProviderChoice.QEMU, BackendChoice.MEMORY, guest_image.parent) as stack:
        counts = export(stack, TREE, in_vm)
        others = export(stack, TREE.model_copy(update={"image": OWN_IMAGE}), on_fly)

    expected = EXPECTED["recursive_from_root"]["maxDepth=2 or more"]
    for metrics in (counts, others):
        assert metrics["entities_exported"] == expected["attempted"]
        assert metrics["entities_written"] == expected["written"]
        assert metrics["entities_failed"] == expected["failed"]
        assert metrics["entities_incomplete"] == expected["incomplete"]
    assert in_vm.read_bytes() == on_fly.read_bytes()
    assert validate(in_vm) == []
