"""`python -m worker.guest.build --out FOLDER`: build the guest image, unless the one that stands is up to date.

FOLDER/<digest>/    kernel, initrd, root, manifest.json
FOLDER/current      the digest of the newest
FOLDER/inputs       the SHA-256 of what it was built from
"""

import argparse
import hashlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from shared.image import MANIFEST, ImageFile, ImageManifest, ImageRejected, file_digest, verify
from worker.guest import initrd, packages, root
from worker.guest.commands import BuildFailed, require_tools, run
from worker.guest.packages import Package

CMDLINE: Final = "console=ttyS0 panic=-1 quiet"
CURRENT: Final = "current"
INPUTS: Final = "inputs"


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the guest image, unless the one that stands is up to date.")
    parser.add_argument("--out", type=Path, required=True, help="where images are kept")
    parser.add_argument("--cache", type=Path, default=Path(".launchyard/cache"), help="where downloads are kept")
    arguments = parser.parse_args()
    try:
        digest = build(arguments.out, arguments.cache)
    except BuildFailed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{digest}\n")
    return 0


def build(out: Path, cache: Path) -> str:
    """Return the digest of the image in `out` that is made of the present inputs. Raises BuildFailed."""
    require_tools()
    chosen = packages.resolve()
    inputs = digest_of_inputs(chosen)
    standing = _standing(out, inputs)
    return standing or _build(chosen, inputs, out.absolute(), cache.absolute())


def digest_of_inputs(chosen: tuple[Package, ...], project: Path = root.PROJECT) -> str:
    """Return the SHA-256 over the packages, the recipe and the project's files that the image is made of."""
    recipe = sorted(file for file in (project / root.RECIPE).iterdir() if file.is_file())
    lines = [f"{package.file} {package.sha256}" for package in chosen]
    lines += [f"{file.relative_to(project)} {file_digest(file)}" for file in (*recipe, *root.sources(project))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _standing(out: Path, inputs: str) -> str | None:
    """The present image's digest, where it was made of these inputs and is whole."""
    try:
        if (out / INPUTS).read_text() != inputs:
            return None
        digest = (out / CURRENT).read_text()
    except FileNotFoundError:
        return None
    return digest if _is_whole(out, digest) else None


def _is_whole(out: Path, digest: str) -> bool:
    try:
        verify(out / digest, digest)
    except ImageRejected:
        return False
    return True


def _build(chosen: tuple[Package, ...], inputs: str, out: Path, cache: Path) -> str:
    out.mkdir(parents=True, exist_ok=True)
    kernel_deb, *root_debs = packages.fetch(chosen, cache / "debs").values()
    with tempfile.TemporaryDirectory(dir=out, prefix=".building-") as temporary:
        scratch, image = Path(temporary) / "scratch", Path(temporary) / "image"
        image.mkdir(parents=True)
        root.build(root_debs, cache / "wheels", scratch / "root", image / "root.squashfs")
        run(["dpkg", "-x", str(kernel_deb), str(scratch / "kernel")])
        busybox = scratch / "root" / "bin" / "busybox"
        initrd.build(scratch / "kernel", busybox, scratch / "initrd", image / "initrd.gz")
        shutil.copyfile(next((scratch / "kernel" / "boot").glob("vmlinuz-*")), image / "vmlinuz")
        return _publish(image, inputs, out)


def _publish(image: Path, inputs: str, out: Path) -> str:
    manifest = ImageManifest(
        kernel=_file(image / "vmlinuz"),
        initrd=_file(image / "initrd.gz"),
        root=_file(image / "root.squashfs"),
        cmdline=CMDLINE,
    )
    (image / MANIFEST).write_bytes(manifest.canonical())
    digest = manifest.digest()
    if not _is_whole(out, digest):  # machines may be running from one that is
        shutil.rmtree(out / digest, ignore_errors=True)
        image.replace(out / digest)
    _write(out / CURRENT, digest)
    _write(out / INPUTS, inputs)
    return digest


def _file(path: Path) -> ImageFile:
    return ImageFile(name=path.name, sha256=file_digest(path))


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main())
