"""The stand-in of the google provider refuses, plans and applies as the real one does, as far as its schema goes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.infra.stand_in.protobuf import decode, encode
from tests.infra.terraform import Terraform, TerraformFailed
from tests.infra.tools import Tools

pytestmark = [pytest.mark.infra, pytest.mark.terraform]

HEAD: Final = """
terraform {
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }
}

provider "google" {
  project        = "a-project"
  default_labels = { application = "a" }
}
"""
TOPIC: Final = """
resource "google_pubsub_topic" "orders" {
  name   = "orders"
  labels = { team = "b" }
}
"""
SECRET: Final = """
variable "value" {
  type      = string
  sensitive = true
  ephemeral = true
  default   = "planted"
}

resource "google_secret_manager_secret" "key" {
  secret_id = "key"
  replication {
    auto {}
  }
}

resource "google_secret_manager_secret_version" "key" {
  secret                 = google_secret_manager_secret.key.id
  secret_data_wo         = var.value
  secret_data_wo_version = 1
}
"""
Written = Callable[[str], Terraform]


@pytest.fixture
def written(tmp_path: Path, tools: Tools) -> Written:
    """Makes a folder of one file ready to plan."""

    def write(text: str) -> Terraform:
        folder = tmp_path / "source" / "infra"
        folder.mkdir(parents=True)
        (folder / "main.tf").write_text(HEAD + text, encoding="utf-8")
        terraform = Terraform(folder, tmp_path / "scratch", tools)
        terraform.init()
        return terraform

    return write


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('resource "google_pubsub_tropic" "x" {}', "Invalid resource type"),
        ('resource "google_pubsub_topic" "x" {}', 'The argument "name" is required'),
        ('resource "google_pubsub_topic" "x" {\n  name = "x"\n  lables = {}\n}', "Unsupported argument"),
        ('resource "google_pubsub_topic" "x" {\n  name = ["x"]\n}', "Incorrect attribute value type"),
        ('resource "google_pubsub_topic" "x" {\n  name = "x"\n  ingestion {}\n}', "Unsupported block type"),
        (
            'resource "google_pubsub_topic" "x" {\n  name = "x"\n  effective_labels = {}\n}',
            "effective_labels: its value is computed by the provider",
        ),
        (
            'resource "google_firestore_database" "x" {\n  name = "x"\n  location_id = "nam5"\n  type = "NATIVE"\n}',
            "type: expected one of ['FIRESTORE_NATIVE', 'DATASTORE_MODE'], got NATIVE",
        ),
        (
            'resource "google_firestore_index" "x" {\n  collection = "x"\n  fields {\n    order = "UP"\n  }\n}',
            "order: expected one of ['ASCENDING', 'DESCENDING'], got UP",
        ),
    ],
)
def test_what_does_not_fit_the_published_schema_is_refused(written: Written, text: str, error: str) -> None:
    with pytest.raises(TerraformFailed) as refused:
        written(text).validate()
    assert error in " ".join(str(refused.value).replace("│", " ").split())


def test_what_the_cloud_decides_is_unknown_until_it_is_applied_and_then_stays(written: Written) -> None:
    terraform = written(TOPIC)
    (planned,) = terraform.plan({})["resource_changes"]
    assert planned["change"]["after_unknown"]["id"] is True
    assert planned["change"]["after"]["effective_labels"] == {"application": "a", "team": "b"}

    terraform.apply({})

    (topic,) = terraform.state()["values"]["root_module"]["resources"]
    assert topic["values"]["id"] == "projects/a-project/topics/orders"
    assert not terraform.has_changes({})
    terraform.destroy({})
    assert "values" not in terraform.state()


@pytest.mark.parametrize(
    ("before", "after", "actions"),
    [('team = "b"', 'team = "c"', ["update"]), ('= "orders"', '= "others"', ["delete", "create"])],
)
def test_a_new_name_is_another_resource_and_a_new_label_is_not(
    written: Written, before: str, after: str, actions: list[str]
) -> None:
    terraform = written(TOPIC)
    terraform.apply({})
    file = terraform.folder / "main.tf"
    file.write_text(file.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")

    (planned,) = terraform.plan({})["resource_changes"]

    assert planned["change"]["actions"] == actions


def test_a_write_only_value_is_in_no_plan_and_no_state(written: Written) -> None:
    terraform = written(SECRET)
    plan: dict[str, Any] = terraform.plan({})
    terraform.apply({})

    assert "planted" not in str(plan["resource_changes"])
    assert "planted" not in terraform.state_file()
    assert "projects/a-project/secrets/key/versions/1" in terraform.state_file()
    assert not terraform.has_changes({})


def test_a_secret_needs_a_value_in_each_plan_and_one_that_is_not_empty_when_it_is_made(written: Written) -> None:
    terraform = written(SECRET.replace('default   = "planted"', "default   = null"))

    with pytest.raises(TerraformFailed, match="one of `secret_data,secret_data_wo` must be specified"):
        terraform.plan({})
    with pytest.raises(TerraformFailed, match="400: google_secret_manager_secret_version: Field"):
        terraform.apply({"value": ""})
    terraform.apply({"value": "planted"})

    assert not terraform.has_changes({"value": ""})


def test_two_resources_of_one_name_are_refused(written: Written) -> None:
    terraform = written(TOPIC + TOPIC.replace('"orders" {', '"again" {'))

    with pytest.raises(TerraformFailed, match="409: google_pubsub_topic projects/a-project/topics/orders already"):
        terraform.apply({})


def test_a_resource_without_a_project_is_refused(written: Written) -> None:
    terraform = written(TOPIC)
    file = terraform.folder / "main.tf"
    file.write_text(file.read_text(encoding="utf-8").replace('  project        = "a-project"\n', ""), encoding="utf-8")

    with pytest.raises(TerraformFailed, match="project: required field is not set"):
        terraform.plan({})


def test_a_message_is_read_as_it_was_written() -> None:
    message = {1: 300, 2: True, 3: b"\0\xff", 4: "text", 5: {1: "inner"}, 6: b"x" * 70_000}

    assert decode(encode(message)) == message | {4: b"text", 5: encode({1: "inner"})}
