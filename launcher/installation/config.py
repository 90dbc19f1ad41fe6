"""Reads `launcher_config.json`, Terraform's output: settings and Google credentials of each pool's launchers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from launcher.installation.environment import is_writable
from launcher.installation.variables import CONFIGURABLE
from shared.address import parse_private
from shared.settings import explain

OUTPUT: Final = "launcher_config"
WRITE: Final = f"write it with `terraform output -json {OUTPUT}`"
NEEDED: Final = ("LAUNCHYARD_URL", "LAUNCHYARD_DATACENTER")


class ConfigWrong(Exception):
    """The message has one line for each wrong field, and repeats no value."""


def _private(url: str) -> str:
    parse_private(url)
    return url


def _absolute(path: str) -> str:
    if not Path(path).is_absolute():
        raise ValueError("it must be an absolute path of the host")
    return path


Text = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
Url = Annotated[Text, AfterValidator(_private)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TokenFormat(_Strict):
    type: Literal["text", "json"] = "text"
    subject_token_field_name: Text | None = None


class TokenFile(_Strict):
    """The file of the host's token, which the host's identity provider renews."""

    file: Annotated[Text, AfterValidator(_absolute)]
    format: TokenFormat | None = None


class Lifetime(_Strict):
    token_lifetime_seconds: Annotated[int, Field(ge=600, le=43200)]


class ExternalAccount(_Strict):
    """Google's credential configuration of workload identity federation (https://google.aip.dev/auth/4117).

    It holds no secret: the host's token, in a file, is exchanged for one of Google's. Other sources are refused: a
    program, because it would run as the launcher; an address, because the launcher could read no error of it.
    """

    type: Literal["external_account"]
    audience: Text
    subject_token_type: Text
    token_url: Url
    credential_source: TokenFile
    service_account_impersonation_url: Url | None = None
    service_account_impersonation: Lifetime | None = None
    universe_domain: Text | None = None

    @property
    def token_file(self) -> Path:
        return Path(self.credential_source.file)


def _settings(settings: dict[str, str]) -> dict[str, str]:
    if unknown := sorted(settings.keys() - CONFIGURABLE):
        raise ValueError(f"{', '.join(unknown)}: no such setting may come from this file: remove it from the pool")
    if missing := [name for name in NEEDED if not settings.get(name)]:
        raise ValueError(f"{', '.join(missing)} is missing: {WRITE}")
    if unwritable := sorted(name for name, value in settings.items() if not is_writable(value)):
        raise ValueError(f"{', '.join(unwritable)} holds a quotation mark, a line break or a control character")
    return settings


class ServiceAccount(_Strict):
    """Google's credentials of a service account with a key pair, but for the private key, which is on the host."""

    type: Literal["service_account"]
    project_id: Text
    client_email: Text
    private_key_id: Text
    token_uri: Url
    universe_domain: Text | None = None


class PoolConfig(_Strict):
    """What the launchers of a pool have in common."""

    settings: Annotated[dict[str, str], AfterValidator(_settings)]
    credentials: Annotated[ExternalAccount | ServiceAccount, Field(discriminator="type")] | None = None


POOLS: Final = TypeAdapter(dict[str, PoolConfig])


def read(path: Path, pool: str) -> PoolConfig:
    """Return the configuration of a pool. Raises ConfigWrong."""
    try:
        pools = POOLS.validate_python(_value(json.loads(path.read_bytes())))
    except OSError as error:
        raise ConfigWrong(f"{path}: {error.strerror}: {WRITE}") from None
    except ValueError as error:
        if not isinstance(error, ValidationError):  # its text may repeat the document
            raise ConfigWrong(f"{path} is not JSON: {WRITE}") from None
        raise ConfigWrong("\n".join(f"{path}: {line}" for line in explain(error))) from None
    if pool not in pools:
        known = ", ".join(sorted(pools)) or "none: add one to Terraform's variable `pools`"
        raise ConfigWrong(f"{path} has no pool of that name (--pool). Its pools: {known}")
    return pools[pool]


def _value(document: Any) -> Any:
    """Return the output's value, whether the file has this output alone or all outputs."""
    output = document.get(OUTPUT) if isinstance(document, Mapping) else None
    return output["value"] if isinstance(output, Mapping) and "value" in output else document
