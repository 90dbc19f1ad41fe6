"""Decides what an installation writes, from a pool's configuration and from what is installed.

It lists all that is wrong at once, and writes nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from launcher.installation import config, faults
from launcher.installation.config import ConfigWrong, ExternalAccount, PoolConfig
from launcher.installation.credentials import CredentialsIncomplete, file_of
from launcher.installation.environment import EnvironmentFile, EnvironmentUnclear, is_writable
from launcher.installation.files import CREDENTIALS, ENVIRONMENT, EXAMPLE, SLICE, File, inside, shipped, units
from launcher.installation.variables import read_from
from launcher.settings import Cloud, LauncherSettings, ProviderName
from shared.settings import SettingsWrong

KEY: Final = "LAUNCHYARD_LAUNCHER_KEY"
NAME: Final = "LAUNCHYARD_LAUNCHER_NAME"
GOOGLE_CREDENTIALS: Final = "GOOGLE_APPLICATION_CREDENTIALS"
GOOGLE_PROJECT: Final = "GOOGLE_CLOUD_PROJECT"
"""Without it, Google's library asks Google for the project each time the launcher starts."""
IMAGE: Final = "LAUNCHYARD_IMAGE"
DIGEST: Final = "LAUNCHYARD_IMAGE_DIGEST"
ANY_IMAGE: Final = {IMAGE: "/", DIGEST: "0" * 64}
"""In place of an image that is still missing, so that all other settings are checked."""
OF_THE_UNIT: Final = {"LAUNCHYARD_STATE_DIR": "/var/lib/launchyard", "LAUNCHYARD_SLICE": SLICE}


class CannotInstall(Exception):
    """Nothing was written. Each of the problems says what is wrong, and what to do."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


@dataclass(frozen=True, slots=True)
class InstallRequest:
    """What an operator asks for.

    `key` and `private_key` are None if the installed ones stay. `program` is what the unit starts, with this `python`.
    `root` is the root of the host's file system; if the host is not `running` yet, what may come later is not looked
    for.
    """

    config: Path
    pool: str
    name: str
    key: str | None
    program: Path
    python: Path
    image: Path | None = None
    image_digest: str | None = None
    private_key: Path | None = None
    root: Path = Path("/")
    running: bool = True


@dataclass(frozen=True, slots=True)
class InstallationPlan:
    """What to write. `can_start` is false if a setting is still missing, which one of the `notes` names."""

    files: tuple[File, ...]
    """In the order of writing: whatever a file refers to is there before it."""
    added: tuple[str, ...]
    """The names of settings; their values may be secret. So `changed` and `removed`."""
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    obsolete: tuple[Path, ...]
    """The files to remove once all are written."""
    notes: tuple[str, ...]
    can_start: bool
    settings: LauncherSettings
    variables: Mapping[str, str]
    """The environment of the unit's launcher."""


def prepare(request: InstallRequest, refusal: Callable[[LauncherSettings], str | None]) -> InstallationPlan:
    """Return what to write. `refusal` says why the control plane accepts no such launcher. Raises CannotInstall."""
    problems = list(_of_arguments(request))
    pool, before, credentials = None, EnvironmentFile(), None
    try:
        pool = config.read(request.config, request.pool)
    except ConfigWrong as wrong:
        problems += str(wrong).splitlines()
    try:
        credentials = file_of(pool.credentials, request.private_key, request.root) if pool is not None else None
    except CredentialsIncomplete as incomplete:
        problems.append(str(incomplete))
    try:
        before = installed(request.root) or before
    except EnvironmentUnclear as unclear:
        problems.append(str(unclear))
    own, of_the_pool = dict(_own_values(request)), dict(_values_of(pool) if pool is not None else ())
    values = {**own, **of_the_pool}
    start = before if before.text else EnvironmentFile(shipped(EXAMPLE))
    merged = start.with_values(own)
    if pool is not None:
        merged = merged.with_pool(of_the_pool)
    if request.key is None and not before.variables.get(KEY):
        problems.append(f"The launcher's key is missing: set {KEY}, or pipe it to --key-stdin.")
    variables = {**OF_THE_UNIT, **merged.variables}
    settings = None
    try:
        settings = read_from(LauncherSettings, _with_any_image(variables))
        problems += _of_settings(request, pool, variables)
    except SettingsWrong as wrong:
        problems += (f"{ENVIRONMENT} would be wrong: {line}" for line in str(wrong).splitlines())
    if settings is not None and not problems and (why := refusal(settings)) is not None:
        problems.append(why)
    if pool is None or settings is None or problems:
        raise CannotInstall(tuple(dict.fromkeys(problems)))
    leads_to_credentials = merged.variables.get(GOOGLE_CREDENTIALS) == str(CREDENTIALS)
    return InstallationPlan(
        files=(*filter(None, [credentials]), File(ENVIRONMENT, merged.text.encode()), *units(request.program)),
        added=tuple(name for name in values if name not in before.variables),
        changed=tuple(name for name, value in values.items() if before.variables.get(name, value) != value),
        removed=tuple(sorted(before.variables.keys() - merged.variables.keys())),
        obsolete=() if leads_to_credentials else (CREDENTIALS,),
        notes=tuple(_notes(settings, variables)),
        can_start=_has_image(variables) or not _needs_image(settings),
        settings=settings,
        variables=variables,
    )


