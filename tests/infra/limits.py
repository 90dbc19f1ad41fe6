"""Says at the end of a run what the tests over stand-in providers do not show."""

import pytest

from tests.infra.stand_in import LIMITS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write the limits if a test ran that relies on a stand-in."""
    ended = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, ())]
    if any("terraform" in report.keywords for report in ended if isinstance(report, pytest.TestReport)):
        terminalreporter.write_line(f"limits of Terraform's stand-in providers: {LIMITS}")
