"""The service accounts, the roles that they have in the whole project, and who may sign as them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from deploy.access import Grant, Policy, Resource, account_member, account_of, compare_grants, policy_of
from deploy.data import Requirement
from deploy.deployment import DATASTORE_USER, OBJECT_VIEWER, TOKEN_CREATOR, WORKLOAD_IDENTITY_USER, Deployment
from deploy.google import Google
from deploy.rows import Query, Row, RowVerdict, Seen, Unseen, missing, see, see_each, wrong

SUBJECT: Final = "account"
ROLE: Final = "role"
REVIEWER: Final = "roles/iam.securityReviewer"
ACCOUNTS: Final = Query(SUBJECT, "the service accounts", "roles/iam.serviceAccountViewer")
PROJECT: Final = Query(ROLE, "the roles in the project", REVIEWER)
SIGNING: Final = Query(ROLE, "who may sign as the service accounts", REVIEWER)
KEYS: Final = Query(SUBJECT, "the keys of the service accounts", "roles/iam.serviceAccountViewer")


LIMITED: Final[Mapping[str, Callable[[Deployment], str]]] = {
    DATASTORE_USER: lambda deployment: f'databases/{deployment.database}"',
    OBJECT_VIEWER: lambda _: "buckets/gcf-v2-sources-",
}
"""The roles in the whole project that a condition limits, and what the condition names."""


@dataclass(frozen=True, slots=True)
class AccountsView:
    """`accounts` says of each e-mail address whether the account is disabled; `signing` is who may act as each.
    Only the functions' keys are counted: a pool may have one whose private part never left its host."""

    accounts: Seen[Mapping[str, bool]]
    project: Seen[Policy]
    signing: Mapping[str, Seen[Policy]]
    keys: Mapping[str, Seen[int]]


def read(google: Google, deployment: Deployment) -> AccountsView:
    project = deployment.target.project

    def accounts() -> Mapping[str, bool]:
        found = google.list("iam", f"/v1/projects/{project}/serviceAccounts", "accounts")
        return {one["email"]: one.get("disabled", False) for one in found}

    def project_policy() -> Policy:
        return policy_of(google.policy("cloudresourcemanager", f"/v3/projects/{project}"))

    def signing(email: str) -> Policy:
        return policy_of(google.policy("iam", f"/v1/projects/{project}/serviceAccounts/{email}"))

    def keys(email: str) -> int:
        path = f"/v1/projects/{project}/serviceAccounts/{email}/keys"
        return len(google.get("iam", path, keyTypes="USER_MANAGED").get("keys", []))

    found = see(ACCOUNTS, accounts)
    present = [] if isinstance(found, Unseen) else [email for email in deployment.accounts if email in found]
    functions = [email for email in present if email in {deployment.account(one) for one in deployment.services}]
    return AccountsView(
        found, see(PROJECT, project_policy), see_each(SIGNING, present, signing), see_each(KEYS, functions, keys)
    )


def compare(deployment: Deployment, view: AccountsView) -> Iterator[Row]:
    ours = frozenset(account_member(email) for email in deployment.accounts)
    if isinstance(view.accounts, Unseen):
        yield view.accounts.row
    else:
        yield from _accounts(deployment, view.accounts)
    if isinstance(view.project, Unseen):
        yield view.project.row
    else:
        yield from _project(deployment, view.project, ours)
    for email, policy in view.signing.items():
        yield from [policy.row] if isinstance(policy, Unseen) else _signing(deployment, email, policy, ours)
    for email, count in view.keys.items():
        if isinstance(count, Unseen):
            yield count.row
        elif count:
            to_do = f"gcloud iam service-accounts keys list --iam-account={email}, then delete them"
            yield Row(SUBJECT, f"keys of {email}", RowVerdict.EXCESS, f"{count} keys; functions need none", to_do)


def _accounts(deployment: Deployment, found: Mapping[str, bool]) -> Iterator[Row]:
    for email in deployment.accounts:
        if email not in found:
            yield missing(SUBJECT, email)
        elif found[email]:
            yield wrong(SUBJECT, email, "it is disabled", f"gcloud iam service-accounts enable {email}")
        else:
            yield Row(SUBJECT, email)


def _project(deployment: Deployment, policy: Policy, ours: frozenset[str]) -> Iterator[Row]:
    project = deployment.target.project
    wanted = deployment.users_of(Requirement.FIRESTORE) | deployment.builders()
    resource = Resource("the project", f"gcloud projects remove-iam-policy-binding {project}")
    yield from compare_grants(resource, policy, wanted, ours.__contains__)
    for grant in sorted(policy):
        if grant.role in LIMITED and grant.member in ours and LIMITED[grant.role](deployment) not in grant.condition:
            name = f"{grant.role.removeprefix('roles/')} for {account_of(grant.member)} on the project"
            found = f"it holds beyond {LIMITED[grant.role](deployment)}"
            yield Row(
                ROLE, f"{name}: condition", RowVerdict.EXCESS, found, "terraform apply, then remove the other grant"
            )


def _signing(deployment: Deployment, email: str, policy: Policy, ours: frozenset[str]) -> Iterator[Row]:
    """A function that signs URLs of Cloud Storage does so as itself. Hosts with an identity act as their pool."""
    if deployment.bucket is None:
        return  # it is not known whether a function has to sign
    signers = {deployment.account(service) for service in deployment.signers()}
    wanted = {Grant(account_member(email), TOKEN_CREATOR)} if email in signers else set()
    short = account_of(account_member(email))
    resource = Resource(short, f"gcloud iam service-accounts remove-iam-policy-binding {email}")
    yield from compare_grants(resource, policy, wanted, ours.__contains__)
    if email in {deployment.account(f"pool-{pool}") for pool in deployment.federated}:
        name = f"iam.workloadIdentityUser for a host on {short}"
        hosts = [grant for grant in policy if grant.role == WORKLOAD_IDENTITY_USER]
        yield Row(ROLE, name) if hosts else missing(ROLE, name, "no host may act as the pool's account")
