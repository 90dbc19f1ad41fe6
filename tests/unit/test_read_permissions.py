"""Permissions are read while launchers and servers make and remove files."""

import os
from pathlib import Path

import pytest

from tests.harness.permissions import readable


def test_what_is_removed_while_permissions_are_read_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "open").touch()
    (tmp_path / "open").chmod(0o644)
    entries = list(os.walk(tmp_path))
    monkeypatch.setattr(os, "walk", lambda _: [*entries, (f"{tmp_path}/1.removed", ["a-folder"], ["process.json"])])

    assert readable(tmp_path) == [f"{tmp_path}/open 0o100644"]


def test_a_folder_that_does_not_exist_is_not_taken_for_a_private_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        readable(tmp_path / "misspelt")
