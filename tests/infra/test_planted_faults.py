"""The checks of the deployment find the faults that they are for: each is planted in a copy of the files."""

import re
import shutil
from pathlib import Path
from typing import Final

import pytest

from shared.domain.spec import NodeSize
from tests.infra.consistency import Deployed, deployed_by, wrong_indexes, wrong_settings, wrong_threads
from tests.infra.grants import wrong_grants
from tests.infra.pools import CERTIFICATE, HERE, wrong_filter
from tests.infra.rehearsal import DEV, FILES, ROOT, Rehearsal, variables
from tests.infra.terraform import Terraform, TerraformFailed
from tests.infra.tools import Tools

pytestmark = [pytest.mark.infra, pytest.mark.terraform]

TOPIC: Final = 'resource "google_pubsub_topic" "planted" {{\n  name = "planted"\n  {}\n}}\n'
MISSING: Final = """
resource "google_firestore_index" "index" {
  for_each = { for name, index in local.indexes : name => index if index.collectionGroup != "agents" }
}

resource "google_pubsub_topic_iam_member" "doorbell" {
  for_each = toset(["everything"])
}
"""
POOLS: Final = {
    "all-sizes": {"datacenter": HERE, "kinds": ["capacity"], "public_key": CERTIFICATE},
    "one-size": {"datacenter": HERE, "kinds": ["capacity"], "node_sizes": ["tiny"], "public_key": CERTIFICATE},
    "tasks": {"datacenter": HERE, "kinds": ["task"], "public_key": CERTIFICATE},
}
ROLE_TOO_MANY: Final = """
resource "google_project_iam_member" "planted" {
  project = var.project_id
  role    = "roles/editor"
  member  = google_service_account.function["sweep"].member
}
"""


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (TOPIC.format("lables = {}"), "Unsupported argument"),
        ('resource "google_pubsub_subscription" "planted" {\n  name = "planted"\n}\n', 'argument "topic" is required'),
        (TOPIC.format("labels = [1]"), "Incorrect attribute value type"),
        (TOPIC.format('terraform_labels = { a = "b" }'), "its value is computed"),
        ('resource "google_pubsub_tropic" "planted" {}\n', "Invalid resource type"),
        (
            'resource "google_firestore_field" "planted" {\n  collection = "a"\n  field = "b"\n'
            '  index_config {\n    indexes {\n      order = "DOWN"\n    }\n  }\n}\n',
            "order: expected one of",
        ),
    ],
    ids=["misspelt", "missing", "wrong type", "computed", "unknown type", "wrong value"],
)
def test_a_block_that_does_not_fit_the_schema_is_found(tmp_path: Path, tools: Tools, fault: str, error: str) -> None:
    terraform = Terraform(_copy(tmp_path, {"planted.tf": fault}), tmp_path / "scratch", tools)
    terraform.init()

    with pytest.raises(TerraformFailed) as found:
        terraform.validate()

    text = " ".join(str(found.value).replace("│", " ").split())
    assert error in text
    assert "planted.tf" in text


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory, tools: Tools) -> Deployed:
    """What is deployed by a copy of the files with one fault for each check."""
    scratch = tmp_path_factory.mktemp("faulty")
    files = _copy(scratch, {"planted_override.tf": MISSING, "planted.tf": ROLE_TOO_MANY})
    functions = files / "functions.tf"
    text, removed = re.subn(r"\n +LAUNCHYARD_TOPIC += .*", "", functions.read_text(encoding="utf-8"))
    text, changed = re.subn(r"THREADS( *)= tostring\(.*?\)", r'THREADS\1= "8"', text)
    assert (removed, changed) == (1, 1)
    functions.write_text(text, encoding="utf-8")
    _plant_bad_filters(files / "launchers.tf")
    terraform = Terraform(files, scratch / "scratch", tools)
    terraform.init()
    given, tfvars = variables(DEV, scratch) | {"pools": POOLS}, "-var-file=envs/dev.tfvars"
    plan = terraform.plan(given, tfvars)
    terraform.apply(given, tfvars)
    return deployed_by(Rehearsal(DEV, plan, terraform.state(), "", {}, True, {}))


def test_a_missing_index_is_found(faulty: Deployed) -> None:
    (problem,) = wrong_indexes(faulty, ROOT / "infra" / "firestore.indexes.json")

    assert problem == "index agents COLLECTION: datacenter ASCENDING, registered_at ASCENDING is missing"


def test_a_missing_setting_is_found(faulty: Deployed) -> None:
    assert set(wrong_settings(faulty)) == {
        "everything: setting LAUNCHYARD_TOPIC is missing",
        "sweep: setting LAUNCHYARD_TOPIC is missing",
    }


def test_a_missing_grant_and_a_role_too_many_are_found(faulty: Deployed) -> None:
    assert wrong_grants(faulty) == [
        "grant ly-sweep: roles/pubsub.publisher on topic launchyard-doorbell is missing",
        "grant ly-sweep: roles/editor on the project is not needed",
    ]


def test_bad_filters_are_found(faulty: Deployed) -> None:
    filters = {one["name"]: one["filter"] for one in faulty.of_type("google_pubsub_subscription")}
    found = {
        name: wrong_filter(pool, {"LAUNCHYARD_DATACENTER": HERE}, filters[f"launchyard-pool-{name}"])
        for name, pool in POOLS.items()
    }

    assert found["all-sizes"] == [f"lane baremetal:rack-70/capacity/{size} is not needed" for size in sorted(NodeSize)]
    assert found["one-size"] == [f"lane {HERE}/capacity/tiny is missing"]
    (refused,) = found["tasks"]
    assert refused.startswith("Pub/Sub refuses the filter: ")
    assert refused.endswith("attributes.lane=any/task")


def test_threads_other_than_the_concurrency_are_found(faulty: Deployed) -> None:
    assert wrong_threads(faulty) == [
        "everything: THREADS is 8, and its concurrency 1000",
        "sweep: THREADS is 8, and its concurrency 4",
    ]


def _plant_bad_filters(file: Path) -> None:
    """Let a prefix be too short, a lane be one that there is not, and a string have no quotation marks."""
    text = file.read_text(encoding="utf-8")
    for right, wrong in [
        ('${pool.datacenter}/capacity/\\")"', '${pool.datacenter}\\")"'),
        ('"${pool.datacenter}/capacity/${size}"', '"${pool.datacenter}/capacity/a-${size}"'),
        (
            '"attributes.lane=\\"${lane}\\""',
            'startswith(lane, "any/") ? "attributes.lane=${lane}" : "attributes.lane=\\"${lane}\\""',
        ),
    ]:
        assert text.count(right) == 1
        text = text.replace(right, wrong)
    file.write_text(text, encoding="utf-8")


def _copy(folder: Path, planted: dict[str, str]) -> Path:
    """Return a copy of the deployment's files, with further ones."""
    files = folder / "source" / "infra" / "terraform"
    shutil.copytree(FILES, files, ignore=shutil.ignore_patterns(".terraform*"))
    shutil.copy(FILES.parent / "firestore.indexes.json", files.parent)
    for name, text in planted.items():
        (files / name).write_text(text, encoding="utf-8")
    return files
