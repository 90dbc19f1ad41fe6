"""The life of a deployment in each shape: planned as its .tfvars says, applied, settled, destroyed, without secrets."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest

from launcher.installation.config import ExternalAccount, ServiceAccount, read
from tests.infra.rehearsal import FILES, PLANTED, PROD, ROOT, Rehearsal

pytestmark = [pytest.mark.infra, pytest.mark.terraform]

INDEXES: Final = json.loads((ROOT / "infra" / "firestore.indexes.json").read_text(encoding="utf-8"))
SERVICES: Final = json.loads((FILES / "services.json").read_text(encoding="utf-8"))["services"]
BEHIND: Final = sorted(SERVICES.keys() - {"everything"})
ALONE: Final = ["everything", "sweep"]
KEY: Final = "google_service_account_key"


def inventory(
    services: list[str], pools: dict[str, Any], *, secrets: dict[str, list[str]], prod: bool
) -> dict[str, int]:
    """Return how many resources of each type a deployment has; `secrets` are those of each service that exist."""
    subjects, keys = (sum(bool(pool.get(how)) for pool in pools.values()) for how in ("subject", "public_key"))
    listening = subjects + keys
    uses = {name: set(SERVICES[name]["uses"]) for name in services}
    routed = sum(bool(SERVICES[name]["paths"]) for name in services) if prod else 0
    with_bucket = 0 if prod else sum("bucket" in one for one in uses.values())
    counts = {
        # What runs.
        "google_cloudfunctions2_function": len(services),
        "google_cloud_run_v2_service_iam_member": len(services),
        "google_cloud_scheduler_job": 1,
        "google_service_account": len(services) + listening + 2,  # the scheduler, the builder
        "google_project_service": 16,
        # Their source, and the images that are built of it.
        "google_artifact_registry_repository": 1,
        "google_artifact_registry_repository_iam_member": 1,
        "google_storage_bucket": 1 if prod else 2,
        "google_storage_bucket_iam_member": 1 + with_bucket,
        "google_storage_bucket_object": 1,
        "google_project_iam_member": 2 + sum("firestore" in one for one in uses.values()),
        "google_service_account_iam_member": with_bucket + subjects,
        KEY: keys,
        # The store.
        "google_firestore_backup_schedule": 1 if prod else 0,
        "google_firestore_database": 1,
        "google_firestore_field": len(INDEXES["fieldOverrides"]) + 4,  # what expires
        "google_firestore_index": len(INDEXES["indexes"]),
        # The doorbell.
        "google_pubsub_subscription": listening + 1,  # the dead letters'
        "google_pubsub_subscription_iam_member": 2 * listening,
        "google_pubsub_topic": 2,
        "google_pubsub_topic_iam_member": 1 + sum("doorbell" in one for one in uses.values()),
        # Secrets.
        "google_logging_project_exclusion": 1,
        "google_secret_manager_secret": len({secret for names in secrets.values() for secret in names}),
        "google_secret_manager_secret_iam_member": sum(len(names) for names in secrets.values()),
        "google_secret_manager_secret_version": len({secret for names in secrets.values() for secret in names}),
    }
    of_prod = {
        # Outputs in S3.
        "aws_s3_bucket": 1,
        "aws_s3_bucket_cors_configuration": 1,
        "aws_s3_bucket_lifecycle_configuration": 1,
        # The gateway.
        "google_compute_backend_service": routed,
        "google_compute_global_address": 1,
        "google_compute_global_forwarding_rule": 2,
        "google_compute_managed_ssl_certificate": 1,
        "google_compute_region_network_endpoint_group": routed,
        "google_compute_security_policy": 1,
        "google_compute_ssl_policy": 1,
        "google_compute_target_http_proxy": 1,
        "google_compute_target_https_proxy": 1,
        "google_compute_url_map": 2,
        # Alerts.
        "google_logging_metric": 7,
        "google_monitoring_alert_policy": 9,
        "google_monitoring_dashboard": 1,
        "google_monitoring_notification_channel": 1,
        # The hosts' identities.
        "google_iam_workload_identity_pool": 1,
        "google_iam_workload_identity_pool_provider": 1,
    }
    return {type_: count for type_, count in (counts | (of_prod if prod else {})).items() if count}


def test_a_deployment_goes_through_its_life_without_a_failure(rehearsal: Rehearsal) -> None:
    assert not rehearsal.failed, rehearsal.failed


def test_a_plan_has_what_is_in_the_inventory_and_nothing_else(rehearsal: Rehearsal) -> None:
    prod = rehearsal.shape == PROD
    services = BEHIND if prod else ALONE
    given = rehearsal.plan["variables"]
    exist = given["secret_versions"]["value"].keys()
    secrets = {name: [one for one in SERVICES[name]["secrets"] if one in exist] for name in services}
    planned = rehearsal.plan["resource_changes"]

    assert {tuple(one["change"]["actions"]) for one in planned} == {("create",)}
    counts = Counter(one["type"] for one in planned)
    assert dict(counts) == inventory(services, given["pools"]["value"], secrets=secrets, prod=prod)


def test_a_second_plan_after_an_apply_has_no_changes(rehearsal: Rehearsal) -> None:
    assert rehearsal.settles


def test_nothing_is_left_after_destroy(rehearsal: Rehearsal) -> None:
    assert rehearsal.resources
    assert "values" not in rehearsal.rest


def test_no_value_of_a_secret_is_in_the_state_the_plan_or_an_output(rehearsal: Rehearsal) -> None:
    assert "launchyard-callback-secret" in rehearsal.state_file
    for kept in (rehearsal.state_file, json.dumps([rehearsal.plan, rehearsal.state, rehearsal.outputs])):
        assert PLANTED not in kept


def test_the_outputs_tell_a_launcher_all_that_it_needs_and_no_secret(rehearsal: Rehearsal) -> None:
    project = rehearsal.plan["variables"]["project_id"]["value"]
    for pool, config in rehearsal.outputs["launcher_config"].items():
        asked = rehearsal.plan["variables"]["pools"]["value"][pool]
        assert config.keys() == {"credentials", "settings"}
        assert config["settings"]["LAUNCHYARD_URL"] == rehearsal.outputs["url"]
        assert config["settings"]["LAUNCHYARD_DATACENTER"] == asked["datacenter"]
        subscription = f"projects/{project}/subscriptions/launchyard-pool-{pool}"
        match asked.get("subject"), asked.get("public_key"):
            case None, None:
                assert config["credentials"] is None
                assert "LAUNCHYARD_SUBSCRIPTION" not in config["settings"]
            case subject, _:
                assert config["settings"]["LAUNCHYARD_SUBSCRIPTION"] == subscription
                assert config["credentials"]["type"] == ("external_account" if subject else "service_account")


def test_an_output_is_what_a_host_installs_whether_it_polls_or_has_an_identity_or_a_key_pair(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    file = tmp_path / "launcher_config.json"
    file.write_text(json.dumps(rehearsal.outputs["launcher_config"]))
    keys = {key["values"]["name"].rpartition("/")[2] for key in rehearsal.resources if key["type"] == KEY}

    documents = [read(file, pool).credentials for pool in rehearsal.outputs["launcher_config"]]

    pairs = [document for document in documents if isinstance(document, ServiceAccount)]
    assert {document.private_key_id for document in pairs} == keys
    assert {type(document) for document in documents} == (
        {ExternalAccount, ServiceAccount} if rehearsal.shape == PROD else {type(None)}
    )
