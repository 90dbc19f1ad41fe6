"""The bundle's functions as processes of their own, with the settings that Terraform gives them, and one launcher."""

import base64
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from emulators.environment import KEY_OF
from emulators.ports import free_port
from emulators.processes import LOOPBACK, Server, await_ready, start, stop
from emulators.services import is_healthy, start_launcher
from functions.adapters.firestore import FirestoreOrderStore
from functions.domain.access import Role
from launcher.orders import leftovers
from tests.harness.clients import Client
from tests.harness.environment import FIRESTORE, PUBSUB
from tests.harness.projects import Projects
from tests.infra.front import EVERYTHING, PREFIX, Front, by_name, by_path, fronting
from tools.installed_bundle import InstalledBundle, services, settings_of

CONCURRENCY: Final = "80"
SCHEDULER: Final = "ly-scheduler@a-project.iam.gserviceaccount.com"
EMULATORS: Final = (FIRESTORE, PUBSUB)
OF_LAUNCHERS: Final = (
    "GOOGLE_CLOUD_PROJECT",
    "LAUNCHYARD_DATACENTER",
    "LAUNCHYARD_LAUNCHER_KEY",
    "LAUNCHYARD_SOURCE_API",
    "LAUNCHYARD_SOURCE_IPFS",
    "LAUNCHYARD_SUBSCRIPTION",
    "LAUNCHYARD_URL",
    *EMULATORS,
)
SWEEP: Final = "sweep"
"""This service is private: only the scheduler reaches it, at its own address."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """`url` is what its callers know of it, and `front` answers there."""

    url: str
    front: Front
    store: FirestoreOrderStore
    client: Client
    operator: Client
    launcher: Client
    """With the key of the launcher that runs, for requests as of another one."""
    scheduler: Client
    """At the sweep's own address, with the token that Cloud Run passes on."""
    key: str = field(repr=False)
    """The client's."""


@contextmanager
def deployed(bundle: InstalledBundle, projects: Projects, home: Path, balanced: bool) -> Iterator[Deployment]:
    """Run every service behind a load balancer, or `everything` without one; and the sweep, and a launcher."""
    public = [name for name in services() if name not in (EVERYTHING, SWEEP)] if balanced else [EVERYTHING]
    ports = {name: free_port() for name in (*public, SWEEP)}
    addresses = {name: f"http://{LOOPBACK}:{port}" for name, port in ports.items()}
    with ExitStack() as cleanup:
        project = cleanup.enter_context(projects.create())
        fronted = {name: addresses[name] for name in public}
        front, address = cleanup.enter_context(fronting(by_path if balanced else by_name, fronted))
        url = address if balanced else f"{address}/{PREFIX}{EVERYTHING}"
        values = {**project.variables, "LAUNCHYARD_URL": url, "LAUNCHYARD_SWEEP_CALLER": SCHEDULER}
        _start_functions(bundle, ports, values, home, cleanup)
        state = home / "launcher"
        of_launcher = {name: values[name] for name in OF_LAUNCHERS}
        own = {"LAUNCHYARD_PROVIDER": "process", "LAUNCHYARD_STATE_DIR": str(state)}
        cleanup.callback(leftovers.clear, state)
        cleanup.callback(stop, start_launcher(home, of_launcher | own))

        def caller(role: Role) -> Client:
            return cleanup.enter_context(Client(url, values[KEY_OF[role]]))

        yield Deployment(
            url=url,
            front=front,
            store=project.store,
            client=caller(Role.CLIENT),
            operator=caller(Role.ADMIN),
            launcher=caller(Role.LAUNCHER),
            scheduler=cleanup.enter_context(Client(addresses[SWEEP], _token_of(SCHEDULER))),
            key=values[KEY_OF[Role.CLIENT]],
        )


def _start_functions(
    bundle: InstalledBundle, ports: Mapping[str, int], values: Mapping[str, str], logs: Path, cleanup: ExitStack
) -> None:
    """Start a process for each function, all at the same time, and wait until each is ready. Raises StartFailed."""
    servers = {name: _start(bundle, name, port, values, logs) for name, port in ports.items()}
    for server in servers.values():
        cleanup.callback(stop, server)

    def ready(name: str) -> None:
        await_ready(servers[name], lambda: is_healthy(ports[name]))

    with ThreadPoolExecutor(len(servers)) as pool:
        list(pool.map(ready, servers))


def _start(bundle: InstalledBundle, name: str, port: int, values: Mapping[str, str], logs: Path) -> Server:
    argv = [str(bundle.framework), "--source", str(bundle.main), "--target", name]
    argv += ["--host", LOOPBACK, "--port", str(port)]
    of_the_platform = {"FUNCTION_TARGET": name, "FUNCTION_SIGNATURE_TYPE": "http", "K_SERVICE": f"{PREFIX}{name}"}
    emulators = {variable: values[variable] for variable in EMULATORS}
    settings = settings_of(name, values) | of_the_platform | emulators | {"THREADS": CONCURRENCY}
    return start(f"the function {name}", argv, logs / f"{name}.log", settings)


def _token_of(email: str) -> str:
    """Return an identity token as a function gets it from Cloud Run, which has verified it and removed its signature.

    https://cloud.google.com/run/docs/troubleshooting#signature-removed
    """
    head, claims = ({"alg": "RS256", "typ": "JWT"}, {"email": email, "email_verified": True})
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (head, claims))
    return ".".join((*parts, "SIGNATURE_REMOVED_BY_GOOGLE"))
