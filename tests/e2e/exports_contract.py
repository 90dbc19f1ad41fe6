"""A control plane over a real S3 store, a client of the exports contract, and the machine of an export's image."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx

from emulators.ports import free_port
from emulators.processes import LOOPBACK, stop
from emulators.s3 import start_s3
from emulators.s3_backend import REGION
from functions.adapters.s3 import s3_client
from functions.domain.access import Role, digest
from shared.http_client import open_client
from tests.harness import plain_http
from tests.harness.forked import forked_functions

ACCOUNT: Final = "developer"
CLIENT: Final = "ly_a-client's-key"
LAUNCHER: Final = "ly_a-launcher's-key"
BUCKET: Final = "arke-exports"
PI: Final = "01K9Z3K4GMDWTT0VQXYSPC9W6S"
FILE: Final = b"<mods>" + b"a title " * 5000 + b"</mods>"
METRICS: Final = {"total_time_ms": 3480, "entities_exported": 72, "entities_failed": 0, "peak_memory_mb": 39}


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that has nothing but the environment that its launcher was given for it."""

    environment: dict[str, str]

    @property
    def key(self) -> str:
        return f"exports/{self.environment['TASK_ID']}/{self.environment['PI']}.xml"

    def upload(self) -> None:
        """Upload the file with an S3 client, as the contract's worker does."""
        told = self.environment
        client = s3_client(told["R2_ENDPOINT"], REGION, told["R2_ACCESS_KEY_ID"], told["R2_SECRET_ACCESS_KEY"])
        with closing(client):
            client.put_object(Bucket=told["R2_BUCKET"], Key=self.key, Body=FILE, ContentType="application/xml")

    def call_back(self, **changes: Any) -> httpx.Response:
        body = {
            "task_id": self.environment["TASK_ID"],
            "batch_id": self.environment["BATCH_ID"],
            "status": "success",
            "output_r2_key": self.key,
            "output_file_name": f"{self.environment['PI']}.xml",
            "output_file_size": 1,
            "metrics": METRICS,
        }
        return plain_http.post(self.environment["CALLBACK_URL"], json=body | changes, timeout=60)


@dataclass(frozen=True, slots=True)
class Contract:
    """`http` is a client without a key: the deployment is open to ACCOUNT."""

    http: httpx.Client
    log: Path

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        return self.http.request(method, path, json=body, headers=headers)

    def start_machine(self, task_id: str) -> Machine:
        """Claim the export as a launcher that runs images, and start its machine."""
        bearer = {"Authorization": f"Bearer {LAUNCHER}"}
        claim = {"by": "id", "request_id": str(uuid4()), "launcher": "fly", "order_id": task_id}
        claimed = self.ask("POST", "/v1/claims", claim | {"lanes": ["any/export/image"]}, **bearer)
        asked = {"launcher": "fly", "epoch": claimed.json()["claimed"]["epoch"]}
        answer = self.ask("POST", f"/v1/environments/{task_id}", asked, **bearer)
        return Machine(answer.json()["variables"])


@contextmanager
def serving_exports(folder: Path) -> Iterator[Contract]:
    """Serve a control plane of one's own, in a process of its own, beside an S3 store."""
    port, s3_port, secret = free_port(), free_port(), str(uuid4())
    url = f"http://{LOOPBACK}:{port}"
    keys = [(CLIENT, Role.CLIENT, ACCOUNT), (LAUNCHER, Role.LAUNCHER, "rack")]
    variables = {
        "LAUNCHYARD_BACKEND": "memory",
        "LAUNCHYARD_URL": url,
        "LAUNCHYARD_CALLBACK_SECRET": str(uuid4()),
        "LAUNCHYARD_BUCKET": f"s3://{BUCKET}",
        "LAUNCHYARD_S3_ENDPOINT": f"http://{LOOPBACK}:{s3_port}",
        "LAUNCHYARD_S3_ACCESS_KEY_ID": "local",
        "LAUNCHYARD_S3_SECRET_ACCESS_KEY": secret,
        "LAUNCHYARD_WORKER_CREDENTIALS": "plain",
        "LAUNCHYARD_EXPORT_IMAGE": "registry.fly.io/arke-mods-export-worker:production",
        "LAUNCHYARD_EXPORTS_OPEN_TO": ACCOUNT,
        "LAUNCHYARD_KEYS": json.dumps(
            [{"digest": digest(key), "role": role, "account": account} for key, role, account in keys]
        ),
    }
    log = folder / "functions.log"
    servers = start_s3(s3_port, folder, "local", secret, BUCKET)
    try:
        with forked_functions(log, variables, port=port), open_client(url, timeout=60) as http:
            yield Contract(http, log)
    finally:
        for server in servers:
            stop(server)
