"""The local stack's environment: its servers start with it, and a developer's shell can read it from `dev.env`."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from emulators.processes import LOOPBACK
from emulators.settings import (
    BUCKET,
    DATACENTER,
    EXPORT_IMAGE,
    FLY_APP,
    PROJECT,
    SUBSCRIPTION,
    TOPIC,
    BackendChoice,
    StackSettings,
)
from functions.domain.access import KEY_BYTES, KEY_PREFIX, ApiKey, Role, digest
from functions.ports.worker_credentials import WorkerCredentials
from launcher.machines.private import make_folder, opener

FILE: Final = "dev.env"
ACCOUNT_OF: Final = {Role.ADMIN: "operator", Role.CLIENT: "developer", Role.LAUNCHER: "laptop"}
KEY_OF: Final = {role: f"LAUNCHYARD_{role.upper()}_KEY" for role in ACCOUNT_OF}

Environment = Mapping[str, str]


def make_environment(settings: StackSettings) -> dict[str, str]:
    """Return a new environment with new secrets. Raises ValueError for the backend `auto`: choose one first."""
    if settings.backend is BackendChoice.AUTO:
        raise ValueError("Choose a backend before making an environment: stack.choose_backend.")
    address = f"http://{LOOPBACK}"
    environment = {
        "LAUNCHYARD_URL": f"{address}:{settings.port}",
        **{name: f"{KEY_PREFIX}{secrets.token_urlsafe(KEY_BYTES)}" for name in KEY_OF.values()},
        "LAUNCHYARD_BACKEND": settings.backend,
        "LAUNCHYARD_BUCKET": f"s3://{BUCKET}",
        "LAUNCHYARD_S3_ENDPOINT": f"{address}:{settings.s3_port}",
        "LAUNCHYARD_S3_ACCESS_KEY_ID": "local",
        "LAUNCHYARD_S3_SECRET_ACCESS_KEY": secrets.token_urlsafe(32),
        "LAUNCHYARD_WORKER_CREDENTIALS": WorkerCredentials.EMBEDDED,
        "LAUNCHYARD_R2_ACCOUNT_ID": "local",
        "LAUNCHYARD_CALLBACK_SECRET": secrets.token_urlsafe(48),
        "LAUNCHYARD_DATACENTER": DATACENTER,
        "LAUNCHYARD_SOURCE_API": f"{address}:{settings.source_port}",
        "LAUNCHYARD_SOURCE_IPFS": f"{address}:{settings.source_port}",
        # Machines also reach what the launcher's settings name: the control plane and the source.
        "LAUNCHYARD_GUEST_ALLOW": f"{LOOPBACK}:{settings.s3_port}",
        "LAUNCHYARD_GCP_ENDPOINT": f"{address}:{settings.compute_port}/{secrets.token_urlsafe(32)}",
        "LAUNCHYARD_FLY_ENDPOINT": f"{address}:{settings.fly_port}",
        "LAUNCHYARD_FLY_APP": FLY_APP,
        "LAUNCHYARD_FLY_API_TOKEN": secrets.token_urlsafe(24),
        "LAUNCHYARD_ITA_API": f"{address}:{settings.trust_port}",
        "LAUNCHYARD_ITA_CERTS": f"{address}:{settings.trust_port}/certs",
        "LAUNCHYARD_ITA_API_KEY": secrets.token_urlsafe(24),
        "LAUNCHYARD_ADMIN_PASSWORD": secrets.token_urlsafe(24),
        "LAUNCHYARD_OPEN_CALLBACKS": "true",
        "LAUNCHYARD_EXPORTS_OPEN_TO": ACCOUNT_OF[Role.CLIENT],
        "LAUNCHYARD_JOBS_OPEN_TO": ACCOUNT_OF[Role.CLIENT],
    }
    if EXPORT_IMAGE in settings.fly_images:
        environment["LAUNCHYARD_EXPORT_IMAGE"] = EXPORT_IMAGE
    return environment | (_google(settings) if settings.backend is BackendChoice.GOOGLE else _memory(environment))


def api_keys(environment: Environment) -> list[ApiKey]:
    return [ApiKey(digest(environment[name]), role, ACCOUNT_OF[role]) for role, name in KEY_OF.items()]


def write_environment(home: Path, environment: Environment) -> Path:
    """Write `dev.env`, which only its owner can read. A shell may source it, and `launchyard` reads it."""
    make_folder(home)
    file = home / FILE
    lines = "".join(f"{name}={value}\n" for name, value in environment.items())
    file.unlink(missing_ok=True)
    with open(file, "x", opener=opener) as out:
        out.write(lines)
    return file


def remove_environment(home: Path) -> None:
    """Remove `dev.env`, because the servers that it names no longer run."""
    (home / FILE).unlink(missing_ok=True)


def _google(settings: StackSettings) -> dict[str, str]:
    return {
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "FIRESTORE_EMULATOR_HOST": f"{LOOPBACK}:{settings.firestore_port}",
        "PUBSUB_EMULATOR_HOST": f"{LOOPBACK}:{settings.pubsub_port}",
        "LAUNCHYARD_TOPIC": TOPIC,
        "LAUNCHYARD_SUBSCRIPTION": f"projects/{PROJECT}/subscriptions/{SUBSCRIPTION}",
    }


def _memory(environment: Environment) -> dict[str, str]:
    """Return the digests of the API keys: without emulators the functions' process reads them from its environment."""
    return {
        "LAUNCHYARD_KEYS": TypeAdapter(list[ApiKey]).dump_json(api_keys(environment), exclude_defaults=True).decode()
    }
