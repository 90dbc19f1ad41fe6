"""A guest image: a directory of files named by one manifest, and known by the SHA-256 of that manifest."""

import hashlib
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from shared.wire.base import Sha256

MANIFEST: Final = "manifest.json"
FORMAT: Final = 2

PlainName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class ImageRejected(Exception):
    """The image is not what its digest promises; it must not be booted."""


class ImageFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: PlainName
    sha256: Sha256


class ImageManifest(BaseModel):
    """`kernel` is a bzImage, which a firmware starts. `unpacked_kernel` is the same as an ELF file, which QEMU starts
    itself if there is no firmware (PVH), about a second earlier.

    `cmdline` is the same for every machine of this image: per-machine data would destroy its RTMR2 reference. It holds
    the root's hash, so that RTMR2 stands for the root, too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[2] = FORMAT
    kernel: ImageFile
    unpacked_kernel: ImageFile
    initrd: ImageFile
    root: ImageFile
    cmdline: str

    def canonical(self) -> bytes:
        return self.model_dump_json(indent=2).encode()

    def digest(self) -> str:
        """Return the image's digest, in lower-case hex."""
        return hashlib.sha256(self.canonical()).hexdigest()


class _Format(BaseModel):
    """What every manifest says, of whatever version."""

    format: int


def verify(directory: Path, digest: str) -> ImageManifest:
    """Return the image's manifest, having read every byte of it. Raises ImageRejected, with the file's name."""
    try:
        document = (directory / MANIFEST).read_bytes()
    except OSError as error:
        raise ImageRejected(f"{MANIFEST} cannot be read: {error.strerror}") from error
    if hashlib.sha256(document).hexdigest() != digest:
        raise ImageRejected(f"{MANIFEST} is not the one of digest {digest}")
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
        return f"{MANIFEST} is not of a manifest's form"
    if written == FORMAT:
        return f"{MANIFEST} is not of format {FORMAT}'s form"
    return f"{MANIFEST} has format {written}, and this version boots {FORMAT}: build the image anew (make guest-image)"


def file_digest(path: Path) -> str:
    """Return a file's SHA-256 in lower-case hex. Raises ImageRejected where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageRejected(f"{path.name} cannot be read: {error.strerror}") from error
