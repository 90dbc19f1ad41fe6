"""The files of an installation: whole, for whom they are, and removed without a trace."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher.installation import sandbox
from launcher.installation.files import (
    CREDENTIALS,
    ENVIRONMENT,
    SETTINGS,
    SLICE,
    UNIT,
    UNITS,
    File,
    begin,
    remove,
    write,
)
from tests.launcher.test_operators_files import SERVICE, directives

OLD = (File(CREDENTIALS, b"old credentials\n"), File(ENVIRONMENT, b"OLD=1\n"), File(UNITS / UNIT, b"old\n", 0o644))
NEW = (File(CREDENTIALS, b"new credentials\n"), File(ENVIRONMENT, b"NEW=1\n"), File(UNITS / UNIT, b"new\n", 0o644))


class Interrupted(BaseException):
    """Ends an installation at one of its steps."""


def test_files_have_their_modes_whatever_the_umask_is(tmp_path: Path) -> None:
    for mask in (0, 0o077):
        before = os.umask(mask)
        try:
            write(tmp_path / str(mask), NEW)
        finally:
            os.umask(before)

        modes = [stat.S_IMODE((tmp_path / str(mask) / file.path.relative_to("/")).stat().st_mode) for file in NEW]
        assert modes == [0o600, 0o600, 0o644]
        assert stat.S_IMODE((tmp_path / str(mask) / "etc/launchyard").stat().st_mode) == 0o700


@pytest.mark.parametrize("step", ["open", "fchmod", "fsync", "replace"])
def test_no_step_leaves_a_file_that_others_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Before and after each call of the system, whatever is in the folder is closed to others."""
    real: Callable[..., Any] = getattr(os, step)
    folder = tmp_path / SETTINGS.relative_to("/")

    def closed() -> None:
        assert [path for path in folder.glob("*") if path.stat().st_mode & 0o077] == []

    def watched(*arguments: Any, **options: Any) -> Any:
        closed()
        answer = real(*arguments, **options)
        closed()
        return answer

    monkeypatch.setattr(os, step, watched)
    before = os.umask(0)
    try:
        write(tmp_path, NEW[:2])
    finally:
        os.umask(before)
    assert NEW[1].is_at(tmp_path)


@pytest.mark.parametrize("step", ["open", "fchmod", "fsync", "replace"])
def test_an_installation_that_is_interrupted_leaves_each_file_old_or_new_and_the_next_completes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    real: Callable[..., Any] = getattr(os, step)
    calls = 0
    for survived in range(12):
        root = tmp_path / str(survived)
        write(root, OLD)
        left = survived

        def interrupted(*arguments: Any, **options: Any) -> Any:
            nonlocal left, calls
            if left == 0:
                raise Interrupted
            left -= 1
            calls += 1
            return real(*arguments, **options)

        with monkeypatch.context() as patched:
            patched.setattr(os, step, interrupted)
            try:
                write(root, NEW)
                completed = True
            except Interrupted:
                completed = False

        whole = [new.is_at(root) or old.is_at(root) for old, new in zip(OLD, NEW, strict=True)]
        assert whole == [True, True, True]
        if completed:
            break
        write(root, NEW)
        assert all(file.is_at(root) for file in NEW)
        assert list(root.rglob("*.partial")) == []
    else:
        pytest.fail("no run was complete")
    assert survived > 0


def test_a_file_with_another_mode_content_or_kind_is_not_the_file(tmp_path: Path) -> None:
    file, there = NEW[1], tmp_path / ENVIRONMENT.relative_to("/")
    assert not file.is_at(tmp_path)
    write(tmp_path, NEW)
    assert file.is_at(tmp_path)

    there.chmod(0o640)
    assert not file.is_at(tmp_path)
    there.chmod(0o600)
    there.write_bytes(b"OTHER=1\n")
    assert not file.is_at(tmp_path)
    there.rename(tmp_path / "elsewhere")
    there.symlink_to(tmp_path / "elsewhere")
    assert not file.is_at(tmp_path)


def test_a_removal_takes_what_an_installation_wrote_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, [*NEW, File(UNITS / SLICE, b"", 0o644)])
    state = tmp_path / "var/lib/launchyard/identity"
    dropped_in = tmp_path / f"etc/systemd/system/{SLICE}.d/override.conf"
    for kept in (state, dropped_in):
        kept.parent.mkdir(parents=True)
        kept.write_text("kept")

    begin(tmp_path)

    assert set(remove(tmp_path)) == {CREDENTIALS, ENVIRONMENT, UNITS / UNIT, UNITS / SLICE}
    assert remove(tmp_path) == ()

    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {state, dropped_in}
    assert not (tmp_path / SETTINGS.relative_to("/")).exists()


def test_what_the_unit_hides_is_what_the_installation_takes_for_hidden() -> None:
    service = dict(directives(SERVICE, "Service"))

    assert (service["ProtectHome"], service["PrivateTmp"]) == ("yes", "yes")
    assert sandbox.is_hidden(Path("/home/me/venv/bin/launchyard"))
    assert sandbox.is_hidden(Path("/run/user/0/token"))
    assert not sandbox.is_hidden(Path("/homes/launchyard"))
    assert not sandbox.is_hidden(Path("/opt/launchyard/bin/launchyard"))


def test_what_the_launcher_may_not_read_without_the_rights_of_root_is_found(tmp_path: Path) -> None:
    """The unit gives the launcher no CAP_DAC_OVERRIDE: the mode of a file counts, for root, too."""
    folder = tmp_path / "spire"
    folder.mkdir()
    token = folder / "token"
    token.write_text("a token")

    assert sandbox.closed(token) is None
    token.chmod(0o044)
    assert sandbox.closed(token) == token
    token.chmod(0o400)
    folder.chmod(0o666)
    assert sandbox.closed(token) == folder
    folder.chmod(0o700)
    with pytest.raises(FileNotFoundError):
        sandbox.closed(folder / "other")
