"""Leaves out tests whose means cannot be had here; the last lines of a run count them and say why.

Some tests need programs that the run itself fetches: a marker says which. They are fetched once a run; under xdist the
controller does so for its workers. If what a test needs is there and does not work, the test fails.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

import pytest

from emulators import google
from emulators.fetch import Unobtainable
from tests.infra import tools


class Node(Protocol):
    """A worker in xdist's controller. It has `workeroutput` once the worker has ended by itself."""

    config: pytest.Config
    workerinput: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Need:
    """What the tests with a marker need: its name in the plural, and what fetches it or raises Unobtainable."""

    words: str
    obtain: Callable[[], object]


NEEDS: Final[Mapping[str, Need]] = {
    "emulator": Need("the emulators", lambda: google.obtain()),
    "terraform": Need("Terraform and the schemas", lambda: tools.obtain()),
    "aws": Need("the real aws provider", lambda: tools.obtain_aws()),
    "checkov": Need("the packages of checkov", lambda: tools.obtain_checkov()),
}
"""By marker. A test with several needs all of them."""
WHY: Final = pytest.StashKey[dict[str, str | None]]()
COUNTS: Final = pytest.StashKey[dict[str, int]]()
TO_WORKERS: Final = "why_not"
FROM_WORKERS: Final = "left_out"


@pytest.hookimpl(trylast=True)  # after -m and -k: count only tests that would run
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    counts = config.stash.setdefault(COUNTS, {})
    for marker in NEEDS:
        marked = [item for item in items if item.get_closest_marker(marker)]
        if not marked or why_not(config, marker) is None:
            continue
        items[:] = [item for item in items if item not in marked]
        config.hook.pytest_deselected(items=marked)
        counts[marker] = len(marked)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for marker, count in config.stash.get(COUNTS, {}).items():
        terminalreporter.write_line(
            f"left out: {count} tests, because {NEEDS[marker].words} that they need cannot be fetched: "
            f"{why_not(config, marker)}",
            yellow=True,
        )


def why_not(config: pytest.Config, marker: str) -> str | None:
    """Return why what the marker's tests need cannot be fetched; None if it can be."""
    known = config.stash.setdefault(WHY, _from_controller(config))
    if marker not in known:
        known[marker] = _fetch(config, NEEDS[marker])
    return known[marker]


def _from_controller(config: pytest.Config) -> dict[str, str | None]:
    given = getattr(config, "workerinput", {}).get(TO_WORKERS, {})
    return dict(cast("Mapping[str, str | None]", given))


def _fetch(config: pytest.Config, need: Need) -> str | None:
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():  # a download shows its progress
        try:
            need.obtain()
        except Unobtainable as error:
            return str(error)
    return None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Node) -> None:
    """The controller collects nothing, so each need may be some test's, unless `-m` excludes its marker."""
    excluded = {marker for marker in NEEDS if f"not {marker}" in node.config.option.markexpr}
    node.workerinput[TO_WORKERS] = {
        marker: None if marker in excluded else why_not(node.config, marker) for marker in NEEDS
    }


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[FROM_WORKERS] = session.config.stash.get(COUNTS, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Node, error: object) -> None:
    """Take the counts from a worker: all of them collect the same tests."""
    counted: Mapping[str, int] = getattr(node, "workeroutput", {}).get(FROM_WORKERS, {})
    counts = node.config.stash.setdefault(COUNTS, {})
    counts |= {marker: max(counts.get(marker, 0), count) for marker, count in counted.items()}
