"""A wrong value of a variable is refused before anything is planned, with what to change."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from tests.infra.terraform import Terraform, TerraformFailed
from tests.infra.tools import Tools

pytestmark = [pytest.mark.infra, pytest.mark.terraform]

FILES: Final = Path(__file__).parents[2] / "infra" / "terraform"
ERROR_MESSAGE: Final = re.compile(r'^ *error_message = "(.*)"$', re.MULTILINE)
FRAME: Final = re.compile(r"[\s│╷╵]+")
"""What Terraform breaks a message with."""

S3: Final = {"kind": "s3", "bucket": "outputs", "endpoint": "https://0123.r2.cloudflarestorage.com"}
POOL: Final = {"datacenter": "baremetal:rack-1", "kinds": ["task"]}
RIGHT: Final[Mapping[str, Any]] = {
    "project_id": "launchyard-dev",
    "project_number": "123456789012",
    "region": "us-central1",
    "firestore_location": "nam5",
    "outputs": {"kind": "gcs", "bucket": "launchyard-dev-outputs"},
}

Wrong = Mapping[str, tuple[Any, tuple[str, ...]]]
"""By variable: a wrong value, and what its errors say."""

ALONE: Final[Wrong] = {
    "backup_days": (99, ("backup_days must be a whole number from 0 to 98",)),
    "bundle": ("missing.zip", ("bundle must name the zip with the functions' source: run `make bundle` first.",)),
    "database": ("(default)", ("database must have 4 to 63 characters",)),
    "firestore_location": ("US", ("firestore_location must be a region",)),
    "functions": (
        {
            "claims": {},
            "claim": {"memory": "512", "concurrency": 1001},
            "jobs": {"cpu": "0.5"},
            "orders": {"min_instances": 11},
            "sweep": {"timeout_seconds": 30},
            "tasks": {"memory": "8Gi"},
        },
        (
            "functions names a service that does not exist: claims.",
            "The memory in functions must be like 512Mi",
            "The concurrency in functions must be from 1 to 1000",
            "The cpu in functions must be at least 1 unless the concurrency is 1",
            "The timeout_seconds in functions must be from 60 to 3600",
            "The min_instances in functions must not exceed max_instances",
            "The cpu and memory in functions do not go together",
        ),
    ),
    "gateway": (
        {"domain": "https://orders.example.com", "rate_limit_per_minute": 0},
        ("The domain in gateway must be a host name", "The rate_limit_per_minute in gateway must be"),
    ),
    "monitoring": (
        {"emails": ["operators"], "budget": 100},
        (
            "The emails in monitoring must be e-mail addresses.",
            "A budget in monitoring must be above 0, and needs the billing_account",
        ),
    ),
    "name": ("Launchyard", ("name must have 3 to 19 characters",)),
    "outputs": (
        {
            "kind": "azure",
            "bucket": "gs://outputs",
            "endpoint": "https://example.com/outputs",
            "cors_origins": ["app.example.com"],
            "expire_days": 0,
        },
        (
            "The kind in outputs must be gcs or s3.",
            "The bucket in outputs must be a bucket's name alone",
            "The endpoint in outputs must be like",
            "The cors_origins in outputs must be origins",
            "The expire_days in outputs must be a whole number of days",
        ),
    ),
    "project_id": ("Launchyard Dev", ("project_id must be a project's id, not its name or number",)),
    "project_number": ("launchyard-dev", ("project_number must be the project's number",)),
    "region": ("us-central1-a", ("region must be a region such as us-central1, not a zone.",)),
    "workload_identity": (
        {"issuer_uri": "http://oidc.example.com"},
        ("The issuer_uri in workload_identity must be",),
    ),
}
BESIDE_OTHERS: Final[Wrong] = {
    "backup_days": (1.5, ("backup_days must be a whole number from 0 to 98",)),
    "outputs": (S3 | {"create": False}, ()),
    "pools": (
        {
            "Rack": POOL,
            "a-rack-with-too-long-a-name": POOL,
            "rack-1": POOL | {"datacenter": "rack-1", "kinds": ["tasks"], "node_sizes": ["huge"]},
            "rack-2": POOL | {"labels": list("abcdefghi"), "subject": "rack"},
            "rack-4": POOL | {"labels": ['gpu"']},
            "rack-3": POOL | {"public_key": "-----BEGIN PRIVATE KEY-----"},
            "rack-5": POOL | {"public_key": "-----BEGIN CERTIFICATE-----\n", "subject": "rack"},
        },
        (
            "The names in pools must have lower-case letters",
            "The names in pools are too long: with ly-pool- in front",
            "The datacenter in pools must be <cloud>:<zone>",
            "The kinds in pools must be some of capacity",
            "The node_sizes in pools must be some of tiny",
            "The labels in pools must be 8 at most",
            "The labels in pools must be like gpu or os=linux",
            "A subject in pools needs workload_identity",
            "The public_key in pools must be a certificate",
            "A pool in pools may have subject or public_key, not both",
        ),
    ),
    "secret_versions": (
        {"LAUNCHYARD_TOPIC": 0},
        (
            "secret_versions may name only the secret settings",
            "secret_versions must name LAUNCHYARD_CALLBACK_SECRET",
            "secret_versions must name LAUNCHYARD_S3_SECRET_ACCESS_KEY",
            "The numbers in secret_versions must be whole",
        ),
    ),
    "settings": (
        {
            "LAUNCHYARD_TOPICS": "doorbell",
            "LAUNCHYARD_ADMIN_PASSWORD": "a password",
            "LAUNCHYARD_URL": "https://example.com",
        },
        (
            "settings has a name that no function reads: LAUNCHYARD_TOPICS.",
            "settings has a secret: LAUNCHYARD_ADMIN_PASSWORD.",
            "settings has a name that is set already: LAUNCHYARD_URL.",
            "settings must have LAUNCHYARD_S3_ACCESS_KEY_ID",
        ),
    ),
}
"""Those of variables whose validation looks at others, which must be right for it to be reached."""
LAST: Final[Wrong] = {
    "pools": ({"rack": POOL | {"kinds": []}}, ("The kinds in pools must be some of capacity",)),
    "secrets": (
        {"LAUNCHYARD_ADMIN_PASSWORD": "a password", "LAUNCHYARD_CALLBACK_SECRET": "0" * 30 + "\n"},
        (
            "secrets has a value for a setting that secret_versions does not",
            "A value in secrets is empty, or begins or ends with a blank",
            "LAUNCHYARD_CALLBACK_SECRET in secrets must have at least 32",
        ),
    ),
}
RESERVED: Final[Wrong] = {"name": ("gcp-launchyard", ("name must have 3 to 19 characters",))}
ROUNDS: Final = {"alone": ALONE, "beside-others": BESIDE_OTHERS, "last": LAST, "reserved": RESERVED}
"""One plan reports the errors of all its variables."""


@pytest.fixture(scope="module")
def terraform(tmp_path_factory: pytest.TempPathFactory, tools: Tools) -> Terraform:
    terraform = Terraform(FILES, tmp_path_factory.mktemp("variables"), tools)
    terraform.init()
    return terraform


@pytest.mark.parametrize("wrong", ROUNDS.values(), ids=ROUNDS)
def test_a_wrong_value_is_refused_with_what_to_change(terraform: Terraform, wrong: Wrong) -> None:
    bundle = terraform.scratch / "bundle.zip"
    bundle.write_bytes(b"the functions")
    values = {name: value for name, (value, _) in wrong.items()}

    with pytest.raises(TerraformFailed) as failed:
        terraform.plan({**RIGHT, "bundle": str(bundle), **values})

    said = FRAME.sub(" ", str(failed.value))
    assert [error for _, errors in wrong.values() for error in errors if error not in said] == []
    assert [error for name, (_, errors) in wrong.items() for error in errors if name not in error] == []


def test_every_validation_has_a_wrong_value_here() -> None:
    tried = [error for wrong in ROUNDS.values() for _, errors in wrong.values() for error in errors]

    messages = [text.partition("${")[0] for text in ERROR_MESSAGE.findall((FILES / "variables.tf").read_text("utf-8"))]

    assert len(messages) > 30
    assert [text for text in messages if not any(error[: len(text)] == text[: len(error)] for error in tried)] == []
