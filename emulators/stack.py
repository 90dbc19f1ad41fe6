"""Starts the local stack in order, records every process that it starts, and stops exactly those."""

import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from emulators import executor, google, s3, services, source
from emulators.environment import make_environment, remove_environment, write_environment
from emulators.fakes.compute.server import start_compute
from emulators.fakes.fly.server import start_fly
from emulators.fakes.trust_authority import start_trust_authority
from emulators.fetch import Unobtainable
from emulators.ports import require_free
from emulators.processes import Server, StartFailed, running
from emulators.record import Record, make_logs
from emulators.seeding import seed
from emulators.settings import BUCKET, BackendChoice, ProviderChoice, StackSettings
from launcher.host.guest_network import GuestNetwork
from launcher.host.probe import why_not_confined
from launcher.orders import leftovers
from launcher.settings import Cloud

LAUNCHER: Final = "launcher"
QEMU: Final = "qemu-system-x86_64"

Report = Callable[[str], None]
Environment = Mapping[str, str]
Start = Callable[[], object]


def up(settings: StackSettings, report: Report) -> Environment:
    """Start every server, wait until all of them answer, and return the environment, which is now in `dev.env`.

    If one does not start, stop the others. Raises StartFailed.
    """
    _require_down(settings.home)
    settings = settings.model_copy(update={"backend": choose_backend(settings.backend, report)})
    _require_ports(settings)
    environment = make_environment(settings)
    try:
        _start_all(settings, environment, report)
    except BaseException:
        down(settings.home)
        raise
    report(f"the environment is in {write_environment(settings.home, environment)}")
    return environment


def choose_backend(wanted: BackendChoice, report: Report, obtain: Start = google.obtain) -> BackendChoice:
    """Return the backend to run, after fetching what it needs. Raises StartFailed if `google` is not available."""
    if wanted is BackendChoice.MEMORY:
        return wanted
    try:
        obtain()
    except Unobtainable as error:
        if wanted is BackendChoice.GOOGLE:
            raise StartFailed(
                f"The emulators are not available: {error}. Use --backend memory, which needs none."
            ) from error
        report(f"uses backend memory, because the emulators are not available: {error}")
        return BackendChoice.MEMORY
    return BackendChoice.GOOGLE


def down(home: Path) -> list[Server]:
    """Stop exactly what `up` started, and the machines that its launcher left. Return the servers that still ran."""
    stopped = Record(home).stop_all()
    leftovers.clear(home / LAUNCHER, gone={Cloud.FLY})  # its machines have ended with the local Machines API
    remove_environment(home)
    return stopped


def _start_all(settings: StackSettings, environment: Environment, report: Report) -> None:
    logs = make_logs(settings.home)
    for_launcher = _launcher_environment(settings, environment, report)
    _start_in_parallel(_stores(settings, environment, logs))
    if settings.backend is BackendChoice.GOOGLE:
        seed(environment)
        report("the Firestore and Pub/Sub emulators and the S3 server answer")
    else:
        report("backend memory: the functions' process holds orders and bells until it ends; the S3 server answers")
    report(f"a Compute Engine answers at {environment['LAUNCHYARD_GCP_ENDPOINT']}")
    report(f"a Machines API of Fly answers at {environment['LAUNCHYARD_FLY_ENDPOINT']}")
    services.start_functions(settings.port, logs, environment)
    report(f"the control plane answers at {environment['LAUNCHYARD_URL']}")
    services.start_scheduler(logs, environment)
    services.start_launcher(logs, {**environment, **for_launcher})
    report(f"the launcher takes orders: {_described(for_launcher)}, up to {settings.slots} machines at once")


def _require_down(home: Path) -> None:
    record = Record(home)
    if not record.alive():
        return
    ended = [server.name for server in record.read() if not running(server)]
    except_for = f", except for {', '.join(ended)}, which ended" if ended else ""
    raise StartFailed(f"The local stack is up already{except_for}; `launchyard down` stops it.")


def _require_ports(settings: StackSettings) -> None:
    servers = {"port": "the control plane", "s3_port": "the S3 server", "source_port": "the sample source"}
    servers |= {"compute_port": "the Compute Engine", "trust_port": "the trust authority"}
    servers |= {"fly_port": "the Machines API"}
    if settings.backend is BackendChoice.GOOGLE:
        servers |= {"firestore_port": "the Firestore emulator", "pubsub_port": "the Pub/Sub emulator"}
    for name, server in servers.items():
        require_free(server, getattr(settings, name), f"LAUNCHYARD_{name.upper()}")


