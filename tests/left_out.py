"""Leaves out the tests marked `emulator` if the emulators cannot be had, and says at the end how many and why.

Whether they can be had is found out once a run, by fetching them. Under xdist the controller does so for its workers.
Emulators that are there and do not start fail their tests.
"""

from typing import Any, Final, Protocol, cast

import pytest

from emulators import google
from emulators.fetch import Unobtainable


class Node(Protocol):
    """A worker as xdist's controller has it; `workeroutput` is there once the worker has ended of itself."""

    config: pytest.Config
    workerinput: dict[str, Any]


MARKER: Final = "emulator"
WHY: Final = pytest.StashKey[str | None]()
COUNT: Final = pytest.StashKey[int]()
TO_WORKERS: Final = "why_emulators_cannot_be_had"
FROM_WORKERS: Final = "left_out"


@pytest.hookimpl(trylast=True)  # after -m and -k, so that what nobody asked for is not counted
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker(MARKER)]
    if not marked or why_not(config) is None:
        return
    items[:] = [item for item in items if item not in marked]
    config.hook.pytest_deselected(items=marked)
    config.stash[COUNT] = len(marked)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if count := config.stash.get(COUNT, 0):
        terminalreporter.write_line(
            f"left out: {count} tests, for the emulators that they need cannot be had: {why_not(config)}", yellow=True
        )


def why_not(config: pytest.Config) -> str | None:
    """Return why the emulators cannot be had, and None if they can be."""
    if WHY not in config.stash:
        config.stash[WHY] = _told(config) if hasattr(config, "workerinput") else _find_out(config)
    return config.stash[WHY]


def _told(config: pytest.Config) -> str | None:
    return cast("str | None", cast("Any", config).workerinput[TO_WORKERS])


def _find_out(config: pytest.Config) -> str | None:
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():  # a download shows how far it is
        try:
            google.obtain()
        except Unobtainable as error:
            return str(error)
    return None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Node) -> None:
    """Under xdist nothing is collected here: unless -m says otherwise, the tests may need the emulators."""
    others_only = f"not {MARKER}" in node.config.option.markexpr
    node.workerinput[TO_WORKERS] = None if others_only else why_not(node.config)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[FROM_WORKERS] = session.config.stash.get(COUNT, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Node, error: object) -> None:
    """Take the count from a worker: all of them collect the same tests."""
    counted = getattr(node, "workeroutput", {}).get(FROM_WORKERS, 0)
    node.config.stash[COUNT] = max(node.config.stash.get(COUNT, 0), counted)
