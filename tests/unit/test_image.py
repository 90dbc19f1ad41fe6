"""A guest image that does not match its digest is never booted."""

import json
from pathlib import Path
from typing import Final

import pytest

from shared.guest.image import MANIFEST, ImageFile, ImageManifest, ImageRejected, file_digest, verify

FILES: Final = ("kernel", "unpacked_kernel", "initrd", "root")


@pytest.fixture
def image(tmp_path: Path) -> tuple[Path, ImageManifest]:
    files = {}
    for name in FILES:
        (tmp_path / name).write_text(f"the {name}")
        files[name] = ImageFile(name=name, sha256=file_digest(tmp_path / name))
    manifest = ImageManifest(cmdline="quiet", **files)
    (tmp_path / MANIFEST).write_bytes(manifest.canonical())
    return tmp_path, manifest


def test_a_whole_image_is_taken(image: tuple[Path, ImageManifest]) -> None:
    folder, manifest = image

    assert verify(folder, manifest.digest()) == manifest


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_is_refused(image: tuple[Path, ImageManifest], name: str) -> None:
    folder, manifest = image
    (folder / name).write_text(f"thE {name}")

    with pytest.raises(ImageRejected, match=name):
        verify(folder, manifest.digest())


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_a_missing_file_is_refused(image: tuple[Path, ImageManifest], name: str) -> None:
    folder, manifest = image
    (folder / name).unlink()

    with pytest.raises(ImageRejected, match=name):
        verify(folder, manifest.digest())


def test_another_manifest_is_refused_though_its_files_match(image: tuple[Path, ImageManifest]) -> None:
    folder, manifest = image
    changed = manifest.model_copy(update={"cmdline": "quiet init=/bin/sh"})
    (folder / MANIFEST).write_bytes(changed.canonical())

    with pytest.raises(ImageRejected, match=MANIFEST):
        verify(folder, manifest.digest())


def test_a_digest_over_something_else_is_refused(image: tuple[Path, ImageManifest]) -> None:
    folder, _ = image
    (folder / MANIFEST).write_text("{}")

    with pytest.raises(ImageRejected, match="is not a manifest"):
        verify(folder, file_digest(folder / MANIFEST))


@pytest.mark.parametrize("written", [1, 3])
def test_an_image_of_another_format_is_refused_in_words_that_help(
    image: tuple[Path, ImageManifest], written: int
) -> None:
    folder, manifest = image
    document = json.loads(manifest.canonical()) | {"format": written}
    (folder / MANIFEST).write_text(json.dumps(document))

    with pytest.raises(ImageRejected, match=rf"has format {written}, .* build the image anew \(make guest-image\)"):
        verify(folder, file_digest(folder / MANIFEST))
