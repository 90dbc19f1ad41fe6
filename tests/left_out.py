"""Leaves out tests whose means cannot be had here; the last lines of a run count them and say why.

Some tests need programs that the run itself fetches: a marker says which. The first test with the marker fetches them
for all workers of the run, so that no other test waits for a download. If what a test needs is there and does not work,
the test fails.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import pytest

from emulators import google
from emulators.fetch import Unobtainable
from tests.infra import tools
from tests.shared_emulators import HOME, alone


@dataclass(frozen=True, slots=True)
class Need:
    """What the tests with a marker need: its name in the plural, and what fetches it or raises Unobtainable."""

    words: str
    obtain: Callable[[], object]

    @property
    def reason(self) -> str:
        """How the reason begins for which a test is left out."""
        return f"{self.words} that they need cannot be fetched: "


NEEDS: Final[Mapping[str, Need]] = {
    "emulator": Need("the emulators", lambda: google.obtain()),
    "terraform": Need("Terraform and the schemas", lambda: tools.obtain()),
    "aws": Need("the real aws provider", lambda: tools.obtain_aws()),
    "checkov": Need("the packages of checkov", lambda: tools.obtain_checkov()),
}
"""By marker. A test with several needs all of them."""


@pytest.hookimpl(tryfirst=True)  # before any fixture
def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, need in NEEDS.items():
        if item.get_closest_marker(marker) and (why := why_not(item.config, marker)):
            pytest.skip(f"{need.reason}{why}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = tuple(need.reason for need in NEEDS.values())
    skipped = [report.longrepr for report in terminalreporter.stats.get("skipped", ())]
    texts = [text[2].removeprefix("Skipped: ") for text in skipped if isinstance(text, tuple)]
    for why, count in sorted(Counter(text for text in texts if text.startswith(reasons)).items()):
        terminalreporter.write_line(f"left out: {count} tests, because {why}", yellow=True)


def why_not(config: pytest.Config, marker: str) -> str:
    """Return why what the marker's tests need cannot be fetched; "" if it can be. The first caller of a run fetches."""
    home = config.stash[HOME]
    with alone(home, f"need-{marker}"):
        known = home / f"need-{marker}"
        if not known.exists():
            known.write_text(_fetch(config, NEEDS[marker]), encoding="utf-8")
        return known.read_text(encoding="utf-8")


def _fetch(config: pytest.Config, need: Need) -> str:
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():  # a download shows its progress
        try:
            need.obtain()
        except Unobtainable as error:
            return str(error)
    return ""
