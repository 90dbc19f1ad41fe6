"""The settings of the provider `gcp`, by our environment variables and by the contract's."""

from typing import Annotated, Any, Final

from pydantic import AliasChoices, Field, StringConstraints, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from launcher.providers.gcp.options import IMAGE, MACHINE_TYPE, MAX_RUN_SECONDS, ZONE_PATTERN, GcpOptions
from shared.address import BaseUrl
from shared.domain.spec import NodeSize

PREFIX: Final = "LAUNCHYARD_"
TWIN: Final = "LAUNCHER_"
"""The prefix of the contract's environment variables; ours have PREFIX."""

Zone = Annotated[str, StringConstraints(pattern=rf"^{ZONE_PATTERN}$")]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
MachineType = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$")]


def _twinned(default: Any, name: str) -> Any:  # typed as `Field` is
    return Field(default, validation_alias=AliasChoices(f"{PREFIX}{name}", f"{TWIN}{name}"))


class GcpSettings(BaseSettings):
    """Each field is the environment's `LAUNCHYARD_<FIELD>`, most of them `LAUNCHER_<FIELD>`, too."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, validate_default=True, populate_by_name=True
    )

    name_prefix: Text = _twinned("easyenclave-agent", "NAME_PREFIX")
    gcp_project: Annotated[str, StringConstraints(strip_whitespace=True)] | None = _twinned(None, "GCP_PROJECT")
    """None: orders of `gcp` are not served."""
    gcp_machine_type_default: MachineType = _twinned(MACHINE_TYPE, "GCP_MACHINE_TYPE_DEFAULT")
    gcp_machine_type_tiny: MachineType | None = _twinned(None, "GCP_MACHINE_TYPE_TINY")
    """None: the default; so of the other sizes."""
    gcp_machine_type_standard: MachineType | None = _twinned(None, "GCP_MACHINE_TYPE_STANDARD")
    gcp_machine_type_llm: MachineType | None = _twinned(None, "GCP_MACHINE_TYPE_LLM")
    gcp_zones: Annotated[tuple[Zone, ...], NoDecode] = _twinned((), "GCP_ZONES")
    """Separated by commas: tried in turn if the order's own zone has no machine left, or the order names none."""
    gcp_image: Text = _twinned(IMAGE, "GCP_IMAGE")
    """A link, or `<project>/<family>`."""
    gcp_endpoint: BaseUrl | None = None
    """None: Google's."""
    gcp_disk_gib: Annotated[int, Field(ge=10)] = 80
    gcp_disk_type: str = "pd-balanced"
    gcp_network: str = "global/networks/default"
    gcp_subnetwork: str | None = None
    gcp_max_run_seconds: Annotated[int, Field(ge=30, le=120 * 24 * 3600)] = MAX_RUN_SECONDS
    """When Compute Engine itself deletes an instance; Google allows 120 days at most."""
    gcp_look_seconds: Annotated[float, Field(gt=0, le=60)] = 10
    """The seconds between two reads of all instances."""

    @field_validator("gcp_machine_type_tiny", "gcp_machine_type_standard", "gcp_machine_type_llm", mode="before")
    @classmethod
    def _none_for_empty(cls, value: object) -> object:
        """Treat an empty flag like an empty variable of the environment."""
        return value or None

    @field_validator("gcp_zones", mode="before")
    @classmethod
    def _split_zones(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(item.strip() for item in value.split(",") if item.strip())

    def gcp_options(self, project: str, launcher: str, identity: str, control_plane: str) -> GcpOptions:
        """Return where and how the instances of this launcher are made."""
        types = {
            NodeSize.TINY: self.gcp_machine_type_tiny,
            NodeSize.STANDARD: self.gcp_machine_type_standard,
            NodeSize.LLM: self.gcp_machine_type_llm,
        }
        return GcpOptions(
            project=project,
            launcher=launcher,
            identity=identity,
            control_plane=control_plane,
            endpoint=self.gcp_endpoint,
            name_prefix=self.name_prefix,
            zones=self.gcp_zones,
            machine_type=self.gcp_machine_type_default,
            machine_types={size: chosen for size, chosen in types.items() if chosen is not None},
            image=self.gcp_image,
            disk_gib=self.gcp_disk_gib,
            disk_type=self.gcp_disk_type,
            network=self.gcp_network,
            subnetwork=self.gcp_subnetwork,
            max_run_seconds=self.gcp_max_run_seconds,
            check_seconds=self.gcp_look_seconds,
        )
