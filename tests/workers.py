"""How the tests of a run are divided among pytest-xdist's workers. (Its `loadgroup` makes no groups with pytest 9.2.)

Most modules are one unit of work each: their tests share what was prepared for them. Tests that take seconds and share
nothing are units by themselves, and are handed out first, so that no worker is left with them at the end.
"""

import re
from typing import Any, Final

import pytest
from xdist.scheduler import LoadScopeScheduling

PER_TEST: Final = (
    "tests/e2e/",
    "tests/security/test_guest_reaches_nothing.py",
    "tests/stack/test_up_and_down.py",
    "tests/launcher/test_limited.py",
    "tests/launcher/test_daemon.py",
    "tests/launcher/test_daemon_faults.py",
    "tests/launcher/test_doctor.py",
    "tests/security/test_permissions.py",
)
"""Here each test is a unit by itself."""
PER_MODULE: Final = (
    "tests/e2e/test_agent_launchers.py",
    "tests/e2e/test_capacity_transcript.py",
    "tests/e2e/test_contract_images.py",
    "tests/e2e/test_exports_transcript.py",
    "tests/e2e/test_extras.py",
    "tests/e2e/test_fly.py",
    "tests/e2e/test_guest.py",
    "tests/e2e/test_jobs_checklist.py",
    "tests/e2e/test_later_qemu.py",
    "tests/e2e/test_sessions_on_our_launcher.py",
    "tests/launcher/test_doctor.py",
    "tests/stack/test_up_and_down.py",
)
"""Except here: the tests share what takes longer to prepare than they do."""
ONE_UNIT: Final = (
    (
        "tests/unit/test_words.py",
        "tests/unit/test_word_rules.py",
        "tests/unit/test_class_names.py",
        "tests/unit/test_packaging.py",
        "tests/unit/test_security_page.py",
        "tests/unit/test_sizes.py",
        "tests/unit/test_testing_page.py",
    ),
)
"""The modules of each line are one unit: what they read of the whole repository is read once a process."""
FIRST: Final = (
    "tests/e2e/test_chaos.py",
    "tests/crash/",
    "tests/infra/test_outputs_s3.py",
    "tests/e2e/",
    "tests/functions/test_junk.py",
    "tests/security/test_fuzz.py",
    "tests/infra/test_deployments.py",
    "tests/infra/test_planted_faults.py",
    "tests/unit/test_words.py",
    *PER_TEST,
)
"""The tests that take longest, the longest first."""
A_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


UNIT_OF: Final = {module: modules[0] for modules in ONE_UNIT for module in modules}


class UnitScheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """Hands out one module at a time, one test at a time below `PER_TEST`, or the modules of a line of `ONE_UNIT`."""

    def _split_scope(self, nodeid: str) -> str:
        is_unit = nodeid.startswith(PER_TEST) and not nodeid.startswith(PER_MODULE)
        module = nodeid.partition("::")[0]
        return nodeid if is_unit else UNIT_OF.get(module, module)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> UnitScheduling:
    config.option.loadscopereorder = False  # the order is ours
    return UnitScheduling(config, log)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a parameter that is a random id after its argument: all workers must find tests of the same names."""
    return argname if isinstance(val, str) and A_UUID.fullmatch(val) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest tests first if there are workers; else keep the order."""
    if hasattr(config, "workerinput"):
        items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    return next((rank for rank, where in enumerate(FIRST) if item.nodeid.startswith(where)), len(FIRST))
