"""Normalizes the names of datacenters, as people write them, to `<cloud>:<zone>`."""

import re
from collections.abc import Mapping
from typing import Final

from shared.domain.spec import DATACENTER_PATTERN

ALIASES: Final[Mapping[str, str]] = {
    "google": "gcp",
    "az": "azure",
    "bare-metal": "baremetal",
    "onprem": "baremetal",
    "on-prem": "baremetal",
    "self-hosted": "baremetal",
}
DEFAULT_ZONE: Final = "default"
NAME: Final = re.compile(DATACENTER_PATTERN)


def parse(text: str) -> str:
    """Return the normalized name: `gcp:us-central1-a` for `Google:us-central1-a`, `baremetal:default` for `onprem`.

    Raises ValueError.
    """
    cloud, _, zone = text.strip().lower().partition(":")
    name = f"{ALIASES.get(cloud, cloud)}:{zone or DEFAULT_ZONE}"
    if not NAME.fullmatch(name):
        raise ValueError("Invalid datacenter. Expected '<cloud>:<zone>', such as 'baremetal:rack-7'.")
    return name