def _stores(settings: StackSettings, environment: Environment, logs: Path) -> list[Start]:
    key, secret = environment["LAUNCHYARD_S3_ACCESS_KEY_ID"], environment["LAUNCHYARD_S3_SECRET_ACCESS_KEY"]
    starts: list[Start] = [
        lambda: s3.start_s3(settings.s3_port, logs, key, secret, BUCKET),
        lambda: source.start_source(settings.source_port, logs),
        lambda: start_compute(settings.compute_port, logs, environment),
        lambda: start_fly(settings.fly_port, logs, environment, settings.fly_images),
        lambda: start_trust_authority(settings.trust_port, logs, environment["LAUNCHYARD_ITA_API_KEY"]),
    ]
    if settings.backend is BackendChoice.GOOGLE:
        starts.append(lambda: google.start_firestore(settings.firestore_port, logs))
        starts.append(lambda: google.start_pubsub(settings.pubsub_port, logs))
    return starts


def _start_in_parallel(starts: Sequence[Start]) -> None:
    """Start servers in parallel: each emulator takes seconds."""
    with ThreadPoolExecutor(len(starts)) as pool:
        for future in [pool.submit(begin) for begin in starts]:
            future.result()


def _launcher_environment(settings: StackSettings, environment: Environment, report: Report) -> dict[str, str]:
    """Return the settings of the launcher alone."""
    provider = settings.provider
    if provider is ProviderChoice.AUTO:
        provider = ProviderChoice.QEMU if shutil.which(QEMU) else ProviderChoice.PROCESS
        if provider is ProviderChoice.PROCESS:
            report(f"{QEMU} is not installed: workers run as plain processes instead of machines")
    return {
        **_providers(provider),
        "LAUNCHYARD_SLOTS": str(settings.slots),
        "LAUNCHYARD_TINY_MEMORY_MIB": "256",  # its guests boot with that, and a laptop has no 4 GiB for each
        "LAUNCHYARD_TINY_VCPUS": "1",
        "LAUNCHYARD_STATE_DIR": str(settings.home.resolve() / LAUNCHER),
        "LAUNCHYARD_LAUNCHER_NAME": "local",
        "LAUNCHYARD_HEARTBEAT_SECONDS": "5",
        "LAUNCHYARD_DRAIN_SECONDS": "0",  # `down` stops its machines, and no other daemon follows
        "LAUNCHYARD_FLY_LOOK_SECONDS": "0.5",
        "LAUNCHYARD_EXECUTOR": settings.executor or _test_executor(provider),
        "LAUNCHYARD_EXECUTOR_API_URL": f"{environment['LAUNCHYARD_URL']}/k/{environment['LAUNCHYARD_CLIENT_KEY']}",
        **(_machines(settings, report) if provider is ProviderChoice.QEMU else {}),
    }


def _machines(settings: StackSettings, report: Report) -> dict[str, str]:
    """Return the launcher's settings of its machines: their image, and, if this host cannot confine them, that it need
    not, because only the developer's own orders run here.
    """
    why_not = why_not_confined()
    if why_not is not None:
        report(f"machines reach all that this host reaches, the local stack's store included: {why_not}")
    open_network = {} if why_not is None else {"LAUNCHYARD_GUEST_NETWORK": GuestNetwork.OPEN}
    return {**services.guest_image(settings.images), **open_network}


def _test_executor(provider: ProviderChoice) -> str:
    """Return the command line of the test executor. It names no file: a machine has none of this host's."""
    python = "python3" if provider is ProviderChoice.QEMU else sys.executable
    return shlex.join((python, "-c", Path(executor.__file__).read_text()))


def _providers(provider: ProviderChoice) -> dict[str, str]:
    """Return the launcher's settings of who makes its machines."""
    if provider is ProviderChoice.FLY:
        # Fly has no capacity, so no datacenter. The other provider is not enabled, but its name must be valid.
        return {
            "LAUNCHYARD_PROVIDERS": Cloud.FLY,
            "LAUNCHYARD_PROVIDER": ProviderChoice.PROCESS,
            "LAUNCHYARD_DATACENTER": "",
        }
    return {"LAUNCHYARD_PROVIDERS": f"{Cloud.BAREMETAL},{Cloud.FLY}", "LAUNCHYARD_PROVIDER": provider}


def _described(for_launcher: Environment) -> str:
    if for_launcher["LAUNCHYARD_PROVIDERS"] == Cloud.FLY:
        return "provider fly"
    return f"provider {for_launcher['LAUNCHYARD_PROVIDER']}, and fly for orders that name an image"
