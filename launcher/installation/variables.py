"""The environment variables of an installed launcher: those that a configuration may set, and what they set."""

from collections.abc import Mapping
from typing import Final, TypeVar

from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

from launcher.providers.qemu.settings import PREFIX
from launcher.settings import LauncherSettings
from shared.settings import is_secret, read, variable_of

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

    return read(OfVariables)


CONFIGURABLE: Final = frozenset(
    variable
    for field, info in LauncherSettings.model_fields.items()
    if (variable := variable_of(LauncherSettings, [field])).startswith(PREFIX)
    and field not in OF_THE_HOST
    and not is_secret(info.annotation)
)
"""The variables that a configuration may set. None of them is a secret: Terraform keeps its outputs in its state."""
