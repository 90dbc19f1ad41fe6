"""A function imports the libraries of what it uses, and no others: at its start, and after it has served requests."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from emulators.fakes.trust_authority import any_key
from functions.apis import EVERYTHING, SERVICES
from tools.deployment import deployment

ROOT: Final = Path(__file__).parents[2]
MAX_SECONDS: Final = 120
LIBRARIES: Final = (
    "boto3",
    "botocore",
    "google.cloud.compute_v1",
    "google.cloud.firestore",
    "google.cloud.pubsub_v1",
    "google.cloud.secretmanager",
    "google.cloud.storage",
)
"""Each takes tenths of a second, or seconds, and tens of megabytes."""
ENVIRONMENT: Final = {
    "GOOGLE_CLOUD_PROJECT": "a-project",
    "FIRESTORE_EMULATOR_HOST": "127.0.0.1:1",
    "PUBSUB_EMULATOR_HOST": "127.0.0.1:1",
    "STORAGE_EMULATOR_HOST": "http://127.0.0.1:1",
    "LAUNCHYARD_URL": "https://control-plane.test",
}
"""Nothing answers there, and nothing is asked before the first request that needs it."""
OF_ITS_OWN: Final = {
    "LAUNCHYARD_CALLBACK_SECRET": "a callback secret of tests, of 32 characters or more",
    "LAUNCHYARD_S3_SECRET_ACCESS_KEY": "a-secret-access-key",
    "LAUNCHYARD_S3_ACCESS_KEY_ID": "an-id",
    "LAUNCHYARD_S3_ENDPOINT": "http://127.0.0.1:1",
}
PROGRAM: Final = """
import json, os, sys
import functions_framework
from functions.apis import EVERYTHING, SERVICES

libraries, function, main = json.loads(sys.argv[1]), os.environ["FUNCTION_TARGET"], sys.argv[2]
app = functions_framework.create_app(function, main)
at_start = [name for name in libraries if name in sys.modules]
client = app.test_client()
answers = [client.get("/v1/health").status_code]
for route in SERVICES.get(function, EVERYTHING):
    if isinstance(route.access, frozenset):
        answers.append(client.open(route.path.replace("{", "").replace("}", ""), method=route.method).status_code)
        break
print(json.dumps([at_start, [name for name in libraries if name in sys.modules], answers]))
"""
FUNCTIONS: Final = {**SERVICES, "everything": EVERYTHING}
ON_GCS: Final = ("orders", "gs://outputs")
SAMPLE: Final = frozenset({"everything", "sweep"})
"""One uses all that any function does, the other little. The others are slow."""

pytestmark = pytest.mark.infra


def served(function: str, bucket: str, account: Path) -> tuple[list[str], list[str], list[int]]:
    """Return the libraries that a function has imported at its start and after two requests, and their answers."""
    service = deployment()["services"][function]
    named = {name: OF_ITS_OWN[name] for name in (*service["secrets"], *service["settings"]) if name in OF_ITS_OWN}
    if "LAUNCHYARD_BUCKET" in service["settings"]:
        named["LAUNCHYARD_BUCKET"] = bucket
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAUNCHYARD_")}
    environment |= ENVIRONMENT | named | {"FUNCTION_TARGET": function, "PYTHONPATH": str(ROOT)}
    environment["GOOGLE_APPLICATION_CREDENTIALS"] = str(account)
    argv = [sys.executable, "-c", PROGRAM, json.dumps(LIBRARIES), str(ROOT / "functions" / "main.py")]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=MAX_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    at_start, at_last, answers = json.loads(done.stdout.splitlines()[-1])
    return at_start, at_last, answers


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """The file of a service account that can sign. Nobody is asked for a token."""
    pem = any_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    info = {"type": "service_account", "client_email": "a@b.test", "token_uri": "http://127.0.0.1:1/token"}
    file = tmp_path / "account.json"
    file.write_text(json.dumps(info | {"private_key": pem.decode(), "project_id": "a-project"}))
    return file


@pytest.mark.parametrize(
    ("function", "bucket"),
    [
        *(pytest.param(name, "s3://outputs", marks=() if name in SAMPLE else pytest.mark.slow) for name in FUNCTIONS),
        pytest.param(*ON_GCS, marks=pytest.mark.slow),
    ],
)
def test_a_function_imports_the_libraries_of_what_it_uses(function: str, bucket: str, account: Path) -> None:
    uses = deployment()["services"][function]["uses"]
    needs_a_key = any(isinstance(route.access, frozenset) for route in FUNCTIONS[function])

    at_start, at_last, answers = served(function, bucket, account)

    expected = {"google.cloud.firestore"}
    if "doorbell" in uses:
        expected |= {"google.cloud.pubsub_v1"}
    if "bucket" in uses:
        expected |= {"boto3", "botocore"} if bucket.startswith("s3://") else {"google.cloud.storage"}
    assert at_start == []
    assert set(at_last) == expected
    assert answers == ([200, 401] if needs_a_key else [200])
