"""The configuration that a launcher gives to the worker in a machine: one canonical JSON document.

The machine's measurement binds it by its SHA-384.
"""

import hashlib
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_serializer

from shared.domain.spec import AnySpec
from shared.secret import Secret


class Sources(BaseModel):
    """The base addresses that an export reads from, and links to. They have no trailing slash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    api: str = "https://api.arke.institute"
    ipfs: str = "https://ipfs.arke.institute"
    web: str = "https://arke.institute"


class Executor(BaseModel):
    """The launcher's program that runs agents' sessions, and where it may run them.

    A session whose order names no project directory runs in `project_dir`, or, if that is None, in an empty one of its
    own. An order may name `project_dir`, one of `project_dirs`, and any directory below these. `api_url` is the base
    address of the API for sessions, at which the program reports; it may hold a key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    command: Annotated[tuple[str, ...], Field(min_length=1)]
    project_dir: str | None = None
    project_dirs: tuple[str, ...] = ()
    api_url: Secret | None = None

    @field_serializer("api_url", when_used="json-unless-none")
    def _for_the_program(self, url: Secret) -> str:
        return url.get_secret_value()


class WorkerConfig(BaseModel):
    """The configuration of an order's machine.

    `callback_token` is a credential for one order at one epoch. `loopback_gateway` is the address at which the machine
    reaches its host's loopback addresses (10.0.2.2 under QEMU's user network), or None if the worker runs on the host.
    `proxy` is the address of an HTTP proxy for every request that is not to the loopback; None: there is none.
    `authorities` (PEM) are trusted in addition to the public ones. `executor` runs the order if it is a session. A None
    of these three is left out of the document, so that an image from before the field boots.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    order_id: str
    epoch: int
    control_plane: str
    callback_token: Secret
    spec: AnySpec
    sources: Sources = Sources()
    loopback_gateway: str | None = None
    proxy: str | None = Field(None, exclude_if=lambda given: given is None)
    authorities: str | None = Field(None, exclude_if=lambda given: given is None)
    executor: Executor | None = Field(None, exclude_if=lambda given: given is None)

    @field_serializer("callback_token", when_used="json")
    def _for_the_worker(self, token: Secret) -> str:
        return token.get_secret_value()

    def canonical(self) -> bytes:
        """Return the document: equal configurations have equal bytes."""
        return self.model_dump_json().encode()


class StandaloneProgram(StrEnum):
    IDLE = "idle"
    MEASURE = "measure"


class StandaloneConfig(BaseModel):
    """The configuration of a standalone machine: an operator started it, without an order. Its worker sends no reports.

    Other programs in the machine read `control_plane` to `bootstrap_order_id`. None of these is a secret, because the
    host's operator can read every configuration.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    program: StandaloneProgram
    vm: str
    control_plane: str | None = None
    datacenter: str | None = None
    node_size: str | None = None
    bootstrap_order_id: str | None = None

    def canonical(self) -> bytes:
        return self.model_dump_json().encode()


def sha384(document: bytes) -> bytes:
    """Return the 48 bytes that a TD carries as MRCONFIGID (Intel TDX module specification, TD_PARAMS)."""
    return hashlib.sha384(document).digest()
