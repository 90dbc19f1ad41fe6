"""How the tests of a run are divided among pytest-xdist's workers. (Its `loadgroup` makes no groups with pytest 9.2.)

Most modules are one piece of work each: their tests share what was prepared for them. Tests that take seconds and share
nothing are pieces by themselves, and are handed out first, so that no worker is left with them at the end.
"""

import re
from typing import Any, Final

import pytest
from xdist.scheduler import LoadScopeScheduling

SINGLY: Final = (
    "tests/e2e/",
    "tests/stack/test_up_and_down.py",
    "tests/launcher/test_bounded.py",
    "tests/launcher/test_daemon.py",
    "tests/launcher/test_doctor.py",
)
"""Where each test is a piece by itself."""
TOGETHER: Final = ("tests/e2e/test_later_qemu.py",)
"""Where it is not, for what is prepared takes longer than the tests."""
FIRST: Final = ("tests/e2e/test_chaos.py", "tests/crash/", *SINGLY)
"""What takes long, the longest first."""
A_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Pieces(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """Hands out a module at a time, of `SINGLY` a test at a time."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith(SINGLY) and not nodeid.startswith(TOGETHER) else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Pieces:
    config.option.loadscopereorder = False  # the order is ours
    return Pieces(config, log)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a parameter that is an id drawn by chance by what it is: all workers must find tests of the same names."""
    return argname if isinstance(val, str) and A_UUID.fullmatch(val) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have what takes long come first, if there are workers; else the order is as ever."""
    if hasattr(config, "workerinput"):
        items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    return next((rank for rank, where in enumerate(FIRST) if item.nodeid.startswith(where)), len(FIRST))
