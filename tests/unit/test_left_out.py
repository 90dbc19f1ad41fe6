"""If what some tests need cannot be fetched, exactly these tests are left out, and the last lines say so."""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from emulators import google
from emulators.fetch import Unobtainable
from emulators.processes import StartFailed
from tests.infra import tools
from tests.left_out import NEEDS

pytest_plugins = ["pytester"]

ROOT: Final = Path(__file__).parents[2]
TESTS: Final = """
    import pytest

    def test_that_needs_nothing():
        pass

    @pytest.fixture(params=["memory", pytest.param("firestore", marks=pytest.mark.emulator)])
    def store(request):
        return request.param

    def test_of_both_stores(store):
        pass

    @pytest.mark.emulator
    def test_that_needs_an_emulator():
        {body}
"""
WORKERS: Final = [(), *([("-n", "2")] if find_spec("xdist") else [])]
"""With pytest-xdist, and without it."""


class Download:
    """Replaces a download: counts the calls, and raises `error` if there is one."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked = 0

    def obtain(self) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def downloads(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> dict[str, Download]:
    """What a project of the test's own downloads, by marker."""
    stand_ins = {marker: Download() for marker in NEEDS}
    monkeypatch.setattr(google, "obtain", stand_ins["emulator"].obtain)
    monkeypatch.setattr(tools, "obtain", stand_ins["terraform"].obtain)
    monkeypatch.setattr(tools, "obtain_checkov", stand_ins["checkov"].obtain)
    monkeypatch.setattr(tools, "obtain_aws", stand_ins["aws"].obtain)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeini("\n    ".join(["[pytest]\nmarkers =", *(f"{marker}: needs a download" for marker in NEEDS)]))
    return stand_ins


@pytest.fixture
def emulators(downloads: dict[str, Download]) -> Download:
    """The emulators of a project of the test's own."""
    return downloads["emulator"]


def run(pytester: pytest.Pytester, *words: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-p", "tests.left_out", *words)


@pytest.mark.parametrize("workers", WORKERS)
def test_tests_that_need_the_emulators_are_left_out_and_counted_at_the_end(
    pytester: pytest.Pytester, emulators: Download, workers: tuple[str, ...]
) -> None:
    emulators.error = Unobtainable("no way to the downloads")
    pytester.makepyfile(TESTS.format(body="raise AssertionError"))
    done = run(pytester, *workers)
    done.assert_outcomes(passed=2, deselected=0 if workers else 2)
    assert done.ret == 0
    words = "left out: 2 tests, because the emulators that they need cannot be fetched: no way to the downloads"
    assert done.outlines[-2:-1] == [words]
    assert emulators.asked == 1


@pytest.mark.parametrize("workers", WORKERS)
def test_nothing_is_left_out_if_the_emulators_can_be_had_and_one_that_fails_is_a_failure(
    pytester: pytest.Pytester, emulators: Download, workers: tuple[str, ...]
) -> None:
    pytester.makepyfile(TESTS.format(body='raise AssertionError("the emulator ended while starting")'))
    done = run(pytester, *workers)
    done.assert_outcomes(passed=3, failed=1)
    assert "left out" not in done.stdout.str()


@pytest.mark.parametrize("workers", WORKERS)
def test_who_asks_for_other_tests_only_is_not_kept_waiting(
    pytester: pytest.Pytester, emulators: Download, workers: tuple[str, ...]
) -> None:
    emulators.error = Unobtainable("no way to the downloads")
    pytester.makepyfile(TESTS.format(body="pass"))
    done = run(pytester, "-m", "not emulator and not vm", *workers)
    done.assert_outcomes(passed=2, deselected=0 if workers else 2)
    assert "left out" not in done.stdout.str()
    assert emulators.asked == 0


def test_tests_are_left_out_only_if_their_needs_cannot_be_obtained(
    pytester: pytest.Pytester, emulators: Download
) -> None:
    emulators.error = StartFailed("it ended while starting")
    pytester.makepyfile(TESTS.format(body="pass"))
    assert run(pytester).ret != 0


@pytest.mark.parametrize("workers", WORKERS)
def test_each_need_that_cannot_be_met_has_a_line_of_its_own(
    pytester: pytest.Pytester, downloads: dict[str, Download], workers: tuple[str, ...]
) -> None:
    downloads["terraform"].error = Unobtainable("no package index")
    downloads["checkov"].error = Unobtainable("no wheel for this Python")
    pytester.makepyfile("""
        import pytest

        @pytest.mark.terraform
        @pytest.mark.parametrize("shape", ["gateway", "alone"])
        def test_that_needs_terraform(shape):
            raise AssertionError

        @pytest.mark.checkov
        def test_that_needs_checkov():
            raise AssertionError

        @pytest.mark.emulator
        def test_that_needs_an_emulator():
            pass
    """)
    done = run(pytester, *workers)
    done.assert_outcomes(passed=1, deselected=0 if workers else 3)
    assert done.outlines[-3:-1] == [
        "left out: 2 tests, because Terraform and the schemas that they need cannot be fetched: no package index",
        "left out: 1 tests, because the packages of checkov that they need cannot be fetched: no wheel for this Python",
    ]
