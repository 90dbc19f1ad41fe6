"""The exports contract in one line each: an export ordered, a machine of its image, what that reports."""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from werkzeug.test import TestResponse

from functions.apis.exports.settings import ExportsSettings
from tests.functions.world import CLIENT, LAUNCHER, World

PI: Final = "01K9Z3K4GMDWTT0VQXYSPC9W6S"
OTHER_PI: Final = "01K9MHPYR07M6YMZ1QGR8DZB8S"
IMAGE: Final = "registry.fly.io/arke-mods-export-worker:production"
FILE: Final = b"<mods>a record</mods>"
NAME: Final = f"{PI}.xml"
METRICS: Final = {"total_time_ms": 3480, "entities_exported": 72, "entities_failed": 0, "peak_memory_mb": 39}
LANES: Final = ["any/export", "any/export/image"]


def configure(world: World, **variables: Any) -> None:
    """Give the API these settings."""
    world.settings = {**world.settings, ExportsSettings: ExportsSettings.model_validate(variables)}


def of_images(world: World) -> None:
    configure(world, LAUNCHYARD_EXPORT_IMAGE=IMAGE)


def start(world: World, key: str = CLIENT, pi: str = PI, **options: Any) -> str:
    """Order an export, and return its task id."""
    answer = world.post("/export/mods", {"pi": pi, "options": options}, key)
    assert answer.status_code == 200, answer.text
    task_id: str = answer.get_json()["task_id"]
    return task_id


def status(world: World, task_id: str, key: str = CLIENT) -> dict[str, Any]:
    answer = world.get(f"/status/{task_id}", key)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.get_json()
    return body


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that runs an export's image: what it is told, and what it does with that."""

    world: World
    task_id: str
    environment: dict[str, str]

    @property
    def path(self) -> str:
        return urlsplit(self.environment["CALLBACK_URL"]).path

    @property
    def key(self) -> str:
        return f"exports/{self.task_id}/{NAME}"

    def upload(self, key: str | None = None) -> None:
        self.world.bucket.store(key or self.key, FILE)

    def success(self, **changes: Any) -> dict[str, Any]:
        return {
            "task_id": self.task_id,
            "batch_id": self.environment["BATCH_ID"],
            "status": "success",
            "output_r2_key": self.key,
            "output_file_name": NAME,
            "output_file_size": 35885,
            "metrics": METRICS,
            **changes,
        }

    def error(self, text: Any = "Failed to fetch manifest: 404 Not Found") -> dict[str, Any]:
        return {"task_id": self.task_id, "batch_id": "single", "status": "error", "error": text}

    def call_back(self, body: object) -> TestResponse:
        return self.world.post(self.path, body, key="")

    def finish(self) -> None:
        self.upload()
        answer = self.call_back(self.success())
        assert (answer.status_code, answer.get_json()) == (200, {"received": True}), answer.text


def launch(world: World, task_id: str | None = None, epoch: int = 1) -> Machine:
    """Claim an export, a new one by default, and start a machine of its image."""
    task_id = task_id or start(world)
    assert world.claim(task_id, lanes=LANES) is not None
    asked = {"launcher": "alpha", "epoch": epoch}
    answer = world.post(f"/v1/environments/{task_id}", asked, LAUNCHER)
    assert answer.status_code == 200, answer.text
    assert world.update(task_id, "provisioning", epoch, vm=f"vm-{epoch}").status_code == 200
    assert world.update(task_id, "running", epoch).status_code == 200
    return Machine(world, task_id, answer.get_json()["variables"])
