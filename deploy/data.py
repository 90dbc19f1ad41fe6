"""The data that Terraform, too, makes a deployment from: the services, the indexes; and what Terraform reports."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy.shapes import CamelDocument
from shared.settings import SettingsWrong, explain

INFRA: Final = Path(__file__).parents[1] / "infra"
SERVICES: Final = Path("terraform", "services.json")
INDEXES: Final = Path("firestore.indexes.json")

AnyModel = TypeVar("AnyModel", bound=BaseModel)


class Requirement(StrEnum):
    """What a service needs of the world."""

    FIRESTORE = "firestore"
    DOORBELL = "doorbell"
    BUCKET = "bucket"
    BUCKET_CREDENTIALS = "bucket_credentials"
    TRUST_AUTHORITY = "trust_authority"


class DeployedService(CamelDocument):
    """A deployed function: what it uses, and the names of the settings that it reads."""

    uses: frozenset[Requirement]
    secrets: frozenset[str]
    settings: frozenset[str]

    @property
    def reads(self) -> frozenset[str]:
        return self.settings | self.secrets


class Services(CamelDocument):
    services: Mapping[str, DeployedService]


class IndexedField(CamelDocument):
    field_path: str
    order: str | None = None
    array_config: str | None = None


class Index(CamelDocument):
    collection_group: str
    query_scope: str
    fields: tuple[IndexedField, ...]


class FieldIndex(CamelDocument):
    query_scope: str
    order: str | None = None
    array_config: str | None = None


class FieldOverride(CamelDocument):
    """The single-field indexes of a field, instead of the automatic ones."""

    collection_group: str
    field_path: str
    indexes: tuple[FieldIndex, ...]


class Indexes(CamelDocument):
    indexes: tuple[Index, ...]
    field_overrides: tuple[FieldOverride, ...]


@dataclass(frozen=True, slots=True)
class TerraformData:
    services: Mapping[str, DeployedService]
    indexes: Indexes


class LauncherConfig(BaseModel):
    """What a pool's launchers get; `credentials` are without a secret, and None if the pool's launchers poll."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    credentials: Mapping[str, Any] | None = None


class TerraformOutputs(BaseModel):
    """What a check uses of `terraform output -json`; each may be missing. `functions` are by service."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    url: str | None = None
    bucket: str | None = None
    database: str | None = None
    functions: Mapping[str, Any] = Field(default_factory=dict)
    launcher_config: Mapping[str, LauncherConfig] = Field(default_factory=dict)


def read_data(infra: Path = INFRA) -> TerraformData:
    """Return the data of this checkout. Raises SettingsWrong."""
    return TerraformData(services=_read(infra / SERVICES, Services).services, indexes=_read(infra / INDEXES, Indexes))


def read_outputs(file: Path) -> TerraformOutputs:
    """Return what `terraform output -json` has written to a file. Raises SettingsWrong."""
    try:
        document = json.loads(file.read_bytes())
        given = {name: output["value"] for name, output in document.items()}
    except OSError as error:
        raise SettingsWrong(f"--outputs: {file} cannot be read ({error.strerror})") from None
    except (ValueError, AttributeError, KeyError, TypeError):
        advice = "run `terraform output -json > FILE`, for all outputs at once"
        raise SettingsWrong(f"--outputs: {file} is not what Terraform writes: {advice}") from None
    return _parsed(TerraformOutputs, {name: value for name, value in given.items() if value is not None}, file)


def _read(file: Path, kind: type[AnyModel]) -> AnyModel:
    try:
        document = json.loads(file.read_bytes())
    except OSError:
        advice = "run the command from a checkout of the repository (`make setup`, then `.venv/bin/launchyard`)"
        raise SettingsWrong(f"{file} is not there: {advice}") from None
    except ValueError:
        raise SettingsWrong(f"{file} is not JSON: restore it with `git checkout`") from None
    return _parsed(kind, document, file)


def _parsed(kind: type[AnyModel], document: object, file: Path) -> AnyModel:
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise SettingsWrong("\n".join(f"{file}: {line}" for line in explain(error))) from None
