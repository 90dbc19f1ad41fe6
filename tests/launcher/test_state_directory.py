"""The state directory keeps the identity by which launchers of one name differ."""

from pathlib import Path

import pytest

from launcher.daemon.state_directory import FILE, UNREADABLE, identity_in
from tests.launcher.stand_ins import IDENTITY, NAMESAKES


def test_an_identity_is_made_once_and_kept(tmp_path: Path) -> None:
    assert identity_in(tmp_path, lambda: IDENTITY) == IDENTITY
    assert identity_in(tmp_path, lambda: NAMESAKES) == IDENTITY
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("garbage", [b"", b"\xff\xfe", b"not one", IDENTITY.upper().encode()])
def test_an_invalid_identity_is_kept_aside_and_a_new_one_is_made(tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / FILE).write_bytes(garbage)

    assert identity_in(tmp_path, lambda: NAMESAKES) == NAMESAKES
    assert identity_in(tmp_path, lambda: IDENTITY) == NAMESAKES
    assert (tmp_path / UNREADABLE).read_bytes() == garbage


def test_a_folder_instead_of_the_file_is_kept_aside_too(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()

    assert identity_in(tmp_path, lambda: IDENTITY) == IDENTITY
    assert (tmp_path / UNREADABLE).is_dir()
