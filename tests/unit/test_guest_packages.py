"""The image's packages are the lock's, to the byte. If they are not available, the build reports it, or refuses."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from worker.guest import lock, packages
from worker.guest.commands import BuildFailed
from worker.guest.lock import Package, Packages
from worker.guest.suite import Tree

CONTENT: Final = {
    "libc6_2.41-12_amd64.deb": b"libc 12",
    "libc6_2.41-13_amd64.deb": b"libc 13",
    "zlib1g_1%3a1.3-1_amd64.deb": b"zlib",
}


def package(file: str, tree: Tree = Tree.ROOT) -> Package:
    return Package(tree, file, hashlib.sha256(CONTENT[file]).hexdigest())


OLD, NEW, ZLIB = (package(file) for file in CONTENT)
LOCKED: Final = (OLD, package(OLD.file, Tree.TOOLS), ZLIB)
PRESENT: Final = (NEW, package(NEW.file, Tree.TOOLS), ZLIB)


@dataclass
class AnArchive:
    """An archive in memory; `opened` counts how often it was opened."""

    content: Mapping[str, bytes]
    present: Packages = PRESENT
    opened: int = 0
    fetched: list[str] = field(default_factory=list)

    @contextmanager
    def open(self) -> Iterator["AnArchive"]:
        self.opened += 1
        yield self

    def lacks(self, packages: Iterable[Package]) -> Packages:
        return tuple(one for one in packages if one.file not in self.content)

    def resolve(self) -> Packages:
        return self.present

    def download(self, packages: Iterable[Package], folder: Path) -> None:
        for one in packages:
            self.fetched.append(one.file)
            (folder / one.file).write_bytes(self.content[one.file])


@pytest.fixture
def reported() -> list[str]:
    return []


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "debs"


def test_locked_packages_are_fetched_once_and_never_again(kept: Path, reported: list[str]) -> None:
    archive = AnArchive(CONTENT)

    assert packages.obtain(LOCKED, kept, archive.open, False, reported.append) == LOCKED
    assert packages.obtain(LOCKED, kept, AnArchive({}).open, True, pytest.fail) == LOCKED

    assert sorted(archive.fetched) == [OLD.file, ZLIB.file]
    assert {file.name: file.read_bytes() for file in kept.iterdir()} == {
        one.file: CONTENT[one.file] for one in (OLD, ZLIB)
    }


def test_kept_packages_do_after_the_archive_has_dropped_them(kept: Path, reported: list[str]) -> None:
    packages.obtain(LOCKED, kept, AnArchive(CONTENT).open, False, reported.append)
    later = AnArchive({NEW.file: CONTENT[NEW.file]})

    assert packages.obtain(LOCKED, kept, later.open, False, pytest.fail) == LOCKED
    assert later.opened == 0


def test_a_cached_package_that_was_changed_is_fetched_again(kept: Path, reported: list[str]) -> None:
    packages.obtain(LOCKED, kept, AnArchive(CONTENT).open, False, reported.append)
    (kept / OLD.file).write_bytes(b"another libc")
    archive = AnArchive(CONTENT)

    packages.obtain(LOCKED, kept, archive.open, False, reported.append)

    assert archive.fetched == [OLD.file]
    assert (kept / OLD.file).read_bytes() == CONTENT[OLD.file]


@pytest.mark.parametrize("only_locked", [True, False])
def test_a_package_that_differs_from_the_lock_is_refused_and_not_kept(
    kept: Path, reported: list[str], only_locked: bool
) -> None:
    archive = AnArchive({**CONTENT, OLD.file: b"another libc"})

    with pytest.raises(BuildFailed, match=r"libc6_2\.41-12_amd64\.deb .* does not match its SHA-256 in packages\.lock"):
        packages.obtain(LOCKED, kept, archive.open, only_locked, reported.append)

    assert not (kept / OLD.file).exists()


def test_when_the_suite_has_moved_on_an_ordinary_build_goes_on_and_reports_it(kept: Path, reported: list[str]) -> None:
    archive = AnArchive({one.file: CONTENT[one.file] for one in PRESENT})

    assert packages.obtain(LOCKED, kept, archive.open, False, reported.append) == PRESENT

    assert reported[0].startswith("Debian's archive no longer has libc6 2.41-12 of the lock: `make lock-image`")
    assert "snapshot mirror" in reported[0]
    assert (kept / NEW.file).read_bytes() == CONTENT[NEW.file]


def test_when_the_suite_has_moved_on_a_build_for_a_release_is_refused(kept: Path, reported: list[str]) -> None:
    archive = AnArchive({one.file: CONTENT[one.file] for one in PRESENT})

    with pytest.raises(BuildFailed, match=r"no longer has libc6 2\.41-12 of the lock: `make lock-image`"):
        packages.obtain(LOCKED, kept, archive.open, True, reported.append)

    assert archive.fetched == []


def test_the_lock_reads_as_it_was_written(tmp_path: Path) -> None:
    lock.write(LOCKED, tmp_path / "packages.lock")

    assert lock.read(tmp_path / "packages.lock") == tuple(sorted(LOCKED))
    assert ZLIB.exact == "zlib1g=1:1.3-1"


@pytest.mark.parametrize(
    "line",
    [
        "",
        f"{OLD.sha256}  {OLD.file}",
        f"{OLD.sha256[:-1]}  root/{OLD.file}",
        f"{OLD.sha256}  root/../{OLD.file}",
        f"{OLD.sha256}  elsewhere/{OLD.file}",
        f"{OLD.sha256}  root/https://example.org/{OLD.file}",
    ],
)
def test_a_wrong_line_of_the_lock_is_refused_by_its_number(tmp_path: Path, line: str) -> None:
    file = tmp_path / "packages.lock"
    lock.write((ZLIB,), file)
    file.write_text(f"{file.read_text()}{line}\n")

    with pytest.raises(BuildFailed, match=r"packages\.lock, line 2 "):
        lock.read(file)


def test_the_committed_lock_names_a_kernel_of_backports_and_one_version_of_each_package() -> None:
    locked = lock.read()

    assert {tree for tree in Tree if any(one.tree is tree for one in locked)} == set(Tree)
    assert sum(one.name.startswith("linux-binary-") and "bpo" in one.version for one in locked) == 1
    assert len({one.name for one in locked}) == len({one.file for one in locked})
