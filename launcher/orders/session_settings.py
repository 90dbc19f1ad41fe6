"""The settings of a launcher that runs agents' sessions."""

import shlex
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from launcher.providers.qemu.settings import PREFIX, absolute_program
from shared.address import parse_private
from shared.domain.lanes import MAX_OFFERED
from shared.domain.spec import Label
from shared.guest.config import Executor
from shared.secret import Secret
from shared.settings import Location


def _words(value: object) -> object:
    """Split a command line as a shell does. Raises ValueError for a quotation without an end."""
    return tuple(shlex.split(value)) if isinstance(value, str) else value


def _located(command: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command with its program's path made absolute: it is started in the project directory."""
    return (absolute_program(command[0]), *command[1:]) if command else command


def _split(value: object) -> object:
    return tuple(item.strip() for item in value.split(",") if item.strip()) if isinstance(value, str) else value


def _address(url: SecretStr) -> SecretStr:
    parse_private(url.get_secret_value())
    return url


class SessionSettings(BaseSettings):
    """Each field is the environment's `LAUNCHYARD_<FIELD>`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, validate_default=True, populate_by_name=True
    )

    executor: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words), AfterValidator(_located)] = ()
    """The command line of the program that runs sessions, as a shell reads it; empty: the launcher takes no session."""
    executor_api_url: Annotated[Secret, AfterValidator(_address)] | None = None
    """The base address of the API for sessions, with the key in it that it needs, as the executor is given it."""
    labels: Annotated[tuple[Label, ...], NoDecode, BeforeValidator(_split), Field(max_length=MAX_OFFERED)] = ()
    """What this launcher offers to sessions that demand labels, separated by commas."""
    max_sessions: Annotated[int, Field(ge=1, le=500)] | None = None
    """Sessions at once, within the slots; None: as many as there are slots."""
    project_dir: Location | None = None
    """Where a session runs whose order names no directory; None: in an empty directory of its own."""
    project_dirs: Annotated[tuple[Location, ...], NoDecode, BeforeValidator(_split)] = ()
    """Directories that orders may name, with all below them, separated by commas; always with `project_dir`."""

    @property
    def allowed_dirs(self) -> tuple[Path, ...]:
        """Return every directory of these settings that sessions may run in."""
        return (*([] if self.project_dir is None else [self.project_dir]), *self.project_dirs)

    @property
    def executor_config(self) -> Executor | None:
        """Return what a session's worker must know; None if the launcher takes no session."""
        if not self.executor:
            return None
        return Executor(
            command=self.executor,
            project_dir=_text(self.project_dir),
            project_dirs=tuple(str(one) for one in self.project_dirs),
            api_url=self.executor_api_url,
        )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
