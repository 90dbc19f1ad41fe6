"""`python -m worker.guest.build --out FOLDER`: build the guest image unless it is up to date.

FOLDER/<digest>/    kernel in two forms, initrd, root, manifest.json
FOLDER/current      the digest of the newest image
FOLDER/inputs       the SHA-256 of its inputs
"""

import argparse
import hashlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from shared.guest.image import MANIFEST, ImageFile, ImageManifest, ImageRejected, file_digest, verify
from worker.guest import archive, initrd, kernel, lock, packages, root, verity
from worker.guest.commands import BuildFailed, require_tools
from worker.guest.exclusive import alone_in
from worker.guest.lock import Packages
from worker.guest.settings import MIRROR, ImageSettings
from worker.guest.suite import Tree
from worker.guest.trees import unpack
from worker.guest.verity import Verity

CMDLINE: Final = "console=ttyS0 panic=-1 quiet cryptomgr.notests no_timer_check"
"""No self-tests of the kernel's ciphers: under emulation they take most of a second. No test of the timer's interrupt:
it measures against a clock that a busy host delays, and panics. Under KVM the kernel itself skips that test
(Documentation/admin-guide/kernel-parameters.txt)."""
CACHE: Final = Path(".launchyard/cache")
CURRENT: Final = "current"
INPUTS: Final = "inputs"
KEPT: Final = "debs"

Report = Callable[[str], None]


def main() -> int:
    """Build the image, or renew the lock (--lock). Explain a failure in one line."""
    arguments = _arguments()
    try:
        mirror = ImageSettings(**({"debian_mirror": arguments.mirror} if arguments.mirror else {})).debian_mirror
        if arguments.lock:
            relock(arguments.cache, mirror, _report)
        else:
            sys.stdout.write(f"{build(arguments.out, arguments.cache, mirror, arguments.locked, _report)}\n")
    except ValidationError:
        return _failed(
            f"The mirror is not the address of a Debian archive (http, https or file): see --mirror, {MIRROR}."
        )
    except BuildFailed as error:
        return _failed(str(error))
    except OSError as error:  # the disk is full, or access is denied
        return _failed(f"The guest image cannot be built: {error.filename or arguments.out}: {error.strerror}.")
    return 0


def build(
    out: Path, cache: Path, mirror: str | None = None, only_locked: bool = False, report: Report = lambda _: None
) -> str:
    """Return the digest of an image in `out` that was built from the present inputs, building it if need be.

    `mirror` is the address of a Debian archive and replaces mmdebstrap's own choice. If `only_locked`, the image has
    the lock's packages and no others. Raises BuildFailed, OSError.
    """
    out, cache = out.absolute(), cache.absolute()
    with alone_in(out, report):
        return _present(out, only_locked) or _build(out, cache, mirror, only_locked, report)


def relock(cache: Path, mirror: str | None, report: Report) -> None:
    """Write the lock anew, with the suite's present packages. Raises BuildFailed, OSError."""
    require_tools()
    cache = cache.absolute()
    with alone_in(cache / KEPT, report):
        present = packages.renew(cache / KEPT, partial(archive.opened, cache / KEPT, mirror), report)
    lock.write(present)
    report(f"{lock.LOCK.name} now names {len(present)} packages: look at what changed, build, test, commit.")


def digest_of_inputs(locked: bool, project: Path = root.PROJECT) -> str:
    """Return the SHA-256 of the recipe, its locks, and the project's files in the image.

    `locked` is false if the image has the suite's packages instead of the lock's.
    """
    recipe = sorted(file for file in (project / root.RECIPE).iterdir() if file.is_file())
    lines = [f"{file.relative_to(project)} {file_digest(file)}" for file in (*recipe, *root.sources(project))]
    return hashlib.sha256("\n".join((f"locked {locked}", *lines)).encode()).hexdigest()


def _present(out: Path, only_locked: bool) -> str | None:
    """Return the present image's digest if it was built from these inputs and is whole."""
    try:
        inputs, digest = (out / INPUTS).read_text(), (out / CURRENT).read_text()
    except FileNotFoundError:
        return None
    expected = [digest_of_inputs(locked) for locked in ({True} if only_locked else {True, False})]
    return digest if inputs in expected and _is_whole(out, digest) else None


def _is_whole(out: Path, digest: str) -> bool:
    try:
        verify(out / digest, digest)
    except ImageRejected:
        return False
    return True


def _build(out: Path, cache: Path, mirror: str | None, only_locked: bool, report: Report) -> str:
    require_tools()
    kept, locked = cache / KEPT, lock.read()
    with alone_in(kept, report):
        chosen = packages.obtain(locked, kept, partial(archive.opened, kept, mirror), only_locked, report)
    inputs = digest_of_inputs(chosen == locked)
    report("Building the guest image.")
    with tempfile.TemporaryDirectory(dir=out, prefix=".building-") as temporary:
        image = Path(temporary) / "image"
        image.mkdir()
        made = _assemble(chosen, kept, cache / "wheels", Path(temporary), image)
        return _publish(image, made, inputs, out)


def _assemble(chosen: Packages, kept: Path, wheels: Path, scratch: Path, image: Path) -> Verity:
    """Write the image's files, with tools from the packages only."""
    trees = {
        tree: unpack((kept / package.file for package in chosen if package.tree is tree), scratch / tree)
        for tree in Tree
    }
    tools = trees[Tree.TOOLS]
    root.build(trees[Tree.ROOT], tools, wheels, image / "root.img")
    made = verity.append(tools, image / "root.img")
    initrd.build(tools, scratch / "initrd", image / "initrd.zst")
    kernel.write(tools, image / "vmlinuz", image / "vmlinux")
    return made


def _publish(image: Path, made: Verity, inputs: str, out: Path) -> str:
    manifest = ImageManifest(
        kernel=_file(image / "vmlinuz"),
        unpacked_kernel=_file(image / "vmlinux"),
        initrd=_file(image / "initrd.zst"),
        root=_file(image / "root.img"),
        cmdline=f"{CMDLINE} {made.words}",
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
    path.chmod(0o644)  # whatever the umask: machines' QEMU reads it, as users of their own
    return ImageFile(name=path.name, sha256=file_digest(path))


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Build the guest image unless it is up to date.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, help="the folder for images")
    what.add_argument("--lock", action="store_true", help="instead, write packages.lock anew from the suite's packages")
    parser.add_argument("--cache", type=Path, default=CACHE, help="the folder for downloads")
    parser.add_argument("--mirror", help=f"the address of a Debian archive [{MIRROR}]")
    parser.add_argument("--locked", action="store_true", help="use the lock's packages or fail: for a release")
    return parser.parse_args()


def _report(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _failed(why: str) -> int:
    _report(why)
    return 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that unfinished files are removed
    sys.exit(main())
