"""The guest image is built again where anything in it changed; its init shows the configuration to the worker only."""

import shutil
from pathlib import Path
from typing import Final

import pytest

from worker.guest import initrd, root
from worker.guest.build import digest_of_inputs
from worker.guest.packages import Package

PACKAGES: Final = (Package("python3", "python3.deb", "0" * 64), Package("busybox", "busybox.deb", "1" * 64))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the image could be made of."""
    for name in ("shared", "worker"):
        shutil.copytree(root.PROJECT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_same_inputs_have_the_same_stamp(project: Path) -> None:
    assert digest_of_inputs(PACKAGES, project) == digest_of_inputs(PACKAGES, root.PROJECT)


@pytest.mark.parametrize(
    "name",
    [
        "shared/api.py",
        "shared/domain/spec.py",
        "shared/vm_config.py",
        "worker/__main__.py",
        "worker/guest/build.py",
        "worker/guest/init",
        "worker/guest/requirements.lock",
        "worker/mods/languages.py",
        "worker/programs/command.py",
    ],
)
def test_a_changed_file_changes_the_stamp(project: Path, name: str) -> None:
    before = digest_of_inputs(PACKAGES, project)
    with (project / name).open("a") as file:
        file.write("\n")
    assert digest_of_inputs(PACKAGES, project) != before


def test_a_new_and_a_renamed_file_change_the_stamp(project: Path) -> None:
    before = digest_of_inputs(PACKAGES, project)
    new = project / "worker/programs/new.py"
    new.write_text("")
    added = digest_of_inputs(PACKAGES, project)
    new.rename(new.with_name("newer.py"))
    assert len({before, added, digest_of_inputs(PACKAGES, project)}) == 3


def test_a_file_that_is_not_in_the_image_leaves_the_stamp(project: Path) -> None:
    before = digest_of_inputs(PACKAGES, project)
    (project / "shared/control_plane.py").write_text("")
    assert digest_of_inputs(PACKAGES, project) == before


def test_another_package_changes_the_stamp() -> None:
    newer = (PACKAGES[0], Package("busybox", "busybox.deb", "2" * 64))
    assert digest_of_inputs(newer) != digest_of_inputs(PACKAGES)


def test_init_gives_the_configuration_to_the_worker_only_before_the_worker_starts() -> None:
    lines = initrd.INIT.read_text().splitlines()
    owner, mode = lines.index('chown 1000:1000 "/newroot$config"'), lines.index('chmod 0400 "/newroot$config"')
    [started] = [number for number, line in enumerate(lines) if "-m worker" in line]
    assert max(owner, mode) < started
    assert "-c worker:worker" in lines[started]
    assert "worker:x:1000:1000:" in root.FILES["etc/passwd"]
