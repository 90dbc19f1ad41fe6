"""The local stack confines its machines like any launcher, or says that it cannot."""

from pathlib import Path

import pytest

from emulators import services, stack
from emulators.environment import make_environment
from emulators.settings import BackendChoice, ProviderChoice, StackSettings


@pytest.mark.parametrize(
    ("why_not", "network", "reports"),
    [(None, None, 0), ("The machine cannot be confined: no namespace", "open", 1)],
)
def test_machines_of_the_local_stack_are_confined_unless_the_host_cannot_which_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why_not: str | None, network: str | None, reports: int
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(stack, "why_not_confined", lambda: why_not)
    monkeypatch.setattr(services, "guest_image", lambda _images: {})
    settings = StackSettings(home=tmp_path, provider=ProviderChoice.QEMU, backend=BackendChoice.MEMORY)

    of_launcher = stack._launcher_environment(settings, make_environment(settings), lines.append)

    assert of_launcher.get("LAUNCHYARD_GUEST_NETWORK") == network
    assert [why_not in line for line in lines if why_not is not None] == [True] * reports


def test_machines_of_the_local_stack_reach_its_bucket_and_no_other_port_by_setting(tmp_path: Path) -> None:
    settings = StackSettings(home=tmp_path, backend=BackendChoice.MEMORY)

    assert make_environment(settings)["LAUNCHYARD_GUEST_ALLOW"] == f"127.0.0.1:{settings.s3_port}"