def installed(root: Path) -> EnvironmentFile | None:
    """Return the settings that are installed; None if there are none. Raises EnvironmentUnclear."""
    try:
        environment = EnvironmentFile(inside(root, ENVIRONMENT).read_text(encoding="utf-8"))
        environment.variables  # noqa: B018  # raises, if a line of it is unclear
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, EnvironmentUnclear) as error:
        why = error if isinstance(error, EnvironmentUnclear) else f"it cannot be read ({type(error).__name__})"
        raise EnvironmentUnclear(f"{ENVIRONMENT}: {why}. Correct it, or move it away.") from None
    return environment


def _own_values(request: InstallRequest) -> Iterator[tuple[str, str]]:
    """Yield the variables that arguments set. What is wrong with an argument was reported, and is left out."""
    if not any(faults.of_name(request.name)):
        yield NAME, request.name
    if request.key is not None and not any(faults.of_key(request.key)):
        yield KEY, request.key
    for variable, given in ((IMAGE, request.image), (DIGEST, request.image_digest)):
        if given is not None and is_writable(str(given)):
            yield variable, str(given)


def _values_of(pool: PoolConfig) -> Iterator[tuple[str, str]]:
    yield from pool.settings.items()
    if pool.credentials is not None:
        yield GOOGLE_CREDENTIALS, str(CREDENTIALS)
        match pool.settings.get("LAUNCHYARD_SUBSCRIPTION", "").split("/"):
            case ["projects", project, "subscriptions", _]:
                yield GOOGLE_PROJECT, project


def _of_arguments(request: InstallRequest) -> Iterator[str]:
    yield from faults.of_name(request.name)
    yield from faults.of_key(request.key)
    yield from faults.of_program(request.program, request.python, request.root, request.running)
    if request.image is not None:
        yield from faults.of_path("--image", request.image)
    if (request.image is None) != (request.image_digest is None):
        yield "--image and --image-digest belong together: give both, or neither."


def _of_settings(request: InstallRequest, pool: PoolConfig | None, variables: Mapping[str, str]) -> Iterator[str]:
    """Check the files to which the settings lead."""
    if _has_image(variables):
        yield from faults.of_image(Path(variables[IMAGE]), variables[DIGEST], request.root, request.running)
    if pool is not None and isinstance(pool.credentials, ExternalAccount):
        yield from faults.of_token(pool.credentials.token_file, request.root, request.running)


def _notes(settings: LauncherSettings, variables: Mapping[str, str]) -> Iterator[str]:
    """Yield what is left to the operator."""
    if _needs_image(settings) and not _has_image(variables):
        yield (
            f"The launcher is not started: it has no guest image. Copy one to this host, then run this again with "
            f"--image and --image-digest, or set {IMAGE} and {DIGEST} in {ENVIRONMENT}."
        )
    if settings.subscription is not None and not variables.get(GOOGLE_CREDENTIALS):
        yield (
            f"The pool has a subscription and no credentials. Set {GOOGLE_CREDENTIALS} in {ENVIRONMENT}, unless "
            "Google's metadata server gives this host an identity."
        )


def _needs_image(settings: LauncherSettings) -> bool:
    return Cloud.BAREMETAL in settings.providers and settings.provider is ProviderName.QEMU


def _has_image(variables: Mapping[str, str]) -> bool:
    return bool(variables.get(IMAGE) and variables.get(DIGEST))


def _with_any_image(variables: Mapping[str, str]) -> Mapping[str, str]:
    return variables if _has_image(variables) else {**variables, **ANY_IMAGE}
