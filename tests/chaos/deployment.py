"""The stack that a chaos run breaks: control plane, launchers and proxies, on ports and in a folder of its own."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil

from emulators import services
from emulators.ports import free_port
from emulators.processes import LOOPBACK, Server, accepts, await_ready, start
from emulators.settings import SUBSCRIPTION
from tests.chaos import machines
from tests.chaos.evidence import LAUNCHER
from tests.chaos.orphans import HEARTBEAT_SECONDS
from tests.chaos.schedule import Terms
from tests.chaos.store_reader import StoreReader
from tests.harness.environment import (
    FIRESTORE,
    Environment,
    export_source,
    firestore,
    object_store,
    pubsub,
    running_environment,
)
from tests.harness.processes import SupervisedServer, await_end, ignore_signals

NAMES: Final = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")
SLOTS: Final = "3"


class Deployment:
    """Clients come through the HTTP proxy, and the functions reach the store through the store proxy."""

    def __init__(self, environment: Environment, terms: Terms) -> None:
        self.environment, self.terms, self.home = environment, terms, environment.home
        self._functions_port, self._store_proxy_port = free_port(), free_port()
        self.functions = SupervisedServer("the functions", self._launch_functions)
        self.launchers = [self._launcher(name) for name in NAMES[: terms.launchers]]
        self.proxies = [self._store_proxy(), self._http_proxy()]
        self.store = StoreReader(environment.variables, warm=bool(terms.emulators))

    def end_faults(self) -> None:
        """End the faults at both proxies."""
        for proxy in self.proxies:
            proxy.send(signal.SIGUSR1)

    def not_running(self) -> list[str]:
        """Return the names of the servers that are down now."""
        return [server.name for server in (self.functions, *self.launchers, *self.proxies) if not server.runs]

    def start(self) -> None:
        """Raises StartFailed."""
        variables = self.environment.variables
        store_proxy, http_proxy = self.proxies
        store_proxy.start()
        self.functions.start()
        http_proxy.start()
        services.start_scheduler(self.environment.logs, variables)
        with ThreadPoolExecutor(len(self.launchers)) as pool:
            list(pool.map(SupervisedServer.start, self.launchers))

    def stop(self) -> None:
        """Kill the servers and the machines that are left. Launchers come first: one that shuts down returns its
        orders, and the others would take them.
        """
        for server in (*self.launchers, self.functions):
            server.kill()
        left = [process for process, _ in machines.processes(self.home, self.terms.run)]
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for process in left:
            await_end(process)
        self.store.close()

    def _launch_functions(self) -> Server:
        variables = {
            **self.environment.variables,
            FIRESTORE: f"{LOOPBACK}:{self._store_proxy_port}",
            "LAUNCHYARD_LEASE_SECONDS": f"{self.terms.lease:g}",
        }
        return services.start_functions(self._functions_port, self.environment.logs, variables)

    def _launcher(self, name: str) -> SupervisedServer:
        """Every other launcher pulls bells; the rest poll."""
        variables = {
            **self.environment.variables,
            "LAUNCHYARD_PROVIDER": "process",
            "LAUNCHYARD_SLOTS": SLOTS,
            "LAUNCHYARD_VCPUS": SLOTS,  # more than a small host has: this run does not test the admission
            "LAUNCHYARD_STATE_DIR": str(self.home.resolve() / "launchers" / name),
            "LAUNCHYARD_LAUNCHER_NAME": name,
            "LAUNCHYARD_HEARTBEAT_SECONDS": f"{HEARTBEAT_SECONDS:g}",
        }
        if NAMES.index(name) % 2:
            variables["LAUNCHYARD_SUBSCRIPTION"] = ""
        log = f"{LAUNCHER}{name}"
        return SupervisedServer(name, lambda: services.start_launcher(self.environment.logs, variables, log))

    def _store_proxy(self) -> SupervisedServer:
        upstream = self.environment.variables[FIRESTORE]
        return self._proxy("the store proxy", "store_proxy", self._store_proxy_port, upstream)

    def _http_proxy(self) -> SupervisedServer:
        upstream = f"http://{LOOPBACK}:{self._functions_port}"
        return self._proxy("the HTTP proxy", "http_proxy", self.environment.settings.port, upstream)

    def _proxy(self, name: str, module: str, port: int, upstream: str) -> SupervisedServer:
        options = ["--port", f"{port}", "--upstream", upstream, "--seed", f"{self.terms.seed}"]

        def launch() -> Server:
            argv = [*services.python(f"tests.chaos.{module}"), *options]
            server = start(name, argv, self.environment.logs / f"{module}.log")
            await_ready(server, lambda: accepts(port))
            return server

        return SupervisedServer(name, launch)


@contextmanager
def deployed(home: Path, terms: Terms) -> Iterator[Deployment]:
    """Yield a deployment that runs; stop it, whatever happens, at the end. Raises StartFailed."""
    of_google = [] if terms.emulators else [firestore, pubsub]
    project = {
        "GOOGLE_CLOUD_PROJECT": terms.run,
        "LAUNCHYARD_SUBSCRIPTION": f"projects/{terms.run}/subscriptions/{SUBSCRIPTION}",
    }
    with running_environment(
        home, [*of_google, object_store, export_source], **project, **terms.emulators
    ) as environment:
        deployment = Deployment(environment, terms)
        try:
            deployment.start()
            yield deployment
        finally:
            ignore_signals()
            deployment.stop()
