"""Compares who has which role with what the code uses: everybody has exactly the roles that they need.

What the roles of a function are to be follows from services.json, which is made from the code, by the tables here.
"""

from collections.abc import Mapping
from typing import Any, Final

from tests.infra.consistency import Deployed, difference

Grant = tuple[str, str, str]
"""A member, a role, and on what; a condition follows `if`."""

PROJECT: Final = "the project"
ROLE_OF_DATABASE: Final = "roles/datastore.user"
ROLES_OF_USE: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "bucket": (
        ("roles/storage.objectUser", "the outputs"),
        ("roles/iam.serviceAccountTokenCreator", "itself"),
    ),
    "bucket_credentials": (),
    "doorbell": (("roles/pubsub.publisher", "topic {name}-doorbell"),),
    "firestore": ((ROLE_OF_DATABASE, PROJECT),),
    "trust_authority": (),
}
"""The roles that a use needs, and on what. A worker's upload is signed as any other URL; quotes are sent by HTTPS."""
ROLES_ONLY_IN_GCS: Final = frozenset({"bucket"})
"""Other stores know no roles of Google's: a key allows it."""
TARGETS: Final = {
    "google_artifact_registry_repository_iam_member": ("repository", "repository"),
    "google_cloud_run_v2_service_iam_member": ("function", "name"),
    "google_pubsub_subscription_iam_member": ("subscription", "subscription"),
    "google_pubsub_topic_iam_member": ("topic", "topic"),
    "google_secret_manager_secret_iam_member": ("secret", "secret_id"),
    "google_service_account_iam_member": ("account", "service_account_id"),
    "google_storage_bucket_iam_member": ("bucket", "bucket"),
}
"""What a grant is on: its kind, and the attribute that names it. A grant of another type is on the project."""


def wrong_grants(deployed: Deployed) -> list[str]:
    """Everybody has exactly the roles that the code's uses, the build, the schedule and the pools need."""
    wholesale = [r["address"] for r in deployed.resources if r["type"].endswith(("_iam_binding", "_iam_policy"))]
    return [f"{address} takes roles from others" for address in wholesale] + difference(
        "grant", map(_in_words, granted(deployed)), map(_in_words, needed(deployed))
    )


def granted(deployed: Deployed) -> set[Grant]:
    """Return all grants of the deployment."""
    return {
        (_short(values["member"]), values["role"], _target(resource["type"], values) + _condition(values))
        for resource in deployed.resources
        if resource["type"].endswith("_iam_member")
        for values in [resource["values"]]
    }


def needed(deployed: Deployed) -> set[Grant]:
    """Return the grants that follow from the code's table, the build, the schedule and the pools."""
    name, topic = deployed.name, f"{deployed.name}-doorbell"
    sources = f"projects/_/buckets/gcf-v2-sources-{deployed.number}-"
    grants = {
        ("ly-builder", "roles/artifactregistry.writer", f"repository {name}-functions"),
        ("ly-builder", "roles/logging.logWriter", PROJECT),
        ("ly-builder", "roles/storage.objectViewer", f"bucket {deployed.project}-{name}-source"),
        (
            "ly-builder",
            "roles/storage.objectViewer",
            f'{PROJECT} if resource.name.startsWith("{sources}{deployed.region}/")',
        ),
        ("ly-scheduler", "roles/run.invoker", f"function {name}-sweep"),
        ("Pub/Sub", "roles/pubsub.publisher", f"topic {topic}-dead"),
    }
    for entry, service in deployed.services.items():
        account = f"ly-{entry}"
        if entry != "sweep":
            grants.add(("allUsers", "roles/run.invoker", f"function {name}-{entry}"))
        grants |= {
            (account, "roles/secretmanager.secretAccessor", f"secret {name}-{secret.lower().replace('_', '-')}")
            for secret in service["secrets"]
        }
        for use in service["uses"]:
            if use not in ROLES_ONLY_IN_GCS or deployed.kind == "gcs":
                grants |= {(account, role, _on(where, account, deployed)) for role, where in ROLES_OF_USE[use]}
    for pool, asked in deployed.listening.items():
        account, subscription = f"ly-pool-{pool}", f"subscription {name}-pool-{pool}"
        grants |= {(account, "roles/pubsub.subscriber", subscription)}
        grants |= {("Pub/Sub", "roles/pubsub.subscriber", subscription)}
        if subject := asked.get("subject"):
            grants.add((f"the subject {subject}", "roles/iam.workloadIdentityUser", f"account {account}"))
    return grants


def _on(where: str, account: str, deployed: Deployed) -> str:
    """Return on what a role of ROLES_OF_USE is, as `granted` has it."""
    if where == "itself":
        return f"account {account}"
    if where == "the outputs":
        return f"bucket {deployed.outputs}"
    if where == PROJECT:
        database = f"projects/{deployed.project}/databases/{deployed.name}"
        return f'{PROJECT} if resource.name == "{database}"'
    return where.format(name=deployed.name)


def _target(type_: str, values: Mapping[str, Any]) -> str:
    if type_ not in TARGETS:
        return PROJECT
    kind, attribute = TARGETS[type_]
    return f"{kind} {values[attribute].rsplit('/', 1)[-1].partition('@')[0]}"


def _condition(values: Mapping[str, Any]) -> str:
    return "".join(f" if {condition['expression']}" for condition in values["condition"])


def _short(member: str) -> str:
    if member.startswith("principal:"):
        return f"the subject {member.partition('/subject/')[2]}"
    kind, _, email = member.partition(":")
    account, _, domain = email.partition("@")
    return "Pub/Sub" if domain.startswith("gcp-sa-pubsub.") else account or kind


def _in_words(grant: Grant) -> str:
    member, role, target = grant
    return f"{member}: {role} on {target}"
