"""The configuration that a launcher gives a machine's worker: one canonical JSON document, bound by its SHA-384."""

import hashlib
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, field_serializer

from shared.domain.spec import AnySpec
from shared.secret import Secret


class Sources(BaseModel):
    """Base addresses of what an export reads and links to; no trailing slash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    api: str = "https://api.arke.institute"
    ipfs: str = "https://ipfs.arke.institute"
    web: str = "https://arke.institute"


class WorkerConfig(BaseModel):
    """`callback_token` reaches one order at one epoch. `loopback_gateway` is where the machine finds the launcher's
    loopback addresses (10.0.2.2 under QEMU's user network); None where they are its own. `authorities`, as PEM, are
    trusted beside the public ones; None is left out, so that an image from before the field boots."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    order_id: str
    epoch: int
    control_plane: str
    callback_token: Secret
    spec: AnySpec
    sources: Sources = Sources()
    loopback_gateway: str | None = None
    authorities: str | None = Field(None, exclude_if=lambda given: given is None)

    @field_serializer("callback_token", when_used="json")
    def _for_the_worker(self, token: Secret) -> str:
        return token.get_secret_value()

    def canonical(self) -> bytes:
        """Return the document's bytes: the same for the same configuration."""
        return self.model_dump_json().encode()


class StandaloneProgram(StrEnum):
    IDLE = "idle"
    MEASURE = "measure"


class StandaloneConfig(BaseModel):
    """The configuration of a machine that an operator started, and no order. Its worker reports to nobody.

    `control_plane` to `bootstrap_order_id` are for what else runs in the machine. No secret is among them: whoever runs
    the host reads every configuration.
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
