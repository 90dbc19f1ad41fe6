"""A guest image: a directory of files that one manifest lists. The manifest's SHA-256 is the image's digest."""

import hashlib
import re
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from shared.wire.base import Sha256

MANIFEST: Final = "manifest.json"
FORMAT: Final = 2
ROOT_HASH: Final = "roothash="
"""The word of the command line that the guest's `init` reads."""
SHA256: Final = re.compile(r"[0-9a-f]{64}")

PlainName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class ImageRejected(Exception):
    """The image does not match its digest, and must not be booted."""


class ImageFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: PlainName
    sha256: Sha256


class ImageManifest(BaseModel):
    """Firmware starts `kernel`, a bzImage. Without firmware QEMU itself starts `unpacked_kernel`, the same kernel as an
    ELF file (PVH), which saves about a second.

    Every machine of this image has the same `cmdline`: per-machine data would change RTMR2, whose reference value is
    known. It holds the root's hash, so RTMR2 covers the root as well.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[2] = FORMAT
    kernel: ImageFile
    unpacked_kernel: ImageFile
    initrd: ImageFile
    root: ImageFile
    cmdline: str

    @property
    def root_hash(self) -> str | None:
        """Return the hash by which the guest checks each block of its root; None if the command line has none."""
        return root_hash(self.cmdline)

    def canonical(self) -> bytes:
        return self.model_dump_json(indent=2).encode()

    def digest(self) -> str:
        """Return the image's digest, in lower-case hex."""
        return hashlib.sha256(self.canonical()).hexdigest()


def root_hash(cmdline: str) -> str | None:
    """Return the root's hash that a kernel's command line names; None if it names none, or several."""
    named = [word.removeprefix(ROOT_HASH) for word in cmdline.split() if word.startswith(ROOT_HASH)]
    return named[0] if len(named) == 1 and SHA256.fullmatch(named[0]) else None


class _Format(BaseModel):
    """The field that manifests of every version have."""

    format: int


def verify(directory: Path, digest: str) -> ImageManifest:
    """Check every file of the image, and return its manifest. Raises ImageRejected, which names the file."""
    try:
        document = (directory / MANIFEST).read_bytes()
    except OSError as error:
        raise ImageRejected(f"{MANIFEST} cannot be read: {error.strerror}") from error
    if hashlib.sha256(document).hexdigest() != digest:
        raise ImageRejected(f"{MANIFEST} does not have the digest {digest}")
    try:
        manifest = ImageManifest.model_validate_json(document)
    except ValidationError as error:
        raise ImageRejected(_misread(document)) from error
    for file in (manifest.kernel, manifest.unpacked_kernel, manifest.initrd, manifest.root):
        if file_digest(directory / file.name) != file.sha256:
            raise ImageRejected(f"{file.name} does not match its SHA-256 in {MANIFEST}")
    return manifest


def _misread(document: bytes) -> str:
    try:
        written = _Format.model_validate_json(document).format
    except ValidationError:
        return f"{MANIFEST} is not a manifest"
    if written == FORMAT:
        return f"{MANIFEST} is not a valid manifest of format {FORMAT}"
    return f"{MANIFEST} has format {written}, and this version boots {FORMAT}: build the image anew (make guest-image)"


def file_digest(path: Path) -> str:
    """Return a file's SHA-256 in lower-case hex. Raises ImageRejected if the file cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageRejected(f"{path.name} cannot be read: {error.strerror}") from error
