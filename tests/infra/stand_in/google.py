"""The rules of the google provider, from its documentation."""

from typing import Any, Final

from tests.infra.stand_in.rules import Known, Rules

_PROJECT: Final = "projects/{project}"
_REGION: Final = f"{_PROJECT}/regions/{{region}}"
_GLOBAL: Final = f"{_PROJECT}/global"


def _planned(type_: str, known: Known, settings: Known) -> Known:
    """All labels, and the name of a service account, follow from the configuration."""
    values: dict[str, Any] = {}
    own, general = known.get("labels") or {}, settings.get("default_labels") or {}
    if "effective_labels" in known and isinstance(own, dict) and isinstance(general, dict):
        values["effective_labels"] = values["terraform_labels"] = general | own
    account, project = known.get("account_id"), known.get("project")
    if type_ == "google_service_account" and isinstance(account, str) and isinstance(project, str):
        values["email"] = f"{account}@{project}.iam.gserviceaccount.com"
        values["member"] = f"serviceAccount:{values['email']}"
        values["name"] = f"{_PROJECT}/serviceAccounts/{{email}}".format(project=project, email=values["email"])
    return values


GOOGLE: Final = Rules(
    ids={
        "google_artifact_registry_repository": f"{_PROJECT}/locations/{{location}}/repositories/{{repository_id}}",
        "google_cloud_scheduler_job": f"{_PROJECT}/locations/{{region}}/jobs/{{name}}",
        "google_cloudfunctions2_function": f"{_PROJECT}/locations/{{location}}/functions/{{name}}",
        "google_compute_backend_service": f"{_GLOBAL}/backendServices/{{name}}",
        "google_compute_global_address": f"{_GLOBAL}/addresses/{{name}}",
        "google_compute_global_forwarding_rule": f"{_GLOBAL}/forwardingRules/{{name}}",
        "google_compute_managed_ssl_certificate": f"{_GLOBAL}/sslCertificates/{{name}}",
        "google_compute_region_network_endpoint_group": f"{_REGION}/networkEndpointGroups/{{name}}",
        "google_compute_security_policy": f"{_GLOBAL}/securityPolicies/{{name}}",
        "google_compute_ssl_policy": f"{_GLOBAL}/sslPolicies/{{name}}",
        "google_compute_target_http_proxy": f"{_GLOBAL}/targetHttpProxies/{{name}}",
        "google_compute_target_https_proxy": f"{_GLOBAL}/targetHttpsProxies/{{name}}",
        "google_compute_url_map": f"{_GLOBAL}/urlMaps/{{name}}",
        "google_firestore_backup_schedule": f"{_PROJECT}/databases/{{database}}/backupSchedules/{{hash}}",
        "google_firestore_database": f"{_PROJECT}/databases/{{name}}",
        "google_firestore_field": f"{_PROJECT}/databases/{{database}}/collectionGroups/{{collection}}/fields/{{field}}",
        "google_iam_workload_identity_pool": (
            f"{_PROJECT}/locations/global/workloadIdentityPools/{{workload_identity_pool_id}}"
        ),
        "google_iam_workload_identity_pool_provider": (
            f"{_PROJECT}/locations/global/workloadIdentityPools/{{workload_identity_pool_id}}"
            "/providers/{workload_identity_pool_provider_id}"
        ),
        "google_logging_metric": "{name}",
        "google_project_iam_custom_role": f"{_PROJECT}/roles/{{role_id}}",
        "google_project_service": "{project}/{service}",
        "google_pubsub_subscription": f"{_PROJECT}/subscriptions/{{name}}",
        "google_pubsub_topic": f"{_PROJECT}/topics/{{name}}",
        "google_secret_manager_secret": f"{_PROJECT}/secrets/{{secret_id}}",
        "google_service_account": f"{_PROJECT}/serviceAccounts/{{email}}",
        "google_storage_bucket": "{name}",
        "google_storage_bucket_object": "{bucket}-{name}",
    },
    immutable=frozenset(
        {
            "account_id",
            "app_engine_integration_mode",
            "bucket",
            "collection",
            "database",
            "field",
            "fields",
            "location",
            "location_id",
            "member",
            "name",
            "project",
            "public_key_data",
            "region",
            "repository_id",
            "role",
            "role_id",
            "secret",
            "secret_id",
            "service",
            "service_account_id",
            "subscription",
            "topic",
            "type",
            "workload_identity_pool_id",
            "workload_identity_pool_provider_id",
            "zone",
        }
    ),
    immutable_of={
        "google_pubsub_subscription": frozenset({"filter", "enable_message_ordering"}),
        "google_secret_manager_secret_version": frozenset({"secret_data", "secret_data_wo_version"}),
    },
    one_of={"google_secret_manager_secret_version": ("secret_data", "secret_data_wo")},
    inherited=("project", "region", "zone"),
    needed=("project",),
    planned=_planned,
    invented={
        "email": "{account_id}@{project}.iam.gserviceaccount.com",
        "google_cloudfunctions2_function.url": "https://{location}-{project}.cloudfunctions.net/{name}",
        "google_compute_global_address.address": "203.0.113.10",
        "google_iam_workload_identity_pool.name": "{id}",
        "google_iam_workload_identity_pool_provider.name": "{id}",
        "google_secret_manager_secret.name": "{id}",
        "google_secret_manager_secret_version.id": "{secret}/versions/{secret_data_wo_version}",
        "google_secret_manager_secret_version.name": "{secret}/versions/{secret_data_wo_version}",
        "google_secret_manager_secret_version.version": "{secret_data_wo_version}",
        "service": "{project}/locations/{location}/services/{name}",
        "self_link": "https://www.googleapis.com/{id}",
        "unique_id": "1{number}",
        "uri": "https://{name}-{hash}-uc.a.run.app",
        "url": "gs://{name}",
    },
)
