"""Builds the body that asks Fly for an order's machine."""

from collections.abc import Mapping, Sequence
from typing import Any

from launcher.machines.remote.marks import Marks
from launcher.providers.fly.options import FlyGuest

Body = Mapping[str, Any]


def build(
    name: str,
    region: str,
    image: str,
    guest: FlyGuest,
    marks: Marks,
    variables: Mapping[str, str],
    arguments: Sequence[str],
) -> Body:
    """Return the body. The machine runs its image once, and is destroyed after that, so that it costs nothing more.

    `arguments` follow the image's entry point.
    """
    return {
        "name": name,
        "region": region,
        "config": {
            "image": image,
            "auto_destroy": True,
            "restart": {"policy": "no"},
            "guest": {"cpu_kind": guest.cpu_kind, "cpus": guest.cpus, "memory_mb": guest.memory_mb},
            "env": dict(variables),
            "metadata": dict(marks),
            **({"init": {"cmd": list(arguments)}} if arguments else {}),
        },
    }
