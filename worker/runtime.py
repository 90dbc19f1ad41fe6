"""Runs one order inside its machine: started → program → upload → completed, or failed."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from logging import Logger
from pathlib import Path
from typing import Final

from shared.guest.config import WorkerConfig
from worker import lease, memory, progress
from worker.callbacks import Callbacks, MeasuredOutput, ReportRefused
from worker.network import Client, NoHttpAnswer
from worker.programs import Job, ProgramFailed, Result, table
from worker.progress import ProgressReports
from worker.uploads import measure, upload

DELIVERED: Final = 0
UNDELIVERED: Final = 1


def _terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Worker:
    """`clock` returns seconds; `folder` holds the program's files; another thread calls `end` to end this process."""

    config: WorkerConfig
    http: Client
    folder: Path
    log: Logger
    clock: Callable[[], float] = time.monotonic
    end: Callable[[], None] = _terminate
    watch_seconds: float = lease.INTERVAL_SECONDS

    def run(self) -> int:
        """Return the exit code: 0 if the final report was delivered."""
        reports = Callbacks(self.http, self.config)
        try:
            self._work(reports)
        except ReportRefused as refused:
            self.log.error("stopping: the control plane refused a report: %s", refused)
            return UNDELIVERED
        except NoHttpAnswer as error:
            self.log.error("stopping: the control plane did not answer: %s", error)
            return UNDELIVERED
        return DELIVERED

    def _work(self, reports: Callbacks) -> None:
        reports.started()
        self.log.info("reported started")
        begun = self.clock()
        try:
            with (
                lease.ended_when_lost(reports, self.end, self.log, self.watch_seconds),
                progress.reported(reports, self.log, self.clock) as on_progress,
            ):
                output, result = self._produce(reports, on_progress)
                took = round((self.clock() - begun) * 1000)
        except ProgramFailed as failure:
            self.log.error("failed: %s: %s", failure.reason, failure.message)
            reports.failed(failure)
            self.log.info("reported failed")
            return
        reports.completed(output, {**result.metrics, "total_time_ms": took, "peak_memory_mb": memory.peak_mib()})
        self.log.info("reported completed, %d ms", took)

    def _produce(self, reports: Callbacks, on_progress: ProgressReports) -> tuple[MeasuredOutput, Result]:
        job = Job(self.config.spec, self.config.sources, self.http, self.folder, on_progress)
        self.log.info("running its %s program", self.config.spec.kind)
        result = table.run(job)
        output = measure(result)
        self.log.info("produced %s: %d bytes, sha256 %s", output.file.name, output.size, output.sha256)
        upload(self.http, output, reports.upload(output))
        self.log.info("uploaded %s", output.file.name)
        return output, result
