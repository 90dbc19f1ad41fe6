"""What an export's image is told: its task, where to upload, and where to report."""

import base64
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import jwt

from functions.adapters.bucket_credentials import Issuer
from functions.ports.worker_credentials import WorkerCredentials
from tests.factories import EXPORT
from tests.functions.exports.client import IMAGE, LANES, PI, Machine, launch, of_images, start
from tests.functions.world import BUCKET, LAUNCHER, SECRET, URL, World


def claims(environment: dict[str, str]) -> dict[str, Any]:
    """Return what the bucket's temporary credentials allow."""
    signed = base64.b64decode(environment["R2_SESSION_TOKEN"]).decode().removeprefix("jwt/")
    return dict(
        jwt.decode(
            signed,
            SECRET,
            algorithms=["HS256"],
            options={"verify_aud": False, "verify_iat": False, "verify_exp": False},
        )
    )


def test_an_image_is_told_what_the_contract_lists(world: World, machine: Machine) -> None:
    environment = machine.environment

    assert environment == {
        "TASK_ID": machine.task_id,
        "PI": PI,
        "EXPORT_FORMAT": "mods",
        "EXPORT_OPTIONS": environment["EXPORT_OPTIONS"],
        "BATCH_ID": "single",
        "CALLBACK_URL": f"{URL}/callback/{machine.task_id}/{world.ports.tokens.secret(machine.task_id, 1)}",
        "R2_ACCOUNT_ID": "account-id",
        "R2_ACCESS_KEY_ID": "parent-key",
        "R2_SECRET_ACCESS_KEY": environment["R2_SECRET_ACCESS_KEY"],
        "R2_BUCKET": BUCKET,
        "R2_ENDPOINT": "https://account-id.r2.cloudflarestorage.com",
        "R2_SESSION_TOKEN": environment["R2_SESSION_TOKEN"],
        "AWS_SESSION_TOKEN": environment["R2_SESSION_TOKEN"],
    }
    assert json.loads(environment["EXPORT_OPTIONS"]) == {
        "recursive": False,
        "maxDepth": 5,
        "parallelBatchSize": 10,
        "includeOcr": True,
        "cheimarrosMode": "full",
    }


def test_an_image_is_told_the_options_that_its_client_chose(world: World) -> None:
    of_images(world)
    chosen: dict[str, Any] = {
        "recursive": True,
        "maxDepth": 2,
        "parallelBatchSize": 3,
        "includeOcr": False,
        "cheimarrosMode": "skip",
    }

    machine = launch(world, start(world, **chosen, validate=True))

    assert json.loads(machine.environment["EXPORT_OPTIONS"]) == chosen


def test_the_credentials_reach_the_tasks_own_keys_for_as_long_as_its_attempt_may_take(
    world: World, machine: Machine
) -> None:
    allowed = claims(machine.environment)

    assert allowed["paths"]["prefixPaths"] == [f"exports/{machine.task_id}/"]
    assert timedelta(seconds=allowed["exp"] - allowed["iat"]) == timedelta(seconds=600 + 600, minutes=15)


def test_plain_credentials_have_no_token(world: World) -> None:
    of_images(world)
    plain = Issuer(f"s3://{BUCKET}", None, "account-id", "key", SECRET, WorkerCredentials.PLAIN)
    world.ports = replace(world.ports, issuer=plain)

    environment = launch(world).environment

    assert environment["R2_SECRET_ACCESS_KEY"] == SECRET
    assert not {"R2_SESSION_TOKEN", "AWS_SESSION_TOKEN", "R2_ENDPOINT"} & environment.keys()


def test_an_export_of_the_native_api_that_names_an_image_gets_the_same(world: World) -> None:
    placed = world.place(EXPORT.model_copy(update={"image": IMAGE}))

    machine = launch(world, placed["id"])

    assert machine.environment["PI"] == EXPORT.pi
    machine.finish()
    assert world.view(placed["id"])["state"] == "succeeded"


def test_our_own_worker_gets_no_credentials(world: World) -> None:
    task_id = start(world)
    assert world.claim(task_id, lanes=LANES) is not None

    answer = world.post(f"/v1/environments/{task_id}", {"launcher": "alpha", "epoch": 1}, LAUNCHER)

    assert answer.get_json()["variables"] == {}
