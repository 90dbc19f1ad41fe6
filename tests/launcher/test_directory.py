"""A machine's directory is removed with its machine, even if its log or other directories cause errors."""

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import structlog.testing

from launcher.machines import directory, inventory
from launcher.machines.directory import LEASE, MAX_KEPT_LOGS, LinkOrCopy, VmDirectory
from launcher.machines.records import VmLease
from tests.launcher.stand_ins import A_LEASE, a_manifest
from tests.threads import at_once

ELSEWHERE: Final = Path("/dev/shm")  # noqa: S108 (folders of random names are made in it)
"""A file system of its own on every Linux host."""


def test_a_lease_that_never_expires_is_stored_as_daemons_of_every_version_store_it(tmp_path: Path) -> None:
    vm = a_directory(tmp_path)

    vm.record_lease(VmLease(ends=1, seconds=60, never_expires=True))

    assert json.loads((vm.path / LEASE).read_text()) == {"ends": 1, "seconds": 60, "endless": True}
    assert vm.lease().never_expires


def a_directory(state: Path, order_id: str = "one") -> VmDirectory:
    made = directory.create(state, a_manifest(order_id), b"{}", A_LEASE)
    made.serial_log.write_text("it booted\n")
    return made


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on another file system than `tmp_path`."""
    with tempfile.TemporaryDirectory(dir=ELSEWHERE) as folder:
        assert os.stat(folder).st_dev != tmp_path.stat().st_dev
        yield Path(folder)


def test_a_log_is_kept_on_another_file_system_and_the_directory_is_gone(tmp_path: Path, elsewhere: Path) -> None:
    made = a_directory(tmp_path)
    (tmp_path / "logs").symlink_to(elsewhere)

    made.remove()

    assert (elsewhere / "one-1.log").read_text() == "it booted\n"
    assert not list((tmp_path / "vms").iterdir())


def test_a_log_that_cannot_be_kept_does_not_keep_the_directory(tmp_path: Path) -> None:
    made = a_directory(tmp_path)
    (tmp_path / "logs").write_text("not a folder")

    made.remove()

    assert not list((tmp_path / "vms").iterdir())


def test_a_log_that_does_not_fit_the_disk_is_not_kept_in_part(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def move(_source: Path, target: Path) -> None:
        target.write_text("it bo")
        raise OSError(errno.ENOSPC, "No space left on device")

    made = a_directory(tmp_path)
    (tmp_path / "logs").symlink_to(elsewhere)
    monkeypatch.setattr("shutil.move", move)

    made.remove()

    assert not list(elsewhere.iterdir())
    assert not list((tmp_path / "vms").iterdir())


def test_a_quarantine_on_a_separate_file_system_copies_nothing(tmp_path: Path, elsewhere: Path) -> None:
    (tmp_path / "vms").symlink_to(elsewhere)
    strange = tmp_path / "vms" / "strange"
    strange.mkdir()
    number = strange.stat().st_ino

    aside = inventory.quarantine(strange)

    assert (aside.stat().st_dev, aside.stat().st_ino) == (elsewhere.stat().st_dev, number)
    assert inventory.remaining(tmp_path) == []


def test_machines_that_end_at_once_leave_no_directory_and_as_many_logs_as_are_kept(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for number in range(700):
        (tmp_path / "logs" / f"{number}.log").touch()
    (tmp_path / "logs" / "a-folder.log").mkdir()
    (tmp_path / "logs" / "removed-meanwhile.log").symlink_to("nothing")  # it is listed, and is not there
    ended = [a_directory(tmp_path, f"order{number}") for number in range(12)]

    with structlog.testing.capture_logs() as logs:
        at_once([one.remove for one in ended])

    assert logs == []
    assert not list((tmp_path / "vms").iterdir())
    assert len(list((tmp_path / "logs").iterdir())) <= MAX_KEPT_LOGS + 2


def test_hidden_folders_of_others_are_neither_removed_nor_taken_for_machines(tmp_path: Path) -> None:
    for name in (".snapshot", ".one-1.partial", "lost+found"):
        (tmp_path / "vms" / name).mkdir(parents=True)

    assert inventory.remaining(tmp_path) == []
    assert sorted(path.name for path in (tmp_path / "vms").iterdir()) == [".snapshot", "lost+found"]


def test_a_link_does_not_count_as_a_machines_directory(tmp_path: Path) -> None:
    made = a_directory(tmp_path)
    made.path.rename(tmp_path / "moved")
    made.path.symlink_to(tmp_path / "moved")

    with pytest.raises(LinkOrCopy, match="symbolic link"):
        directory.read(made.path)
