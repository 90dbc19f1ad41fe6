"""Which control plane the commands talk to, and with which key.

Both come from the environment, or both from the local stack's file in the working directory. A file may have been put
there by somebody else: a key of the environment is never sent to its address, nor its key to one of the environment.
"""

from typing import Final

import httpx
from pydantic_settings import BaseSettings, DotEnvSettingsSource, SettingsConfigDict

from shared.address import ControlPlaneUrl
from shared.client import ControlPlane
from shared.public_address import is_loopback
from shared.secret import Secret
from shared.settings import SettingsWrong, read

LOCAL: Final = ".launchyard/dev.env"
"""`launchyard up` writes the local stack's address and keys here."""
URL: Final = "LAUNCHYARD_URL"
KEY: Final = "LAUNCHYARD_CLIENT_KEY"


class CliSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="LAUNCHYARD_", env_ignore_empty=True, extra="ignore", frozen=True)

    url: ControlPlaneUrl | None = None
    client_key: Secret | None = None


def open_control_plane() -> ControlPlane:
    """Return a client for the control plane that the settings name. Raises SettingsWrong, which says what to do."""
    url, key = _chosen()
    return ControlPlane(url, key.get_secret_value())


def _chosen() -> tuple[ControlPlaneUrl, Secret]:
    match read(CliSettings):
        case CliSettings(url=str(url), client_key=key) if key is not None:
            return url, key
        case CliSettings(url=None, client_key=None):
            return _of_local_stack()
        case CliSettings(url=None):
            raise SettingsWrong(
                f"The environment sets {KEY} and no {URL}. Set {URL} to the control plane that this key is for, or "
                f"unset {KEY} to use the local stack: the key is not sent to an address that {LOCAL} names."
            )
        case _:
            raise SettingsWrong(
                f"The environment sets {URL} and no {KEY}. Set {KEY} to a key of that control plane, or unset {URL} "
                f"to use the local stack: a key of {LOCAL} is not sent to another address."
            )


def _of_local_stack() -> tuple[ControlPlaneUrl, Secret]:
    """Return what the file sets; the environment sets nothing."""
    try:
        found = read(CliSettings, DotEnvSettingsSource(CliSettings, env_file=LOCAL)())
    except SettingsWrong as error:
        raise SettingsWrong(f"{LOCAL} is wrong. {error}") from None
    except (OSError, UnicodeError) as error:
        raise SettingsWrong(f"{LOCAL} cannot be read: {type(error).__name__}") from None
    if found.url is None or found.client_key is None:
        raise SettingsWrong(
            f"No control plane is named. Set {URL} and {KEY} in the environment, or start the local stack: "
            f"`launchyard up` writes {LOCAL}."
        )
    if not is_loopback(httpx.URL(found.url).host):
        raise SettingsWrong(
            f"{LOCAL} names an address of another host, and the local stack is on this one: `launchyard up` did not "
            f"write that. For another control plane set {URL} and {KEY} in the environment."
        )
    return found.url, found.client_key
