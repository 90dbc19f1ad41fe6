"""Reads a model of settings, and lists every wrong one at once: by its variable's name, and without its value."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import indent
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, AliasChoices, BeforeValidator, SecretStr, ValidationError
from pydantic_settings import BaseSettings

from shared.exit_codes import USAGE

AnySettings = TypeVar("AnySettings", bound=BaseSettings)


def _not_empty(value: object) -> object:
    """An empty environment variable counts as not set. An empty option is a mistake."""
    if value == "":
        raise ValueError("it is empty: name a path, or leave the option out")
    return value


Location = Annotated[Path, BeforeValidator(_not_empty), AfterValidator(Path.absolute)]
"""A path that an option may give; it may not be empty, which would mean the working directory. A relative path becomes
absolute at once: a machine's process runs in another directory."""


class SettingsWrong(Exception):
    """The message has one line for each wrong setting, and repeats no value."""


def read(kind: type[AnySettings], given: Mapping[str, object] | None = None) -> AnySettings:
    """Return the settings of one kind; `given` wins over the environment. Raises SettingsWrong."""
    try:
        return kind(**(given or {}))  # type: ignore[arg-type]  # values are parsed, and refused, by the model
    except ValidationError as error:
        lines = explain(error, lambda location: variable_of(kind, location))
        raise SettingsWrong("\n".join(lines)) from None  # the error's own text repeats values
    except (OSError, UnicodeError) as error:
        raise SettingsWrong(f"The settings file cannot be read: {type(error).__name__}") from None


def read_or_exit(kind: type[AnySettings]) -> AnySettings:
    """Return the environment's settings. If any is wrong, list them on standard error and exit with 2."""
    (settings,) = read_all_or_exit([kind])
    return settings


def read_all_or_exit(kinds: Sequence[type[AnySettings]], reader: str | None = None) -> Sequence[AnySettings]:
    """Return the environment's settings of each kind. If any is wrong, list all on standard error; exit with 2.

    `reader` names the program that needs them, if its name says which settings it needs.
    """
    settings, wrong = list[AnySettings](), list[str]()
    for kind in kinds:
        try:
            settings.append(read(kind))
        except SettingsWrong as error:
            wrong += str(error).splitlines()
    if wrong:
        lines = indent("\n".join(dict.fromkeys(wrong)), "  ")  # two kinds may have a setting in common
        sys.stderr.write(f"These settings{f' of {reader}' if reader else ''} are wrong:\n{lines}\n")
        sys.exit(USAGE)
    return settings


def explain(error: ValidationError, name: Callable[[Sequence[int | str]], str] | None = None) -> Iterator[str]:
    """Yield one line for each wrong field: its name, and what is wrong with it, without the value.

    `name` turns a field's path into its name; by default the path is joined with dots.
    """
    for wrong in error.errors(include_input=False, include_url=False, include_context=False):
        field = name(wrong["loc"]) if name else ".".join(map(str, wrong["loc"]))
        yield f"{field}: {wrong['msg'].removeprefix('Value error, ')}"


def variable_of(kind: type[BaseSettings], loc: Sequence[int | str]) -> str:
    """Return the environment variable of a field, whose name begins `loc`: the first, if it has several."""
    field = kind.model_fields.get(str(loc[0])) if loc else None
    alias = field.validation_alias if field else None
    first = alias.choices[0] if isinstance(alias, AliasChoices) else alias
    prefixed = f"{kind.model_config.get('env_prefix', '')}{loc[0]}".upper() if field else str(loc[0] if loc else kind)
    return ".".join(map(str, (first or prefixed, *loc[1:])))


def is_secret(annotation: Any) -> bool:
    """Return whether a setting of this type holds a secret, also if it may be None."""
    return annotation is SecretStr or any(is_secret(part) for part in get_args(annotation))
