"""The step of a scenario by a worker with an output that is uploaded in parts."""

import tempfile
from pathlib import Path
from typing import Final

from functions.domain.multipart import MIB
from shared.domain.order import State
from shared.domain.spec import TaskSpec
from shared.guest.config import WorkerConfig
from shared.wire.launchers import ClaimById, Claimed
from tests.crash.deployment import Deployment, Ending
from tests.harness.functions import SMALL_PARTS
from worker.callbacks import Callbacks, MeasuredOutput
from worker.network import client
from worker.programs import Result
from worker.uploads import deliver, measure

LARGE: Final = b"12 bytes of " * MIB
"""Three parts."""


def a_large_output(deployment: Deployment) -> None:
    """Have a worker that no launcher here started upload its output in parts, and report it."""
    order = deployment.client.answer(lambda api: api.create_order(TaskSpec(command=("true",)), "a large output"))
    deployment.expect(order.id, Ending(State.SUCCEEDED, LARGE))
    claimed = _claim(deployment, order.id)
    config = WorkerConfig(
        order_id=order.id,
        epoch=claimed.epoch,
        control_plane=deployment.client.url,
        callback_token=claimed.callback_token,
        spec=TaskSpec(command=("true",)),
    )
    with client(None) as http, tempfile.TemporaryDirectory(prefix="large-output-") as folder:
        reports, output = Callbacks(http, config), _write(Path(folder) / "output.log")
        reports.started()
        upload_id = deliver(http, reports, output, SMALL_PARTS.single)
        assert upload_id is not None
        reports.completed(output, {}, upload_id)


def _claim(deployment: Deployment, order_id: str) -> Claimed:
    """Claim the order as a launcher that sends no heartbeats."""
    launcher = deployment.client_of(deployment.projects.environment.variables["LAUNCHYARD_LAUNCHER_KEY"])
    request = ClaimById(
        request_id=f"claim-{order_id}", launcher="elsewhere", order_id=order_id, lanes=("any/task",), attended=False
    )
    claimed = launcher.answer(lambda api: api.claim(request)).claimed
    assert claimed is not None
    return claimed


def _write(file: Path) -> MeasuredOutput:
    file.write_bytes(LARGE)
    return measure(Result(file, "text/plain", {}))
