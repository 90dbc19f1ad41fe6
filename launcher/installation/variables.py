"""The environment variables of an installed launcher: those that a configuration may set, and what they set."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar, get_args

from pydantic import AliasChoices, SecretStr
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

import shared.settings
from launcher.providers.qemu.settings import PREFIX
from launcher.settings import LauncherSettings

AnySettings = TypeVar("AnySettings", bound=BaseSettings)

OF_THE_HOST: Final = frozenset({"launcher_name", "one_shot", "max_orders", "state_dir", "slice"})
"""A launcher of the unit is a daemon with a name of its own; its state directory and its slice are the unit's."""


def read_from(kind: type[AnySettings], variables: Mapping[str, str]) -> AnySettings:
    """Return the settings that a process with these variables, and no others, has. Raises SettingsWrong."""

    class OfVariables(kind):  # type: ignore[misc, valid-type]
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: PydanticBaseSettingsSource, **__: PydanticBaseSettingsSource
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            source = EnvSettingsSource(settings_cls)
            source.env_vars = {name.lower(): value for name, value in variables.items() if value}
            return (source,)

    return shared.settings.read(OfVariables)


def _variable(field: str) -> str:
    """Return the variable of a launcher's setting; if it has several, the first."""
    alias = LauncherSettings.model_fields[field].validation_alias
    first = alias.choices[0] if isinstance(alias, AliasChoices) else alias
    return str(first or f"{PREFIX}{field.upper()}")


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(_is_secret(part) for part in get_args(annotation))


CONFIGURABLE: Final = frozenset(
    variable
    for field, info in LauncherSettings.model_fields.items()
    if (variable := _variable(field)).startswith(PREFIX)
    and field not in OF_THE_HOST
    and not _is_secret(info.annotation)
)
"""The variables that a configuration may set. None of them is a secret: Terraform keeps its outputs in its state."""
