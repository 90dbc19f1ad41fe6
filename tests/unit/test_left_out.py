"""If what some tests need cannot be fetched, exactly these tests are left out, and the last lines say so."""

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from emulators.fetch import Unobtainable
from emulators.processes import StartFailed
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
WORKERS: Final = [(), *([("-p", "xdist", "-n", "2")] if find_spec("xdist") else [])]
"""With pytest-xdist, and without it."""
FEW: Final = [(), *(pytest.param(one, marks=pytest.mark.slow) for one in WORKERS[1:])]
"""Without workers; with two in `make test-slow`, because these tests depend little on them."""


CONFTEST: Final = """
    import json
    from pathlib import Path

    import pytest

    from emulators import fetch, google, processes
    from tests.infra import tools

    HERE = Path(__file__).parent
    DOWNLOADS = {
        "emulator": (google, "obtain"),
        "terraform": (tools, "obtain"),
        "checkov": (tools, "obtain_checkov"),
        "aws": (tools, "obtain_aws"),
    }
    own = pytest.MonkeyPatch()

    def obtaining(marker):
        def obtain():
            with (HERE / "asked").open("a") as asked:
                asked.write(f"{marker} ")
            errors = json.loads((HERE / "errors.json").read_text())
            if marker in errors:
                unobtainable, words = errors[marker]
                raise fetch.Unobtainable(words) if unobtainable else processes.StartFailed(words)
        return obtain

    def pytest_configure():
        for marker, (module, name) in DOWNLOADS.items():
            own.setattr(module, name, obtaining(marker))

    def pytest_unconfigure():
        own.undo()
"""
"""Replaces the downloads in each process of a run."""


@dataclass(frozen=True, slots=True)
class Downloads:
    """What a project of the test's own downloads."""

    folder: Path

    def fail(self, marker: str, error: Exception) -> None:
        file = self.folder / "errors.json"
        errors = json.loads(file.read_text()) | {marker: [isinstance(error, Unobtainable), str(error)]}
        file.write_text(json.dumps(errors))

    @property
    def asked(self) -> list[str]:
        """The marker of each download, in the order in which they were asked for."""
        file = self.folder / "asked"
        return file.read_text().split() if file.exists() else []


@pytest.fixture
def downloads(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Downloads:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # those of libraries take most of a second
    pytester.makeini("\n    ".join(["[pytest]\nmarkers =", *(f"{marker}: needs a download" for marker in NEEDS)]))
    pytester.makeconftest(CONFTEST)
    (pytester.path / "errors.json").write_text("{}")
    return Downloads(pytester.path)


def run(pytester: pytest.Pytester, *words: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-p", "tests.shared_emulators", "-p", "tests.left_out", *words)


@pytest.mark.parametrize("workers", WORKERS)
def test_tests_that_need_the_emulators_are_left_out_and_counted_at_the_end(
    pytester: pytest.Pytester, downloads: Downloads, workers: tuple[str, ...]
) -> None:
    downloads.fail("emulator", Unobtainable("no way to the downloads"))
    pytester.makepyfile(TESTS.format(body="raise AssertionError"))
    done = run(pytester, *workers)
    done.assert_outcomes(passed=2, skipped=2)
    assert done.ret == 0
    words = "left out: 2 tests, because the emulators that they need cannot be fetched: no way to the downloads"
    assert done.outlines[-2:-1] == [words]
    assert downloads.asked == ["emulator"]


@pytest.mark.parametrize("workers", FEW)
def test_nothing_is_left_out_if_the_emulators_can_be_had_and_one_that_fails_is_a_failure(
    pytester: pytest.Pytester, downloads: Downloads, workers: tuple[str, ...]
) -> None:
    pytester.makepyfile(TESTS.format(body='raise AssertionError("the emulator ended while starting")'))
    done = run(pytester, *workers)
    done.assert_outcomes(passed=3, failed=1)
    assert "left out" not in done.stdout.str()
    assert downloads.asked == ["emulator"]


@pytest.mark.parametrize("workers", FEW)
def test_who_asks_for_other_tests_only_is_not_kept_waiting(
    pytester: pytest.Pytester, downloads: Downloads, workers: tuple[str, ...]
) -> None:
    downloads.fail("emulator", Unobtainable("no way to the downloads"))
    pytester.makepyfile(TESTS.format(body="pass"))
    done = run(pytester, "-m", "not emulator and not vm", *workers)
    done.assert_outcomes(passed=2, deselected=0 if workers else 2)
    assert "left out" not in done.stdout.str()
    assert downloads.asked == []


@pytest.mark.parametrize("workers", FEW)
def test_who_selects_tests_that_need_nothing_by_name_is_not_kept_waiting(
    pytester: pytest.Pytester, downloads: Downloads, workers: tuple[str, ...]
) -> None:
    pytester.makepyfile(TESTS.format(body="pass"))
    done = run(pytester, "-k", "needs_nothing or memory", *workers)
    done.assert_outcomes(passed=2, deselected=0 if workers else 2)
    assert downloads.asked == []


def test_the_tests_before_the_first_that_needs_a_download_do_not_wait_for_it(
    pytester: pytest.Pytester, downloads: Downloads
) -> None:
    pytester.makepyfile("""
        import pytest
        from pathlib import Path

        ASKED = Path(__file__).with_name("asked")

        def test_that_needs_nothing():
            assert not ASKED.exists()

        @pytest.mark.checkov
        def test_that_needs_checkov():
            assert ASKED.exists()
    """)
    run(pytester).assert_outcomes(passed=2)
    assert downloads.asked == ["checkov"]


def test_tests_are_left_out_only_if_their_needs_cannot_be_obtained(
    pytester: pytest.Pytester, downloads: Downloads
) -> None:
    downloads.fail("emulator", StartFailed("it ended while starting"))
    pytester.makepyfile(TESTS.format(body="pass"))
    assert run(pytester).ret != 0


@pytest.mark.parametrize("workers", FEW)
def test_each_need_that_cannot_be_met_has_a_line_of_its_own(
    pytester: pytest.Pytester, downloads: Downloads, workers: tuple[str, ...]
) -> None:
    downloads.fail("terraform", Unobtainable("no package index"))
    downloads.fail("checkov", Unobtainable("no wheel for this Python"))
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
    done.assert_outcomes(passed=1, skipped=3)
    assert done.outlines[-3:-1] == [
        "left out: 2 tests, because Terraform and the schemas that they need cannot be fetched: no package index",
        "left out: 1 tests, because the packages of checkov that they need cannot be fetched: no wheel for this Python",
    ]
