"""Serves stand-ins to the real Terraform from this process: Terraform starts no provider, but connects to ours.

That is what `TF_REATTACH_PROVIDERS` is for (https://developer.hashicorp.com/terraform/plugin/debugging). Without it,
Terraform starts each provider up to four times a command, and each start takes a Python half a second.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import grpc

from tests.infra.stand_in.aws import AWS
from tests.infra.stand_in.google import GOOGLE
from tests.infra.stand_in.schema import parse
from tests.infra.stand_in.server import Provider

RULES: Final = {"aws": AWS, "google": GOOGLE}
PLUGIN_PROTOCOL: Final = 6

Address = Mapping[str, Any]
"""How Terraform reaches a provider that runs already, as in `TF_REATTACH_PROVIDERS`."""


@cache
def stand_in(name: str, schema: Path, types: frozenset[str]) -> Provider:
    """Return the stand-in for the provider, with these types of its schema (a file that `render` wrote).

    The whole schema takes Terraform seconds.
    """
    return Provider(parse(schema.read_text(encoding="utf-8"), types), RULES[name])


@contextmanager
def serving(providers: Mapping[str, Provider]) -> Iterator[Mapping[str, Address]]:
    """Serve the providers to one command of Terraform; yield the address of each by its name."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(4) as pool,
    ):  # a socket's path has at most 107 bytes
        servers = []
        try:
            for name, provider in providers.items():
                servers.append(grpc.server(pool, handlers=[provider]))
                servers[-1].add_insecure_port(f"unix:{folder}/{name}")
                servers[-1].start()
            yield {name: _address(f"{folder}/{name}") for name in providers}
        finally:
            for server in servers:
                server.stop(None).wait()


def _address(socket: str) -> Address:
    return {
        "Protocol": "grpc",
        "ProtocolVersion": PLUGIN_PROTOCOL,
        "Pid": os.getpid(),
        "Test": True,  # Terraform does not end the process
        "Addr": {"Network": "unix", "String": socket},
    }
