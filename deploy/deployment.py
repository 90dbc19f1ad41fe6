"""What a deployment must have, derived from what its services use: names, accounts, grants, settings, APIs."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Final

from deploy.access import Grant, account_member
from deploy.data import DeployedService, Requirement, TerraformData
from deploy.settings import NAME

SHORT_NAME: Final = "ly"
EVERYTHING: Final = "everything"
SWEEP: Final = "sweep"
CALLBACK_SECRET: Final = "LAUNCHYARD_CALLBACK_SECRET"  # noqa: S105  # the name of a setting
S3_SECRET: Final = "LAUNCHYARD_S3_SECRET_ACCESS_KEY"  # noqa: S105  # the name of a setting
THREADS: Final = "THREADS"
SWEEP_CALLER: Final = "LAUNCHYARD_SWEEP_CALLER"
S3: Final = "s3://"
GCS: Final = "gs://"

DATASTORE_USER: Final = "roles/datastore.user"
PUBLISHER: Final = "roles/pubsub.publisher"
SUBSCRIBER: Final = "roles/pubsub.subscriber"
OBJECT_USER: Final = "roles/storage.objectUser"
TOKEN_CREATOR: Final = "roles/iam.serviceAccountTokenCreator"  # noqa: S105  # a role
SECRET_ACCESSOR: Final = "roles/secretmanager.secretAccessor"  # noqa: S105  # a role
INVOKER: Final = "roles/run.invoker"
LOG_WRITER: Final = "roles/logging.logWriter"
OBJECT_VIEWER: Final = "roles/storage.objectViewer"
IMAGE_WRITER: Final = "roles/artifactregistry.writer"
WORKLOAD_IDENTITY_USER: Final = "roles/iam.workloadIdentityUser"

APIS: Final = frozenset(
    {
        "artifactregistry.googleapis.com",
        "cloudbuild.googleapis.com",
        "cloudfunctions.googleapis.com",
        "cloudresourcemanager.googleapis.com",
        "cloudscheduler.googleapis.com",
        "compute.googleapis.com",
        "firestore.googleapis.com",
        "iam.googleapis.com",
        "iamcredentials.googleapis.com",
        "logging.googleapis.com",
        "monitoring.googleapis.com",
        "pubsub.googleapis.com",
        "run.googleapis.com",
        "secretmanager.googleapis.com",
        "storage.googleapis.com",
        "sts.googleapis.com",
    }
)
"""Those of infra/terraform/apis.tf."""
EXPIRING: Final = frozenset(
    {
        ("enrolments", "expires_at"),
        ("idempotency_keys", "expires_at"),
        ("operator_session_ends", "until"),
        ("spent_proofs", "expires_at"),
    }
)
"""The collections whose documents Firestore deletes after the time in this field: infra/terraform/firestore.tf."""
PLATFORM_SETTINGS: Final = frozenset({"FUNCTION_TARGET", "FUNCTION_SIGNATURE_TYPE", "LOG_EXECUTION_ID", THREADS})
"""What Google or the function's own module sets, and no setting of ours declares."""
MADE_SETTINGS: Final = frozenset(
    {"GOOGLE_CLOUD_PROJECT", "LAUNCHYARD_BUCKET", "LAUNCHYARD_DATABASE", "LAUNCHYARD_TOPIC", "LAUNCHYARD_URL"}
)
"""Every function that reads one of these must have it: each has no default, or a default that fits no deployment."""
BUCKET_SETTINGS: Final = {S3: frozenset({"LAUNCHYARD_S3_ACCESS_KEY_ID"}), GCS: frozenset({"LAUNCHYARD_SIGN_AS"})}
"""What a bucket of each kind needs besides: an S3 one its secret, too."""


@dataclass(frozen=True, slots=True)
class DeploymentTarget:
    """Where the deployment is, and the first part of its resources' names."""

    project: str
    region: str
    name: str = NAME


