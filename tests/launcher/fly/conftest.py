"""The provider `fly` on a fake Machines API."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from launcher.machines import directory
from launcher.machines.directory import VmDirectory
from launcher.machines.records import VmManifest
from launcher.providers.fly import machine as fly_machine
from launcher.providers.fly.options import FlyOptions
from launcher.providers.fly.provider import FlyProvider
from shared.domain.spec import ExportSpec, TaskSpec
from shared.wire.launchers import Hold
from tests.fly import Fake, NoPrograms, a_fake
from tests.launcher.fly.machines import EXPORT, Environments, a_config, a_hold, a_provider, an_options
from tests.launcher.stand_ins import A_LEASE


@pytest.fixture
def programs() -> NoPrograms:
    return NoPrograms()


@pytest.fixture
def fake(programs: NoPrograms) -> Iterator[Fake]:
    with a_fake(programs) as fake:
        yield fake


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fly_machine, "RETRY_SECONDS", 0.01)


@pytest.fixture
def over() -> Iterator[threading.Event]:
    """Until when providers look for strays."""
    over = threading.Event()
    yield over
    over.set()


@pytest.fixture
def options(fake: Fake) -> FlyOptions:
    return an_options(fake)


@pytest.fixture
def environments() -> Environments:
    return Environments()


@pytest.fixture
def waits() -> list[float]:
    """The waits between two tries to create a machine, which pass at once."""
    return []


@pytest.fixture
def provider(options: FlyOptions, environments: Environments, waits: list[float]) -> FlyProvider:
    return a_provider(options, environments, waits.append)


@pytest.fixture
def make_vm(tmp_path: Path, provider: FlyProvider) -> Callable[..., VmDirectory]:
    """Plan a machine and write its directory, as the runner does."""

    def vm(spec: ExportSpec | TaskSpec = EXPORT, hold: Hold | None = None) -> VmDirectory:
        hold = hold or a_hold()
        config = a_config(hold, spec)
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
