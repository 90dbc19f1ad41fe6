"""If the emulators cannot be fetched, exactly the tests that need them are left out, and the last line says so."""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from emulators import google
from emulators.fetch import Unobtainable
from emulators.processes import StartFailed

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


class Emulators:
    """Replaces the download of the emulators: counts the calls, and raises `error` if there is one."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked = 0

    def obtain(self) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def emulators(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Emulators:
    """The emulators of a project of the test's own."""
    stand_in = Emulators()
    monkeypatch.setattr(google, "obtain", stand_in.obtain)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeini("[pytest]\nmarkers = emulator: needs an emulator\n")
    return stand_in


def run(pytester: pytest.Pytester, *words: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-p", "tests.left_out", *words)


@pytest.mark.parametrize("workers", WORKERS)
def test_tests_that_need_the_emulators_are_left_out_and_counted_at_the_end(
    pytester: pytest.Pytester, emulators: Emulators, workers: tuple[str, ...]
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
    pytester: pytest.Pytester, emulators: Emulators, workers: tuple[str, ...]
) -> None:
    pytester.makepyfile(TESTS.format(body='raise AssertionError("the emulator ended while starting")'))
    done = run(pytester, *workers)
    done.assert_outcomes(passed=3, failed=1)
    assert "left out" not in done.stdout.str()


@pytest.mark.parametrize("workers", WORKERS)
def test_who_asks_for_other_tests_only_is_not_kept_waiting(
    pytester: pytest.Pytester, emulators: Emulators, workers: tuple[str, ...]
) -> None:
    emulators.error = Unobtainable("no way to the downloads")
    pytester.makepyfile(TESTS.format(body="pass"))
    done = run(pytester, "-m", "not emulator and not vm", *workers)
    done.assert_outcomes(passed=2, deselected=0 if workers else 2)
    assert "left out" not in done.stdout.str()
    assert emulators.asked == 0


def test_tests_are_left_out_only_if_their_needs_cannot_be_obtained(
    pytester: pytest.Pytester, emulators: Emulators
) -> None:
    emulators.error = StartFailed("it ended while starting")
    pytester.makepyfile(TESTS.format(body="pass"))
    assert run(pytester).ret != 0
