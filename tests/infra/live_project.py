"""Turns what Terraform applied into what Google's APIs would show of it, for a check of the live project.

Google makes the rest itself: states, the numbers of versions, the names that Terraform does not choose.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.harness.google_project.resources import Document, Resources
from tests.infra.rehearsal import Resource

Values = Mapping[str, Any]
Convert = Callable[[Values], tuple[str, Document]]
"""Returns the path of a resource below its API, and its document."""

NOT_OVERRIDDEN: Final[Document] = {"usesAncestorConfig": True}


def live_project(resources: list[Resource], project: str, number: str, address: str) -> Resources:
    """Return the project. Its control plane answers at `address`, whatever Terraform calls it."""
    made = Resources()
    made.put(f"cloudresourcemanager/v3/projects/{project}", {"name": f"projects/{number}"})
    made.put(f"serviceusage/v1/projects/{project}/services/serviceusage.googleapis.com", {"name": "serviceusage"})
    for resource in resources:
        if (convert := CONVERT.get(resource["type"])) is not None:
            path, document = convert(resource["values"])
            made.put(path, document)
            if resource["type"] == "google_cloudfunctions2_function":
                document["serviceConfig"]["environmentVariables"]["LAUNCHYARD_URL"] = address
                made.put(f"run/v2/{document['serviceConfig']['service']}", {})
    for resource in resources:
        if (target := GRANTED.get(resource["type"])) is not None:
            values = resource["values"]
            conditions = [one["expression"] for one in values.get("condition") or ()]
            made.grant(target(values), values["member"], values["role"], *conditions)
    return made


def _function(values: Values) -> tuple[str, Document]:
    (config,) = values["service_config"]
    secrets = config["secret_environment_variables"]
    document = {
        "name": values["id"],
        "state": "ACTIVE",
        "serviceConfig": {
            "service": values["id"].replace("/functions/", "/services/"),
            "serviceAccountEmail": config["service_account_email"],
            "environmentVariables": {**config["environment_variables"]},
            "secretEnvironmentVariables": [
                {name: one[name] for name in ("key", "secret", "version")} for one in secrets
            ],
            "maxInstanceRequestConcurrency": config["max_instance_request_concurrency"],
            "ingressSettings": config["ingress_settings"],
        },
    }
    return f"cloudfunctions/v2/{values['id']}", document


def _index(values: Values) -> tuple[str, Document]:
    parent = f"projects/{values['project']}/databases/{values['database']}/collectionGroups/{values['collection']}"
    fields = [_how(one) | {"fieldPath": one["field_path"]} for one in values["fields"]]
    name = f"{parent}/indexes/{values['name']}"
    document = {"name": name, "queryScope": values["query_scope"], "fields": fields, "state": "READY"}
    return f"firestore/v1/{name}", document


def _field(values: Values) -> tuple[str, Document]:
    name, config = values["id"], NOT_OVERRIDDEN
    if values.get("index_config"):
        indexes = values["index_config"][0]["indexes"]
        single = [
            {"queryScope": one["query_scope"], "fields": [_how(one) | {"fieldPath": values["field"]}]}
            for one in indexes
        ]
        config = {"indexes": single}
    ttl = {"ttlConfig": {"state": "ACTIVE"}} if values.get("ttl_config") else {}
    return f"firestore/v1/{name}", {"name": name, "indexConfig": config, **ttl}


def _how(index: Values) -> Document:
    given = {"order": index.get("order"), "arrayConfig": index.get("array_config")}
    return {name: value for name, value in given.items() if value}


def _subscription(values: Values) -> tuple[str, Document]:
    document = {"name": values["id"], "topic": values["topic"], "filter": values.get("filter") or ""}
    if values.get("expiration_policy"):
        ttl = values["expiration_policy"][0]["ttl"]
        document["expirationPolicy"] = {"ttl": ttl} if ttl else {}
    if values.get("dead_letter_policy"):
        document["deadLetterPolicy"] = {"deadLetterTopic": values["dead_letter_policy"][0]["dead_letter_topic"]}
    if values.get("retry_policy"):
        document["retryPolicy"] = {"minimumBackoff": values["retry_policy"][0]["minimum_backoff"]}
    return f"pubsub/v1/{values['id']}", document


def _job(values: Values) -> tuple[str, Document]:
    (target,) = values["http_target"]
    account = target["oidc_token"][0]["service_account_email"]
    document = {
        "name": values["id"],
        "state": "PAUSED" if values["paused"] else "ENABLED",
        "lastAttemptTime": "2026-11-29T22:00:00Z",
        "httpTarget": {
            "uri": target["uri"],
            "httpMethod": target["http_method"],
            "oidcToken": {"serviceAccountEmail": account},
        },
    }
    return f"cloudscheduler/v1/{values['id']}", document


def _bucket(values: Values) -> tuple[str, Document]:
    rules = [{"action": {"type": rule["action"][0]["type"]}} for rule in values.get("lifecycle_rule") or ()]
    document = {
        "name": values["name"],
        "iamConfiguration": {
            "uniformBucketLevelAccess": {"enabled": values["uniform_bucket_level_access"]},
            "publicAccessPrevention": values["public_access_prevention"],
        },
        "lifecycle": {"rule": rules},
    }
    return f"storage/storage/v1/b/{values['name']}", document


CONVERT: Final[Mapping[str, Convert]] = {
    "google_artifact_registry_repository": lambda values: (f"artifactregistry/v1/{values['id']}", {}),
    "google_cloud_scheduler_job": _job,
    "google_cloudfunctions2_function": _function,
    "google_firestore_database": lambda values: (
        f"firestore/v1/projects/{values['project']}/databases/{values['name']}",
        {"name": values["id"], "type": values["type"]},
    ),
    "google_firestore_field": _field,
    "google_firestore_index": _index,
    "google_project_service": lambda values: (
        f"serviceusage/v1/projects/{values['project']}/services/{values['service']}",
        {"name": f"projects/{values['project']}/services/{values['service']}"},
    ),
    "google_pubsub_subscription": _subscription,
    "google_pubsub_topic": lambda values: (f"pubsub/v1/{values['id']}", {"name": values["id"]}),
    "google_secret_manager_secret": lambda values: (
        f"secretmanager/v1/projects/{values['project']}/secrets/{values['secret_id']}",
        {"name": f"projects/{values['project']}/secrets/{values['secret_id']}"},
    ),
    "google_secret_manager_secret_version": lambda values: (f"secretmanager/v1/{values['id']}", {"state": "ENABLED"}),
    "google_service_account": lambda values: (f"iam/v1/{values['id']}", {"email": values["email"]}),
    "google_storage_bucket": _bucket,
}

GRANTED: Final[Mapping[str, Callable[[Values], str]]] = {
    "google_artifact_registry_repository_iam_member": lambda values: (
        f"artifactregistry/v1/projects/{values['project']}/locations/{values['location']}"
        f"/repositories/{values['repository']}"
    ),
    "google_cloud_run_v2_service_iam_member": lambda values: (
        f"run/v2/projects/{values['project']}/locations/{values['location']}/services/{values['name']}"
    ),
    "google_project_iam_member": lambda values: f"cloudresourcemanager/v3/projects/{values['project']}",
    "google_pubsub_subscription_iam_member": lambda values: (
        f"pubsub/v1/projects/{values['project']}/subscriptions/{values['subscription']}"
    ),
    "google_pubsub_topic_iam_member": lambda values: f"pubsub/v1/projects/{values['project']}/topics/{values['topic']}",
    "google_secret_manager_secret_iam_member": lambda values: (
        f"secretmanager/v1/projects/{values['project']}/secrets/{values['secret_id']}"
    ),
    "google_service_account_iam_member": lambda values: f"iam/v1/{values['service_account_id']}",
    "google_storage_bucket_iam_member": lambda values: f"storage/storage/v1/b/{values['bucket']}",
}
