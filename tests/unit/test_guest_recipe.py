"""The guest image is built again if anything in it changed, and the host that builds it leaves no trace in it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from shared.guest.image import verify
from worker.guest import build, initrd, kernel, root, trees, verity
from worker.guest.build import digest_of_inputs
from worker.guest.commands import BuildFailed, run
from worker.guest.exclusive import alone_in
from worker.guest.trees import Unpacked

HOLDER: Final = """
import sys
from pathlib import Path
from worker.guest.exclusive import alone_in
with alone_in(Path(sys.argv[1]), print):
    print("alone")
    sys.stdin.read()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the image could be made of."""
    for name in ("functions", "shared", "worker"):
        shutil.copytree(root.PROJECT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_same_inputs_have_the_same_stamp(project: Path) -> None:
    assert digest_of_inputs(True, project) == digest_of_inputs(True, root.PROJECT)


@pytest.mark.parametrize(
    "name",
    [
        "shared/wire/workers.py",
        "shared/domain/spec.py",
        "shared/guest/config.py",
        "worker/__main__.py",
        "worker/guest/build.py",
        "worker/guest/init",
        "worker/guest/packages.lock",
        "worker/guest/requirements.lock",
        "worker/mods/languages.py",
        "worker/programs/command.py",
    ],
)
def test_a_changed_file_changes_the_stamp(project: Path, name: str) -> None:
    before = digest_of_inputs(True, project)
    with (project / name).open("a") as file:
        file.write("# A comment.\n")
    assert digest_of_inputs(True, project) != before


def test_a_new_and_a_renamed_file_change_the_stamp(project: Path) -> None:
    before = digest_of_inputs(True, project)
    new = project / "worker/programs/new.py"
    new.write_text("")
    added = digest_of_inputs(True, project)
    new.rename(new.with_name("newer.py"))
    assert len({before, added, digest_of_inputs(True, project)}) == 3


@pytest.mark.parametrize(
    "name", ["functions/domain/pools.py", "shared/client.py", "shared/domain/lanes.py", "shared/wire/launchers.py"]
)
def test_a_comment_in_a_module_that_the_worker_does_not_import_leaves_the_stamp(project: Path, name: str) -> None:
    before = digest_of_inputs(True, project)
    with (project / name).open("a") as file:
        file.write("# A comment.\n")
    assert digest_of_inputs(True, project) == before


def test_a_module_that_the_worker_starts_to_import_changes_the_stamp_from_then_on(project: Path) -> None:
    before = digest_of_inputs(True, project)
    with (project / "shared/secret.py").open("a") as file:
        file.write("from shared.domain import lanes\n")
    imported = digest_of_inputs(True, project)
    with (project / "shared/domain/lanes.py").open("a") as file:
        file.write("# A comment.\n")
    assert len({before, imported, digest_of_inputs(True, project)}) == 3


def test_an_image_of_other_packages_than_the_locks_has_another_stamp() -> None:
    assert digest_of_inputs(False) != digest_of_inputs(True)


def test_users_other_than_the_builder_may_read_an_images_files_whatever_the_umask(tmp_path: Path) -> None:
    """Each machine's QEMU has a user of its own."""
    image = tmp_path / "image"
    image.mkdir()
    before = os.umask(0o077)
    try:
        for name in ("vmlinuz", "vmlinux", "initrd.zst", "root.img"):
            (image / name).write_bytes(name.encode())
        digest = build._publish(image, verity.Verity(1, "0" * 64), "inputs", tmp_path)
    finally:
        os.umask(before)

    manifest = verify(tmp_path / digest, digest)
    files = (manifest.kernel, manifest.unpacked_kernel, manifest.initrd, manifest.root)
    assert {(tmp_path / digest / file.name).stat().st_mode & 0o777 for file in files} == {0o644}


def test_init_gives_the_configuration_to_the_worker_only_before_the_worker_starts() -> None:
    lines = initrd.INIT.read_text().splitlines()
    owner, mode = lines.index('chown 1000:1000 "/newroot$config"'), lines.index('chmod 0400 "/newroot$config"')
    [started] = [number for number, line in enumerate(lines) if "-m worker" in line]
    assert max(owner, mode) < started
    assert "-c worker:worker" in lines[started]
    assert "worker:x:1000:1000:" in root.FILES["etc/passwd"]


