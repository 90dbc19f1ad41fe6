"""The settings of the provider `gcp`: by our names, by the contract's, and by default."""

import pytest
from pydantic import ValidationError

from launcher.providers.gcp.options import GcpOptions
from launcher.providers.gcp.settings import GcpSettings
from shared.domain.spec import NodeSize
from tests.launcher.stand_ins import IDENTITY

URL = "https://control-plane.example"


def actual(**environment: str) -> GcpOptions:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return GcpSettings().gcp_options("a-project", "alpha", IDENTITY, URL)


def test_the_defaults_are_the_contracts() -> None:
    options = actual()
    assert options == GcpOptions(project="a-project", launcher="alpha", identity=IDENTITY, control_plane=URL)
    assert {options.machine_type_of(size) for size in NodeSize} == {"c3-standard-4"}
    assert options.name_prefix == "easyenclave-agent"


def test_the_contracts_names_are_taken_and_ours_win() -> None:
    options = actual(
        LAUNCHER_NAME_PREFIX="fleet",
        LAUNCHER_GCP_ZONES="us-central1-b, us-east1-b",
        LAUNCHER_GCP_MACHINE_TYPE_DEFAULT="c3-standard-8",
        LAUNCHER_GCP_MACHINE_TYPE_LLM="a3-highgpu-1g",
        LAUNCHYARD_GCP_MACHINE_TYPE_DEFAULT="c3-standard-22",
    )
    assert options.name_prefix == "fleet"
    assert options.zones == ("us-central1-b", "us-east1-b")
    assert options.machine_type_of(NodeSize.TINY) == "c3-standard-22"
    assert options.machine_type_of(NodeSize.LLM) == "a3-highgpu-1g"


def test_an_empty_machine_type_is_the_default() -> None:
    assert actual(LAUNCHER_GCP_MACHINE_TYPE_TINY="").machine_type_of(NodeSize.TINY) == "c3-standard-4"


@pytest.mark.parametrize(
    ("name", "value"), [("GCP_ZONES", "us-central1"), ("GCP_MAX_RUN_SECONDS", "29"), ("GCP_DISK_GIB", "none")]
)
def test_settings_that_compute_engine_would_refuse_are_refused_at_the_start(name: str, value: str) -> None:
    with pytest.raises(ValidationError):
        actual(**{f"LAUNCHYARD_{name}": value})
