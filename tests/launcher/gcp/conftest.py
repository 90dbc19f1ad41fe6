"""The provider `gcp` on a fake Compute Engine."""

import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest

from launcher.machines import directory
from launcher.machines.directory import VmDirectory
from launcher.machines.records import VmManifest
from launcher.machines.remote.strays import Strays
from launcher.providers.gcp import compute
from launcher.providers.gcp import machine as gcp_machine
from launcher.providers.gcp.compute import FoundInstance
from launcher.providers.gcp.options import GcpOptions
from launcher.providers.gcp.provider import GcpProvider, fleet_of, strays_of
from shared.domain.spec import NodeSize
from shared.wire.launchers import Hold
from tests.compute import PROJECT, ZONE, Fake, NoGuests, a_fake
from tests.launcher.gcp.instances import OTHER_ZONE, THIRD_ZONE, a_config, a_hold
from tests.launcher.stand_ins import A_LEASE, IDENTITY


@pytest.fixture
def guests() -> NoGuests:
    return NoGuests()


@pytest.fixture
def fake(guests: NoGuests) -> Iterator[Fake]:
    with a_fake(guests) as fake:
        yield fake


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have calls be repeated, but without a rest between."""
    monkeypatch.setattr(compute, "FIRST_WAIT_SECONDS", 0)
    monkeypatch.setattr(compute, "ATTEMPTS", 3)
    monkeypatch.setattr(gcp_machine, "RETRY_SECONDS", 0.01)


@pytest.fixture
def over(fake: Fake) -> Iterator[threading.Event]:
    """Until when providers look for strays."""
    over = threading.Event()
    yield over
    over.set()


@pytest.fixture
def options(fake: Fake) -> GcpOptions:
    return GcpOptions(
        project=PROJECT,
        launcher="Alpha.1",
        identity=IDENTITY,
        control_plane="https://control-plane.example",
        endpoint=fake.url,
        zones=(OTHER_ZONE, THIRD_ZONE),
        check_seconds=0.05,
    )


@pytest.fixture
def provider(options: GcpOptions) -> GcpProvider:
    return GcpProvider(options)


@pytest.fixture
def make_vm(tmp_path: Path, provider: GcpProvider) -> Callable[..., VmDirectory]:
    """Plan a machine and write its directory, as the runner does."""

    def vm(hold: Hold | None = None, size: NodeSize = NodeSize.TINY, zone: str = ZONE) -> VmDirectory:
        hold = hold or a_hold()
        config = a_config(hold, size, zone)
        plan = provider.plan(hold, str(uuid4()), config)
        manifest = VmManifest(
            **hold.model_dump(),
            vm=plan.vm or "",
            uuid=str(uuid4()),
            provider=provider.name,
            mode=plan.mode,
            image_digest=plan.image_digest,
            argv=plan.argv,
            resources=provider.resources(config.spec),
        )
        return directory.create(tmp_path, manifest, config.canonical(), A_LEASE)

    return vm


@pytest.fixture
def strays(options: GcpOptions) -> Strays[FoundInstance]:
    """The strays of another daemon of the same name, which looks only on request, and always reads a new list."""
    asked = compute.Compute(PROJECT, options.endpoint)
    return strays_of(options, asked, fleet_of(options, asked, count(0, 60).__next__))
