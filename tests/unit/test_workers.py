"""The files that a run's workers share, and the division of its tests among them."""

import re
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from emulators.processes import Server
from tests.collection import order_of
from tests.shared_emulators import address
from tests.threads import at_once
from tests.workers import FIRST, ONE_UNIT, PER_TEST, UnitScheduling, pytest_make_parametrize_id

ROOT: Final = Path(__file__).parents[2]
FIXED_ID: Final = re.compile(r'uuid\w*(: Final)? ?= ?"[0-9a-f]{8}-', re.IGNORECASE)


def test_whichever_worker_asks_first_an_emulator_is_started_and_warmed_up_once(tmp_path: Path) -> None:
    started, warmed = list[int](), list[str]()

    def start(port: int, logs: Path) -> Server:
        started.append(port)
        return Server("an emulator", 1, 0, logs)

    addresses = at_once([lambda: address(tmp_path, "any", start, lambda: warmed.append("up"))] * 6)

    assert (len(started), warmed) == (1, ["up"])
    assert set(addresses) == {f"127.0.0.1:{started[0]}"}


def test_an_emulator_that_did_not_start_has_no_address(tmp_path: Path) -> None:
    def fail(port: int, logs: Path) -> Server:
        raise RuntimeError("it did not start")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="did not start"):
            address(tmp_path, "any", fail, lambda: None)


def test_tests_that_share_a_modules_fixture_are_one_unit() -> None:
    sharing = [
        file
        for file in (ROOT / "tests").rglob("*.py")
        if '@pytest.fixture(scope="module")' in file.read_text(encoding="utf-8")
    ]

    assert sharing
    assert [
        file for file in sharing if _unit(f"{file.relative_to(ROOT)}::test_it") != str(file.relative_to(ROOT))
    ] == []


def test_the_folders_that_are_divided_or_come_first_exist() -> None:
    divided = [*FIRST, *PER_TEST, *(module for modules in ONE_UNIT for module in modules)]

    assert [where for where in divided if not (ROOT / where).exists()] == []


def test_a_module_is_one_unit_unless_its_tests_take_long() -> None:
    assert _unit("tests/unit/test_a.py::TestB::test_c[x::y]") == "tests/unit/test_a.py"
    assert _unit("tests/e2e/test_a.py::test_b[c]") == "tests/e2e/test_a.py::test_b[c]"


def test_modules_that_read_the_whole_repository_are_one_unit_with_those_that_read_the_same() -> None:
    for modules in ONE_UNIT:
        assert {_unit(f"{module}::test_it") for module in modules} == {modules[0]}


def test_a_random_parameter_has_the_same_name_in_every_worker() -> None:
    assert pytest_make_parametrize_id(str(uuid4()), "order_id") == "order_id"
    assert pytest_make_parametrize_id("tiny", "size") is None


def test_each_worker_imports_every_module_and_begins_at_one_of_its_own() -> None:
    names = [f"tests.test_{number}" for number in range(10)]

    orders = [order_of(names, worker, 4) for worker in range(4)]

    assert [sorted(order) for order in orders] == [names] * 4
    assert [order[0] for order in orders] == [f"tests.test_{number}" for number in (0, 2, 5, 7)]


def _unit(nodeid: str) -> str:
    return str(UnitScheduling._split_scope(UnitScheduling.__new__(UnitScheduling), nodeid))


def test_no_test_that_starts_a_machine_gives_it_the_id_of_every_run() -> None:
    """Machines are found, and ended, by their ids: two runs on one host ended each other's."""
    files = sorted((ROOT / "tests").rglob("*.py"))

    fixed = [str(file.relative_to(ROOT)) for file in files if FIXED_ID.search(file.read_text(encoding="utf-8"))]
    assert fixed == ["tests/launcher/test_argv.py"]  # it starts none
