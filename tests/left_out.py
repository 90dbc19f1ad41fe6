"""Leaves out the tests marked `emulator` if the emulators cannot be fetched; the last line counts them and says why.

The emulators are fetched once a run; under xdist the controller does so for its workers. If an emulator is there and
does not start, its tests fail.
"""

from typing import Any, Final, Protocol, cast

import pytest

from emulators import google
from emulators.fetch import Unobtainable


class Node(Protocol):
    """A worker in xdist's controller. It has `workeroutput` once the worker has ended by itself."""

    config: pytest.Config
    workerinput: dict[str, Any]


MARKER: Final = "emulator"
WHY: Final = pytest.StashKey[str | None]()
COUNT: Final = pytest.StashKey[int]()
TO_WORKERS: Final = "why_emulators_cannot_be_had"
FROM_WORKERS: Final = "left_out"


@pytest.hookimpl(trylast=True)  # after -m and -k: count only tests that would run
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
            f"left out: {count} tests, because the emulators that they need cannot be fetched: {why_not(config)}",
            yellow=True,
        )


def why_not(config: pytest.Config) -> str | None:
    """Return why the emulators cannot be fetched; None if they can be."""
    if WHY not in config.stash:
        config.stash[WHY] = _from_controller(config) if hasattr(config, "workerinput") else _fetch(config)
    return config.stash[WHY]


def _from_controller(config: pytest.Config) -> str | None:
    return cast("str | None", cast("Any", config).workerinput[TO_WORKERS])


def _fetch(config: pytest.Config) -> str | None:
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():  # a download shows its progress
        try:
            google.obtain()
        except Unobtainable as error:
            return str(error)
    return None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Node) -> None:
    """The controller collects nothing, so unless `-m` excludes them, some tests may need the emulators."""
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