def test_a_link_of_a_package_never_leads_to_a_file_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "package/DEBIAN").mkdir(parents=True)
    (tmp_path / "package/DEBIAN/control").write_text(
        "Package: links\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: links\n"
    )
    (tmp_path / "package/usr/lib").mkdir(parents=True)
    (tmp_path / "package/usr/lib/passwd").symlink_to("/etc/passwd")
    (tmp_path / "package/usr/lib/inside").symlink_to("/usr/lib/passwd")
    run(["dpkg-deb", "--build", "-Znone", "package", "links.deb"], tmp_path)

    tree = trees.unpack([tmp_path / "links.deb"], tmp_path / "tree").folder

    assert not (tree / "usr/lib/passwd").exists()
    assert (tree / "usr/lib/inside").readlink() == Path("passwd")


def test_a_tools_environment_is_the_same_on_every_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZSTD_CLEVEL", "1")
    tree = Unpacked(tmp_path)
    (tmp_path / trees.LOADER).parent.mkdir(parents=True)
    (tmp_path / trees.LOADER).write_text("#!/bin/sh\nenv\n")
    (tmp_path / trees.LOADER).chmod(0o755)

    seen = dict(line.split("=", 1) for line in tree.run("usr/bin/zstd", environment={"OWN": "1"}).splitlines())

    assert "ZSTD_CLEVEL" not in seen
    assert {"LC_ALL": "C", "TZ": "UTC", "SOURCE_DATE_EPOCH": "0", "OWN": "1"}.items() <= seen.items()


@pytest.mark.parametrize("image", [b"\0" * 1024, b"\0" * 0x202 + b"HdrS" + b"\0" * 1024])
def test_a_kernel_that_cannot_be_unpacked_is_refused(tmp_path: Path, image: bytes) -> None:
    (tmp_path / "usr/lib/modules/7.0").mkdir(parents=True)
    (tmp_path / "usr/lib/modules/7.0/vmlinuz").write_bytes(image)

    with pytest.raises(BuildFailed, match="kernel"):
        kernel.write(Unpacked(tmp_path), tmp_path / "vmlinuz", tmp_path / "vmlinux")


def test_one_build_at_a_time_works_in_a_folder_and_reports_that_it_waits(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        assert next_line(first) == "alone"
        (tmp_path / ".building-first").mkdir()
        with holder(tmp_path) as second:
            assert next_line(second) == f"Waiting for another build in {tmp_path}."
            assert (tmp_path / ".building-first").exists()
            first.kill()
            assert next_line(second) == "alone"
            assert not (tmp_path / ".building-first").exists()


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has the folder to itself until it is killed."""
    argv = [sys.executable, "-u", "-c", HOLDER, str(folder)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root.PROJECT) as process:
        try:
            yield process
        finally:
            process.kill()


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def test_an_interrupted_builds_files_are_removed_by_the_next(tmp_path: Path) -> None:
    for name in (".building-1", ".fetching-2", ".archive-3", "an-image"):
        (tmp_path / name / "inner").mkdir(parents=True)

    with alone_in(tmp_path, pytest.fail):
        assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["an-image"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mirror", "ftp://example.org"], "The mirror is not the address of a Debian archive (http, https or file)"),
        (["--out", "/dev/null/images"], "/dev/null/images: Not a directory"),
    ],
)
def test_an_error_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["build", "--out", str(tmp_path), *arguments])

    assert build.main() == 1

    [line] = capsys.readouterr().err.splitlines()
    assert message in line


def test_all_tools_that_a_host_lacks_are_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["build", "--out", str(tmp_path)])
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("worker.guest.commands.KEYRING", tmp_path / "keyring.gpg")

    assert build.main() == 1

    [line] = capsys.readouterr().err.splitlines()
    assert "mmdebstrap" in line
    assert "keyring.gpg" in line
    assert line.endswith("apt-get install --no-install-recommends apt debian-archive-keyring dpkg mmdebstrap")
