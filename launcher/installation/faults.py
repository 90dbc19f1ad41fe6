"""What is wrong with a request to install, one sentence each: what it is, and what to do. No sentence repeats a key."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from launcher.host.checks.service import closed_to_machines
from launcher.installation import sandbox
from launcher.installation.environment import is_writable
from launcher.installation.files import inside
from shared.guest.image import MANIFEST, ImageRejected, verify
from shared.wire.base import Name

KEY: Final = re.compile(r"(?:ly|ee_live)_[A-Za-z0-9_-]{20,}")
"""What the control plane's keys look like."""
NAMES: Final = TypeAdapter(Name)
PROGRAM: Final = re.compile(r"/[\w./+-]+", re.ASCII)
"""A path that systemd takes as it is: systemd.service(5), COMMAND LINES."""
ELSEWHERE: Final = "move it, for example below /opt/launchyard"
VISIBLE: Final = "the launcher is root without the right to read other users' files"


def of_name(name: str) -> Iterator[str]:
    try:
        NAMES.validate_python(name)
    except ValidationError:
        yield (
            "--name: it must have 1 to 64 letters, digits, dots, dashes and underscores, a letter or a digit first, "
            "such as rack-7-host-1."
        )


def of_key(key: str | None) -> Iterator[str]:
    if key is not None and not KEY.fullmatch(key):
        yield (
            "The launcher's key is not one: it begins with ly_ and holds no blanks. Copy it again, as "
            "`launchyard deploy key` or the request that made the launchers' account showed it."
        )


def of_program(program: Path, python: Path, root: Path, running: bool) -> Iterator[str]:
    """Check the program that the unit starts, and the Python that runs it."""
    if not PROGRAM.fullmatch(str(program)):
        yield f"The program {program} has a character in its path that a unit cannot have: {ELSEWHERE}."
    else:
        yield from _of_path("The program", program, root, running)
        if running:
            yield from _of_path("Its Python", python, root, running)


def of_image(image: Path, digest: str, root: Path, running: bool) -> Iterator[str]:
    """Check the guest image, and whether its launcher and machines may read it."""
    if faults := list(_of_path("The image", image / MANIFEST, root, running)):
        yield from faults
        return
    there = inside(root, image)
    try:
        why = closed_to_machines(there, verify(there, digest))
    except ImageRejected as rejected:
        why = f"{rejected}: copy the image again, or correct the digest"
    if why is not None:
        yield f"The image {image}: {why}."


def of_token(token: Path, root: Path, running: bool) -> Iterator[str]:
    """Check the file that the host's identity provider renews."""
    yield from _of_path("The token of credentials.credential_source.file", token, root, running)


def of_path(option: str, path: Path) -> Iterator[str]:
    if not path.is_absolute() or not is_writable(str(path)):
        yield f"{option}: it must be an absolute path without quotation marks."


def _of_path(what: str, path: Path, root: Path, running: bool) -> Iterator[str]:
    """Check that the unit's launcher can read the path. What is to run later is not looked for now."""
    real = path.resolve() if inside(root, path) == path else path
    if sandbox.is_hidden(real):
        yield f"{what} {path} is in a folder that the unit hides from the launcher ({real}): {ELSEWHERE}."
        return
    if not running:
        return
    try:
        closed = sandbox.closed(inside(root, path))
    except OSError as error:
        yield f"{what} {path} cannot be found ({error.strerror}): put it there first."
        return
    if closed is not None:
        yield f"{what} {path} cannot be read past {closed}, because {VISIBLE}: chmod a+rX it, or chown it to root."
