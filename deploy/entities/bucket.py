"""The outputs' bucket, if it is one of Cloud Storage. One of another service cannot be seen with Google's credentials.

https://cloud.google.com/storage/docs/json_api/v1/buckets
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import Field

from deploy.access import Policy, Resource, account_member, compare_grants, policy_of
from deploy.data import Requirement
from deploy.deployment import GCS, Deployment
from deploy.google import POLICY_VERSION, Google, NotThere
from deploy.rows import APPLY, Query, Row, Seen, Unseen, missing, see, wrong
from deploy.shapes import CamelDocument

SUBJECT: Final = "bucket"
API: Final = "storage"
BUCKET_ROLE: Final = "roles/storage.bucketViewer"
POLICY_ROLE: Final = "roles/iam.securityReviewer"
POLICY: Final = Query("role", "the roles on the bucket", POLICY_ROLE)
ABORT: Final = "AbortIncompleteMultipartUpload"


class LifecycleAction(CamelDocument):
    type: str = ""


class LifecycleRule(CamelDocument):
    action: LifecycleAction = LifecycleAction()


class Lifecycle(CamelDocument):
    rule: tuple[LifecycleRule, ...] = ()


class Uniform(CamelDocument):
    enabled: bool = False


class IamConfiguration(CamelDocument):
    uniform_bucket_level_access: Uniform = Uniform()
    public_access_prevention: str = "inherited"


class Bucket(CamelDocument):
    lifecycle: Lifecycle = Lifecycle()
    iam_configuration: IamConfiguration = IamConfiguration()
    cors: Sequence[Any] = Field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class BucketView:
    """`bucket` is None if there is none of this name."""

    bucket: Seen[Bucket | None]
    policy: Seen[Policy]


def read(google: Google, deployment: Deployment) -> BucketView | None:
    """Return what the bucket is like; None if it is not one of Cloud Storage."""
    if deployment.bucket is None or not deployment.in_gcs:
        return None
    name = deployment.bucket.removeprefix(GCS)
    path = f"/storage/v1/b/{name}"

    def bucket() -> Bucket | None:
        try:
            return Bucket.model_validate(google.get(API, path))
        except NotThere:
            return None

    def policy() -> Policy:
        return policy_of(google.get(API, f"{path}/iam", optionsRequestedPolicyVersion=POLICY_VERSION))

    found = see(Query(SUBJECT, name, BUCKET_ROLE), bucket)
    return BucketView(found, frozenset() if found is None else see(POLICY, policy))


def compare(deployment: Deployment, view: BucketView | None) -> Iterator[Row]:
    if view is None:
        return
    name = (deployment.bucket or "").removeprefix(GCS)
    if isinstance(view.bucket, Unseen):
        yield view.bucket.row
    elif view.bucket is None:
        yield missing(SUBJECT, name)
        return
    else:
        faults = list(_faults(view.bucket))
        to_do = f"{APPLY}; if the bucket was not made by it, change it with gcloud storage buckets update gs://{name}"
        yield from (wrong(SUBJECT, name, fault, to_do) for fault in faults)
        if not faults:
            cors = "web pages of some origins may read it" if view.bucket.cors else "no web page may read it"
            yield Row(SUBJECT, name, found=cors)
    if isinstance(view.policy, Unseen):
        yield view.policy.row
        return
    ours = frozenset(account_member(email) for email in deployment.accounts)
    resource = Resource(f"bucket {name}", f"gcloud storage buckets remove-iam-policy-binding gs://{name}")
    yield from compare_grants(resource, view.policy, deployment.users_of(Requirement.BUCKET), ours.__contains__)


def _faults(bucket: Bucket) -> Iterator[str]:
    if not bucket.iam_configuration.uniform_bucket_level_access.enabled:
        yield "single objects may have access lists of their own"
    if bucket.iam_configuration.public_access_prevention != "enforced":
        yield "nothing prevents that it is opened to the public"
    if ABORT not in {rule.action.type for rule in bucket.lifecycle.rule}:
        yield "uploads that were never completed are kept, and billed"
