"""What the builder of the functions may read and write: the bucket of their source, the repository of their images."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from deploy.access import Grant, Policy, Resource, account_member, compare_grants, policy_of
from deploy.deployment import IMAGE_WRITER, OBJECT_VIEWER, Deployment
from deploy.google import POLICY_VERSION, Google, NotThere
from deploy.rows import Query, Row, Seen, Unseen, missing, see

BUCKET: Final = "bucket"
REPOSITORY: Final = "repository"
REVIEWER: Final = "roles/iam.securityReviewer"
SOURCE: Final = Query("role", "the roles on the source's bucket", REVIEWER)
IMAGES: Final = Query("role", "the roles on the images' repository", REVIEWER)


@dataclass(frozen=True, slots=True)
class BuildView:
    """None stands for what is not there."""

    source: Seen[Policy | None]
    repository: Seen[Policy | None]


def read(google: Google, deployment: Deployment) -> BuildView:
    target = deployment.target

    def source() -> Policy | None:
        path = f"/storage/v1/b/{deployment.source_bucket}/iam"
        try:
            return policy_of(google.get("storage", path, optionsRequestedPolicyVersion=POLICY_VERSION))
        except NotThere:
            return None

    def repository() -> Policy | None:
        path = f"/v1/projects/{target.project}/locations/{target.region}/repositories/{deployment.repository}"
        try:
            return policy_of(google.policy("artifactregistry", path))
        except NotThere:
            return None

    return BuildView(see(SOURCE, source), see(IMAGES, repository))


def compare(deployment: Deployment, view: BuildView) -> Iterator[Row]:
    builder = account_member(deployment.account("builder"))
    bucket, repository, region = deployment.source_bucket, deployment.repository, deployment.target.region
    at_bucket = Resource(f"bucket {bucket}", f"gcloud storage buckets remove-iam-policy-binding gs://{bucket}")
    remove = f"gcloud artifacts repositories remove-iam-policy-binding {repository} --location={region}"
    yield from _compare(deployment, BUCKET, bucket, view.source, at_bucket, Grant(builder, OBJECT_VIEWER))
    at_repository = Resource(f"repository {repository}", remove)
    yield from _compare(
        deployment, REPOSITORY, repository, view.repository, at_repository, Grant(builder, IMAGE_WRITER)
    )


def _compare(
    deployment: Deployment, subject: str, name: str, policy: Seen[Policy | None], resource: Resource, wanted: Grant
) -> Iterator[Row]:
    if isinstance(policy, Unseen):
        yield policy.row
    elif policy is None:
        yield missing(subject, name, "it is not there: no function can be built")
    else:
        ours = frozenset(account_member(email) for email in deployment.accounts)
        yield from compare_grants(resource, policy, {wanted}, ours.__contains__)
