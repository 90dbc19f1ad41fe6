"""A project in which everything is there, as Terraform's files make it, for tests to take something away from.

It is written down here once more, and not made from what `deploy` expects: a test compares two sources.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.harness.google_project.resources import Resources

PROJECT: Final = "launchyard-test"
NUMBER: Final = "123456789012"
REGION: Final = "us-central1"
POOL: Final = "rack-7"
INFRA: Final = Path(__file__).parents[2] / "infra"
SERVICES: Final = json.loads((INFRA / "terraform" / "services.json").read_text(encoding="utf-8"))["services"]
INDEXES: Final = json.loads((INFRA / "firestore.indexes.json").read_text(encoding="utf-8"))
APIS: Final = (
    *("artifactregistry", "cloudbuild", "cloudfunctions", "cloudresourcemanager", "cloudscheduler", "compute"),
    *("firestore", "iam", "iamcredentials", "logging", "monitoring", "pubsub", "run", "secretmanager", "serviceusage"),
    *("storage", "sts"),
)
HIDDEN: Final = "a-value-that-no-check-may-show"
PARENT: Final = f"projects/{PROJECT}"
LOCATION: Final = f"{PARENT}/locations/{REGION}"
RUN: Final = f"run/v2/{LOCATION}/services"
FUNCTIONS: Final = f"cloudfunctions/v2/{LOCATION}/functions"
DATABASE: Final = f"firestore/v1/{PARENT}/databases/launchyard"
TOPICS: Final = f"pubsub/v1/{PARENT}/topics"
SUBSCRIPTIONS: Final = f"pubsub/v1/{PARENT}/subscriptions"
SECRETS: Final = f"secretmanager/v1/{PARENT}/secrets"
ACCOUNTS: Final = f"iam/v1/{PARENT}/serviceAccounts"
SERVICE_APIS: Final = f"serviceusage/v1/{PARENT}/services"
POLICY: Final = f"cloudresourcemanager/v3/{PARENT}"
JOB: Final = f"cloudscheduler/v1/{LOCATION}/jobs/launchyard-sweep"
OUTPUTS: Final = "storage/storage/v1/b/launchyard-outputs"
SOURCE: Final = f"storage/storage/v1/b/{PROJECT}-launchyard-source"
REPOSITORY: Final = f"artifactregistry/v1/{LOCATION}/repositories/launchyard-functions"
AGENT: Final = f"serviceAccount:service-{NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com"
EXPIRING: Final = {
    "enrolments": "expires_at",
    "idempotency_keys": "expires_at",
    "operator_session_ends": "until",
    "spent_proofs": "expires_at",
}


def email(account: str) -> str:
    return f"ly-{account}@{PROJECT}.iam.gserviceaccount.com"


def member(account: str) -> str:
    return f"serviceAccount:{email(account)}"


def services(gateway: bool) -> Sequence[str]:
    return sorted(SERVICES.keys() - {"everything"}) if gateway else ["everything", "sweep"]


def whole(url: str, gateway: bool = False, gcs: bool = True) -> Resources:
    """Return a deployed project whose functions name `url` as their address."""
    made = Resources()
    made.put(POLICY, {"name": f"projects/{NUMBER}", "projectId": PROJECT, "state": "ACTIVE"})
    for api in APIS:
        name = f"projects/{NUMBER}/services/{api}.googleapis.com"
        made.put(f"{SERVICE_APIS}/{api}.googleapis.com", {"name": name, "state": "ENABLED"})
    for account in (*services(gateway), "scheduler", "builder", f"pool-{POOL}"):
        made.put(f"{ACCOUNTS}/{email(account)}", {"email": email(account), "displayName": account})
    _put_build(made)
    _put_database(made)
    _put_doorbell(made)
    for service in services(gateway):
        _put_function(made, service, url, gateway, gcs)
    made.put(
        JOB,
        {
            "name": JOB.partition("/v1/")[2],
            "state": "ENABLED",
            "schedule": "* * * * *",
            "lastAttemptTime": "2026-11-29T22:00:00Z",
            "status": {},
            "httpTarget": {
                "uri": "https://launchyard-sweep-abc-uc.a.run.app/v1/sweeps",
                "httpMethod": "POST",
                "oidcToken": {"serviceAccountEmail": email("scheduler"), "audience": "https://example.com"},
            },
        },
    )
    if gcs:
        _put_bucket(made, gateway)
    return made


def _put_build(made: Resources) -> None:
    made.grant(POLICY, member("builder"), "roles/logging.logWriter")
    sources = f'resource.name.startsWith("projects/_/buckets/gcf-v2-sources-{NUMBER}-{REGION}/")'
    made.grant(POLICY, member("builder"), "roles/storage.objectViewer", sources)
    made.grant(POLICY, "user:owner@example.com", "roles/owner")
    made.put(SOURCE, {"name": f"{PROJECT}-launchyard-source"})
    made.grant(SOURCE, member("builder"), "roles/storage.objectViewer")
    made.grant(SOURCE, f"projectOwner:{PROJECT}", "roles/storage.legacyBucketOwner")
    made.put(REPOSITORY, {"name": REPOSITORY.partition("/v1/")[2], "format": "DOCKER"})
    made.grant(REPOSITORY, member("builder"), "roles/artifactregistry.writer")


def _put_database(made: Resources) -> None:
    name = DATABASE.partition("/v1/")[2]
    made.put(DATABASE, {"name": name, "type": "FIRESTORE_NATIVE", "locationId": "nam5"})
    for number, index in enumerate(INDEXES["indexes"]):
        path = f"collectionGroups/{index['collectionGroup']}/indexes/CICAgO{number}"
        by_name = {"fieldPath": "__name__", "order": index["fields"][-1].get("order", "ASCENDING")}
        document = {"name": f"{name}/{path}", "queryScope": index["queryScope"], "state": "READY"}
        made.put(f"{DATABASE}/{path}", {**document, "fields": [*index["fields"], by_name]})
    for field in INDEXES["fieldOverrides"]:
        path = f"collectionGroups/{field['collectionGroup']}/fields/{field['fieldPath']}"
        single = [_single(field["fieldPath"], index) for index in field["indexes"]]
        made.put(f"{DATABASE}/{path}", {"name": f"{name}/{path}", "indexConfig": {"indexes": single}})
    path = "collectionGroups/__default__/fields/*"
    made.put(f"{DATABASE}/{path}", {"name": f"{name}/{path}", "indexConfig": {"indexes": []}})
    for group, field in EXPIRING.items():
        path = f"collectionGroups/{group}/fields/{field}"
        inherited = {"usesAncestorConfig": True, "ancestorField": f"{name}/collectionGroups/{group}/fields/*"}
        document = {"name": f"{name}/{path}", "indexConfig": inherited, "ttlConfig": {"state": "ACTIVE"}}
        made.put(f"{DATABASE}/{path}", document)


def _single(path: str, index: dict[str, Any]) -> dict[str, Any]:
    how = {key: index[key] for key in ("order", "arrayConfig") if key in index}
    return {"queryScope": index["queryScope"], "fields": [{"fieldPath": path, **how}], "state": "READY"}


def _put_doorbell(made: Resources) -> None:
    topics = TOPICS.partition("/v1/")[2]
    for topic in ("launchyard-doorbell", "launchyard-doorbell-dead", "another-teams"):
        made.put(f"{TOPICS}/{topic}", {"name": f"{topics}/{topic}"})
    made.grant(f"{TOPICS}/launchyard-doorbell-dead", AGENT, "roles/pubsub.publisher")
    name = f"{SUBSCRIPTIONS}/launchyard-pool-{POOL}"
    made.put(
        name,
        {
            "name": name.partition("/v1/")[2],
            "topic": f"{topics}/launchyard-doorbell",
            "filter": 'attributes.lane="any/task"',
            "expirationPolicy": {},
            "retryPolicy": {"minimumBackoff": "5s", "maximumBackoff": "60s"},
            "deadLetterPolicy": {"deadLetterTopic": f"{topics}/launchyard-doorbell-dead", "maxDeliveryAttempts": 100},
            "state": "ACTIVE",
        },
    )
    made.grant(name, AGENT, "roles/pubsub.subscriber")
    made.grant(name, member(f"pool-{POOL}"), "roles/pubsub.subscriber")
    hosts = f"principal://iam.googleapis.com/projects/{NUMBER}/locations/global/workloadIdentityPools/launchyard-hosts"
    account = f"{ACCOUNTS}/{email(f'pool-{POOL}')}"
    made.grant(account, f"{hosts}/subject/rack-7-host-1", "roles/iam.workloadIdentityUser")
    dead = f"{SUBSCRIPTIONS}/launchyard-doorbell-dead"
    made.put(
        dead,
        {
            "name": dead.partition("/v1/")[2],
            "topic": f"{topics}/launchyard-doorbell-dead",
            "expirationPolicy": {},
        },
    )


def _put_function(made: Resources, service: str, url: str, gateway: bool, gcs: bool) -> None:
    table, name = SERVICES[service], f"launchyard-{service}"
    settings = {
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "LAUNCHYARD_BACKEND": "google",
        "LAUNCHYARD_BUCKET": "gs://launchyard-outputs" if gcs else "s3://launchyard-outputs",
        "LAUNCHYARD_DATABASE": "launchyard",
        "LAUNCHYARD_LEASE_SECONDS": "60",
        "LAUNCHYARD_SWEEP_CALLER": email("scheduler"),
        "LAUNCHYARD_TOPIC": "launchyard-doorbell",
        "LAUNCHYARD_URL": url,
        **({"LAUNCHYARD_SIGN_AS": email(service)} if gcs else {"LAUNCHYARD_S3_ACCESS_KEY_ID": HIDDEN}),
    }
    kept = [
        "LAUNCHYARD_CALLBACK_SECRET",
        "LAUNCHYARD_ADMIN_PASSWORD",
        *([] if gcs else ["LAUNCHYARD_S3_SECRET_ACCESS_KEY"]),
    ]
    secrets = [setting for setting in kept if setting in table["secrets"]]
    read = {setting: value for setting, value in settings.items() if setting in table["settings"]}
    ingress = "ALLOW_INTERNAL_AND_GCLB" if gateway else "ALLOW_ALL"
    made.put(
        f"{FUNCTIONS}/{name}",
        {
            "name": f"{LOCATION}/functions/{name}",
            "state": "ACTIVE",
            "environment": "GEN_2",
            "serviceConfig": {
                "service": f"{LOCATION}/services/{name}",
                "serviceAccountEmail": email(service),
                "environmentVariables": {**read, "THREADS": "80", "LOG_EXECUTION_ID": "true"},
                "secretEnvironmentVariables": [_secret_variable(setting) for setting in secrets],
                "maxInstanceRequestConcurrency": 80,
                "ingressSettings": "ALLOW_INTERNAL_ONLY" if service == "sweep" else ingress,
                "uri": f"https://{name}-abc-uc.a.run.app",
            },
        },
    )
    made.put(f"{RUN}/{name}", {"name": f"{LOCATION}/services/{name}"})
    made.grant(f"{RUN}/{name}", member("scheduler") if service == "sweep" else "allUsers", "roles/run.invoker")
    for setting in secrets:
        secret = f"{SECRETS}/{_secret(setting)}"
        if secret not in made.documents:
            made.put(secret, {"name": f"projects/{NUMBER}/secrets/{_secret(setting)}"})
            made.put(f"{secret}/versions/1", {"name": f"{secret}/versions/1", "state": "ENABLED"})
        made.grant(secret, member(service), "roles/secretmanager.secretAccessor")
    if "firestore" in table["uses"]:
        database = f'resource.name == "{DATABASE.partition("/v1/")[2]}"'
        made.grant(POLICY, member(service), "roles/datastore.user", database)
    if "doorbell" in table["uses"]:
        made.grant(f"{TOPICS}/launchyard-doorbell", member(service), "roles/pubsub.publisher")
    if gcs and "bucket" in table["uses"]:
        account = f"{ACCOUNTS}/{email(service)}"
        made.grant(account, member(service), "roles/iam.serviceAccountTokenCreator")


def _secret(setting: str) -> str:
    return f"launchyard-{setting.lower().replace('_', '-')}"


def _secret_variable(setting: str) -> dict[str, str]:
    return {"key": setting, "projectId": NUMBER, "secret": _secret(setting), "version": "1"}


def _put_bucket(made: Resources, gateway: bool) -> None:
    made.put(
        OUTPUTS,
        {
            "name": "launchyard-outputs",
            "iamConfiguration": {
                "uniformBucketLevelAccess": {"enabled": True},
                "publicAccessPrevention": "enforced",
            },
            "lifecycle": {"rule": [{"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 8}}]},
        },
    )
    for service in services(gateway):
        if "bucket" in SERVICES[service]["uses"]:
            made.grant(OUTPUTS, member(service), "roles/storage.objectUser")
