"""Fly's rules for a new machine, as far as a client can break them. https://docs.machines.dev/#tag/machines"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

REGIONS: Final = frozenset(
    {"ams", "arn", "bom", "cdg", "dfw", "ewr", "fra", "gru", "iad", "jnb", "lax", "lhr", "nrt", "ord", "sin", "sjc"}
    | {"syd", "yyz"}
)
MEMORY_STEP_MB: Final = 256
SHARED_MB_PER_CPU: Final = range(256, 2048 + 1)

Document = dict[str, Any]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Text = Annotated[str, StringConstraints(min_length=1)]


class ConfigPart(BaseModel):
    """Members that it does not name are accepted, as Fly does."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class GuestPart(ConfigPart):
    cpu_kind: Literal["shared", "performance"]
    cpus: Literal[1, 2, 4, 6, 8, 16]
    memory_mb: Annotated[int, Field(ge=256, multiple_of=MEMORY_STEP_MB)]

    @model_validator(mode="after")
    def _fit(self) -> "GuestPart":
        if self.cpu_kind == "shared" and self.memory_mb // self.cpus not in SHARED_MB_PER_CPU:
            raise ValueError("a shared CPU has 256 to 2048 MB of memory")
        return self


class Restart(ConfigPart):
    policy: Literal["no", "always", "on-failure"]


class Init(ConfigPart):
    cmd: list[str] = []


class Config(ConfigPart):
    image: Text
    auto_destroy: bool = False
    env: dict[str, str] = {}
    guest: GuestPart = GuestPart(cpu_kind="shared", cpus=1, memory_mb=256)
    init: Init = Init()
    metadata: dict[str, str] = {}
    restart: Restart = Restart(policy="on-failure")


class NewMachine(ConfigPart):
    """The body of a create. Without a name or a region, Fly chooses one."""

    config: Config
    name: Name | None = None
    region: Text | None = None


class BodyWrong(Exception):
    """The message says which member is wrong."""


def parse(body: bytes) -> NewMachine:
    """Raises BodyWrong."""
    try:
        return NewMachine.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        member = ".".join(map(str, first["loc"])) or "body"
        raise BodyWrong(f"invalid_argument: {member}: {first['msg']}") from None
