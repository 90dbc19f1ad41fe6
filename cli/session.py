"""A control plane client made from the settings."""

from cli.settings import read_settings
from shared.client import ControlPlane


def control_plane() -> ControlPlane:
    settings = read_settings()
    return ControlPlane(settings.url, settings.client_key.get_secret_value())