@dataclass(frozen=True, slots=True)
class Deployment:
    """`gateway`: one function for each service, behind a load balancer; otherwise one serves everything.

    `bucket` is None if neither Terraform's outputs nor a function name it. `pools` are those whose launchers receive
    bells, and `federated` those of them whose launchers have an identity of another issuer.
    """

    target: DeploymentTarget
    data: TerraformData
    gateway: bool
    database: str
    bucket: str | None = None
    url: str | None = None
    pools: frozenset[str] = field(default_factory=frozenset)
    federated: frozenset[str] = field(default_factory=frozenset)

    @property
    def services(self) -> Mapping[str, DeployedService]:
        """The services that are deployed in this shape."""
        known = self.data.services
        wanted = (known.keys() - {EVERYTHING}) if self.gateway else {EVERYTHING, SWEEP}
        return {name: known[name] for name in sorted(wanted)}

    @property
    def public(self) -> Set[str]:
        """The services that everybody may call: API keys guard them."""
        return self.services.keys() - {SWEEP}

    @property
    def in_gcs(self) -> bool:
        return self.bucket is not None and self.bucket.startswith(GCS)

    def function(self, service: str) -> str:
        return f"{self.target.name}-{service}"

    def account(self, service: str) -> str:
        """Return the e-mail address of a service account: a service's, `pool-<pool>`, `scheduler` or `builder`."""
        first = (
            SHORT_NAME if self.target.name == NAME else self.target.name
        )  # an account's id has 30 characters at most
        return f"{first}-{service}@{self.target.project}.iam.gserviceaccount.com"

    @property
    def accounts(self) -> Iterator[str]:
        for name in (*self.services, "scheduler", "builder", *(f"pool-{pool}" for pool in sorted(self.pools))):
            yield self.account(name)

    @property
    def topic(self) -> str:
        return f"{self.target.name}-doorbell"

    @property
    def dead_topic(self) -> str:
        return f"{self.topic}-dead"

    def subscription(self, pool: str) -> str:
        return f"{self.target.name}-pool-{pool}"

    @property
    def source_bucket(self) -> str:
        return f"{self.target.project}-{self.target.name}-source"

    @property
    def repository(self) -> str:
        return f"{self.target.name}-functions"

    def secret(self, setting: str) -> str:
        return f"{self.target.name}-{setting.lower().replace('_', '-')}"

    def ingress(self, service: str) -> str:
        """Return the networks from which a function is called. The scheduler's requests count as internal."""
        if service == SWEEP:
            return "ALLOW_INTERNAL_ONLY"
        return "ALLOW_INTERNAL_AND_GCLB" if self.gateway else "ALLOW_ALL"

    def builders(self) -> frozenset[Grant]:
        """Return what the account that builds the functions may do in the whole project."""
        builder = account_member(self.account("builder"))
        return frozenset({Grant(builder, LOG_WRITER), Grant(builder, OBJECT_VIEWER)})

    def users_of(self, use: Requirement) -> frozenset[Grant]:
        """Return the grants on what this use needs: the database, the topic or the bucket."""
        role = {
            Requirement.FIRESTORE: DATASTORE_USER,
            Requirement.DOORBELL: PUBLISHER,
            Requirement.BUCKET: OBJECT_USER,
        }[use]
        using = [name for name, service in self.services.items() if use in service.uses]
        return frozenset(Grant(account_member(self.account(name)), role) for name in using)

    def signers(self) -> frozenset[str]:
        """Return the services whose accounts sign URLs of a bucket of Cloud Storage, as themselves."""
        return frozenset(
            name for name, service in self.services.items() if self.in_gcs and Requirement.BUCKET in service.uses
        )

    def settings(self, service: str) -> frozenset[str]:
        """Return the settings without which this service does not start, or not do what it should."""
        wanted = MADE_SETTINGS
        for kind, settings in BUCKET_SETTINGS.items():
            if self.bucket is not None and self.bucket.startswith(kind):
                wanted = wanted | settings
        if service == SWEEP:
            wanted = wanted | {SWEEP_CALLER}
        return (wanted & self.data.services[service].settings) | {THREADS}

    def secrets(self, service: str) -> frozenset[str]:
        """Return the secret settings without which this service does not start."""
        wanted = {CALLBACK_SECRET}
        if self.bucket is not None and self.bucket.startswith(S3):
            wanted.add(S3_SECRET)
        return frozenset(wanted & self.data.services[service].secrets)
