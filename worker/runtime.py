"""Runs one order inside its machine: started → program → upload → completed, or failed."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from logging import Logger
from pathlib import Path
from typing import Final

from shared.guest.config import WorkerConfig
from worker import lease, memory, progress
from worker.callbacks import Callbacks, MeasuredOutput, OrderEnded, ReportRefused
from worker.network import Client, NoHttpAnswer, at_gateway, proxy_variables
from worker.programs import Job, ProgramFailed, Result, table
from worker.progress import ProgressReports
from worker.uploads import LARGE_BYTES, deliver, measure

DELIVERED: Final = 0
UNDELIVERED: Final = 1
API_URL: Final = "AGENT_ORCHESTRATOR_API_URL"
"""The variable of a session's executor with the address of the API for sessions (the contract of agent jobs)."""
ADDRESSES: Final = ("CALLBACK_URL", API_URL)
"""The ends of the names of a program's variables that hold an address of the control plane."""


def _terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Worker:
    """`clock` returns seconds; `folder` holds the program's files; another thread calls `end` to end this process.

    An output of more than `large_bytes` may be uploaded in parts.
    """

    config: WorkerConfig
    http: Client
    folder: Path
    log: Logger
    clock: Callable[[], float] = time.monotonic
    end: Callable[[], None] = _terminate
    watch_seconds: float = lease.INTERVAL_SECONDS
    large_bytes: int = LARGE_BYTES

    def run(self) -> int:
        """Return the exit code: 0 if the final report was delivered, or the order had ended without it."""
        reports = Callbacks(self.http, self.config)
        try:
            self._work(reports)
        except OrderEnded as ended:
            self.log.info("the order has ended, and needs no other report: %s", ended)
        except ReportRefused as refused:
            self.log.error("stopping: the control plane refused a report: %s", refused)
            return UNDELIVERED
        except NoHttpAnswer as error:
            self.log.error("stopping: the control plane did not answer: %s", error)
            return UNDELIVERED
        return DELIVERED

    def _work(self, reports: Callbacks) -> None:
        environment = reports.started()
        self.log.info("reported started")
        begun = self.clock()
        try:
            with (
                lease.ended_when_lost(reports, self.end, self.log, self.watch_seconds),
                progress.reported(reports, self.log, self.clock) as on_progress,
            ):
                output, result, upload_id = self._produce(reports, environment, on_progress)
                took = round((self.clock() - begun) * 1000)
        except ProgramFailed as failure:
            self.log.error("failed: %s: %s", failure.reason, f"{failure.message} {failure.details}".strip())
            reports.failed(failure)
            self.log.info("reported failed")
            return
        metrics = {**result.metrics, "total_time_ms": took, "peak_memory_mb": memory.peak_mib()}
        reports.completed(output, metrics, upload_id)
        self.log.info("reported completed, %d ms", took)

    def _produce(
        self, reports: Callbacks, environment: Mapping[str, str], on_progress: ProgressReports
    ) -> tuple[MeasuredOutput, Result, str | None]:
        """Run the program and upload its output. The last value is the id of an upload in parts."""
        executor = self.config.executor
        api = {} if executor is None or executor.api_url is None else {API_URL: executor.api_url.get_secret_value()}
        job = Job(
            spec=self.config.spec,
            sources=self.config.sources,
            http=self.http,
            folder=self.folder,
            progress=on_progress,
            environment={
                **proxy_variables(self.config.proxy, self.config.loopback_gateway),
                **_reachable({**environment, **api}, self.config.loopback_gateway),
            },
            executor=executor,
        )
        self.log.info("running its %s program", self.config.spec.kind)
        result = table.run(job)
        output = measure(result)
        self.log.info("produced %s: %d bytes, sha256 %s", output.file.name, output.size, output.sha256)
        upload_id = deliver(self.http, reports, output, self.large_bytes)
        self.log.info("uploaded %s", output.file.name)
        return output, result, upload_id


def _reachable(environment: Mapping[str, str], gateway: str | None) -> Mapping[str, str]:
    return {
        name: at_gateway(value, gateway) if name.endswith(ADDRESSES) else value for name, value in environment.items()
    }
