"""Reading a model of settings: every wrong one is told at once, by its variable's name, and no value is repeated."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import indent
from typing import Annotated, Final, TypeVar

from pydantic import AfterValidator, AliasChoices, BeforeValidator, ValidationError
from pydantic_settings import BaseSettings

WRONG_SETTINGS: Final = 2
"""The exit code of a process whose settings are wrong: they are wrong the next time, too."""

AnySettings = TypeVar("AnySettings", bound=BaseSettings)


def _given(value: object) -> object:
    """An empty variable of the environment is one that is not set; an empty option is a mistake."""
    if value == "":
        raise ValueError("it is empty: name a path, or leave the option out")
    return value


Location = Annotated[Path, BeforeValidator(_given), AfterValidator(Path.absolute)]
"""A path that an option may give; an empty one would be the working directory. A relative one is taken from where the
command was started: a machine's process runs in its own directory."""


class SettingsWrong(Exception):
    """The message names every setting that is wrong, one a line, and repeats no value."""


def read(kind: type[AnySettings], given: Mapping[str, object] | None = None) -> AnySettings:
    """Return the settings of one kind; `given` wins over the environment. Raises SettingsWrong."""
    try:
        return kind(**(given or {}))  # type: ignore[arg-type]  # values are parsed, and refused, by the model
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False, include_context=False)
        lines = (f"{_variable(kind, one['loc'])}: {one['msg'].removeprefix('Value error, ')}" for one in wrong)
        raise SettingsWrong("\n".join(lines)) from None  # whose text repeats values
    except (OSError, UnicodeError) as error:
        raise SettingsWrong(f"The file of settings cannot be read: {type(error).__name__}") from None


def read_or_exit(kind: type[AnySettings]) -> AnySettings:
    """Return the environment's settings, or say all that is wrong with them and exit with 2."""
    (settings,) = read_all_or_exit([kind])
    return settings


def read_all_or_exit(kinds: Sequence[type[AnySettings]]) -> Sequence[AnySettings]:
    """Return the environment's settings of each kind, or say all that is wrong with any of them and exit with 2."""
    settings, wrong = list[AnySettings](), list[str]()
    for kind in kinds:
        try:
            settings.append(read(kind))
        except SettingsWrong as error:
            wrong.append(str(error))
    if wrong:
        told = indent("\n".join(wrong), "  ")
        sys.stderr.write(f"These settings are not as they should be:\n{told}\n")
        sys.exit(WRONG_SETTINGS)
    return settings


def _variable(kind: type[BaseSettings], loc: Sequence[int | str]) -> str:
    """Return the environment's name of what is wrong: of a field with several names, the first."""
    field = kind.model_fields.get(str(loc[0])) if loc else None
    alias = field.validation_alias if field else None
    first = alias.choices[0] if isinstance(alias, AliasChoices) else alias
    prefixed = f"{kind.model_config.get('env_prefix', '')}{loc[0]}".upper() if field else str(loc[0] if loc else kind)
    return ".".join(map(str, (first or prefixed, *loc[1:])))
