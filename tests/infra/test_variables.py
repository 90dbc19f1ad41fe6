"""A wrong value of a variable is refused when a plan is made, by an error that names the variable."""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.infra.rehearsal import FILES, variables
from tests.infra.terraform import Terraform, TerraformFailed
from tests.infra.tools import Tools

pytestmark = [pytest.mark.infra, pytest.mark.terraform]

POOL: Final = {"datacenter": "baremetal:rack-1", "kinds": ["task"]}
GCS: Final = {"kind": "gcs", "bucket": "outputs"}
S3: Final = {"kind": "s3", "bucket": "outputs", "endpoint": "https://example.com"}
CALLBACK: Final = {"LAUNCHYARD_CALLBACK_SECRET": 1}
WRONG: Final[dict[str, list[Any]]] = {
    "backup_days": [-1, 99, 1.5],
    "bundle": ["no-such.zip"],
    "database": ["(default)", "Orders"],
    "firestore_location": ["everywhere"],
    "functions": [
        {"clam": {}},
        {"sweep": {"memory": "512M"}},
        {"sweep": {"concurrency": 1001}},
        {"sweep": {"cpu": "0.5", "concurrency": 2}},
        {"sweep": {"timeout_seconds": 4000}},
        {"sweep": {"min_instances": 3, "max_instances": 2}},
    ],
    "gateway": [{"domain": "https://example.com"}, {"domain": "example.com", "rate_limit_per_minute": 0}],
    "monitoring": [{"emails": ["nobody"]}, {"emails": [], "budget": 100}],
    "name": ["L", "a-name-that-is-far-too-long-for-accounts"],
    "outputs": [
        GCS | {"kind": "r2"},
        GCS | {"bucket": "gs://outputs"},
        GCS | {"endpoint": "https://example.com"},
        S3 | {"endpoint": "https://example.com/path"},
        GCS | {"cors_origins": ["example.com/path"]},
        GCS | {"expire_days": 0},
    ],
    "pools": [
        {"Rack": POOL},
        {"a-name-that-is-far-too-long-for-an-account": POOL},
        {"rack": POOL | {"datacenter": "rack-1"}},
        {"rack": POOL | {"kinds": ["tasks"]}},
        {"rack": POOL | {"kinds": []}},
        {"rack": POOL | {"node_sizes": ["huge"]}},
        {"rack": POOL | {"labels": list("abcdefghi")}},
        {"rack": POOL | {"subject": "a-host"}},
        {"rack": POOL | {"public_key": "-----BEGIN PRIVATE KEY-----"}},
    ],
    "project_id": ["My Project"],
    "project_number": ["launchyard"],
    "region": ["us-central1-a"],
    "secrets": [
        {"LAUNCHYARD_ADMIN_PASSWORD": "no version names it"},
        {"LAUNCHYARD_CALLBACK_SECRET": "ends with a line break\n"},
        {"LAUNCHYARD_CALLBACK_SECRET": "short"},
    ],
    "secret_versions": [CALLBACK | {"LAUNCHYARD_URL": 1}, {}, {"LAUNCHYARD_CALLBACK_SECRET": 0}],
    "settings": [
        {"LAUNCHYARD_ULR": "a misspelt name"},
        {"LAUNCHYARD_CALLBACK_SECRET": "a secret"},
        {"LAUNCHYARD_URL": "made from others"},
    ],
    "workload_identity": [{"issuer_uri": "http://example.com"}],
}
"""By variable, values of which each is wrong by itself."""
ROUNDS: Final = max(len(values) for values in WRONG.values())


def rounds() -> Iterator[dict[str, Any]]:
    """Yield all wrong values, in as few plans as possible: at most one of each variable in a plan."""
    for number in range(ROUNDS):
        yield {name: values[number] for name, values in WRONG.items() if number < len(values)}


@pytest.fixture(scope="module")
def terraform(tmp_path_factory: pytest.TempPathFactory, tools: Tools) -> Terraform:
    """A folder ready to plan."""
    terraform = Terraform(FILES, tmp_path_factory.mktemp("variables"), tools)
    terraform.init()
    return terraform


def test_every_variable_that_can_be_wrong_has_a_wrong_value_here() -> None:
    _, *blocks = ("\n" + (FILES / "variables.tf").read_text(encoding="utf-8")).split('\nvariable "')
    validated = {block.partition('"')[0] for block in blocks if "validation {" in block}

    assert validated == WRONG.keys()


@pytest.mark.parametrize("wrong", [*rounds()], ids=lambda wrong: "-".join(wrong))
def test_a_wrong_value_is_refused_by_an_error_that_names_its_variable(
    terraform: Terraform, wrong: dict[str, Any]
) -> None:
    given = {"bundle": variables("dev", terraform.scratch)["bundle"]} | wrong

    with pytest.raises(TerraformFailed) as refused:
        terraform.plan(given, "-var-file=envs/dev.tfvars")

    text = str(refused.value)
    told = [" ".join(one.replace("│", " ").split()) for one in text.split("Error: ")[1:]]
    for name, value in wrong.items():
        assert any(name in one and "Invalid value for variable" in one for one in told), (name, json.dumps(value), text)
