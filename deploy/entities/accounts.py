"""The service accounts, the roles that they have in the whole project, and who may sign as them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from deploy.access import Grant, Policy, Resource, account_member, compare_grants, policy_of
from deploy.data import Use
from deploy.deployment import DATASTORE_USER, LOG_WRITER, TOKEN_CREATOR, Deployment
from deploy.google import Google
from deploy.rows import Look, Row, Seen, Unseen, Verdict, missing, see, see_each, wrong

SUBJECT: Final = "account"
ROLE: Final = "role"
REVIEWER: Final = "roles/iam.securityReviewer"
ACCOUNTS: Final = Look(SUBJECT, "the service accounts", "roles/iam.serviceAccountViewer")
PROJECT: Final = Look(ROLE, "the roles in the project", REVIEWER)
SIGNING: Final = Look(ROLE, "who may sign as the service accounts", REVIEWER)
KEYS: Final = Look(SUBJECT, "the keys of the service accounts", "roles/iam.serviceAccountViewer")


@dataclass(frozen=True, slots=True)
class View:
    """`accounts` says of each e-mail address whether the account is disabled; `signing` is about the functions'."""

    accounts: Seen[Mapping[str, bool]]
    project: Seen[Policy]
    signing: Mapping[str, Seen[Policy]]
    keys: Mapping[str, Seen[int]]


def look(google: Google, deployment: Deployment) -> View:
    project = deployment.target.project

    def accounts() -> Mapping[str, bool]:
        found = google.list("iam", f"/v1/projects/{project}/serviceAccounts", "accounts", ACCOUNTS)
        return {one["email"]: one.get("disabled", False) for one in found}

    def project_policy() -> Policy:
        return policy_of(google.policy("cloudresourcemanager", f"/v3/projects/{project}", PROJECT, post=True))

    def signing(email: str) -> Policy:
        return policy_of(google.policy("iam", f"/v1/projects/{project}/serviceAccounts/{email}", SIGNING, post=True))

    def keys(email: str) -> int:
        path = f"/v1/projects/{project}/serviceAccounts/{email}/keys"
        return len(google.get("iam", path, KEYS, keyTypes="USER_MANAGED").get("keys", []))

    found = see(accounts)
    present = [] if isinstance(found, Unseen) else [email for email in _functions(deployment) if email in found]
    return View(found, see(project_policy), see_each(present, signing), see_each(present, keys))


def compare(deployment: Deployment, view: View) -> Iterator[Row]:
    ours = frozenset(account_member(email) for email in deployment.accounts)
    if isinstance(view.accounts, Unseen):
        yield view.accounts.row
    else:
        yield from _accounts(deployment, view.accounts)
    if isinstance(view.project, Unseen):
        yield view.project.row
    else:
        yield from _project(deployment, view.project, ours, view.accounts)
    for email, policy in view.signing.items():
        yield from [policy.row] if isinstance(policy, Unseen) else _signing(deployment, email, policy, ours)
    for email, count in view.keys.items():
        if isinstance(count, Unseen):
            yield count.row
        elif count:
            to_do = f"gcloud iam service-accounts keys list --iam-account={email}, then delete them"
            yield Row(SUBJECT, f"keys of {email}", Verdict.EXCESS, f"{count} keys; functions need none", to_do)


def _functions(deployment: Deployment) -> list[str]:
    return [deployment.account(service) for service in deployment.services]


def _accounts(deployment: Deployment, found: Mapping[str, bool]) -> Iterator[Row]:
    for email in deployment.accounts:
        if email not in found:
            yield missing(SUBJECT, email)
        elif found[email]:
            yield wrong(SUBJECT, email, "it is disabled", f"gcloud iam service-accounts enable {email}")
        else:
            yield Row(SUBJECT, email)


def _project(
    deployment: Deployment, policy: Policy, ours: frozenset[str], accounts: Seen[Mapping[str, bool]]
) -> Iterator[Row]:
    """The roles in the whole project. The row of an account that is not there covers its roles."""
    project = deployment.target.project
    wanted = deployment.users_of(Use.FIRESTORE) | {Grant(account_member(deployment.account("builder")), LOG_WRITER)}
    if not isinstance(accounts, Unseen):
        wanted = frozenset(grant for grant in wanted if grant.member.partition(":")[2] in accounts)
    resource = Resource("the project", f"gcloud projects remove-iam-policy-binding {project}")
    yield from compare_grants(resource, policy, wanted, ours.__contains__)
    database = f"databases/{deployment.database}"
    for grant in sorted(policy):
        if grant.role == DATASTORE_USER and grant.member in ours and database not in grant.condition:
            name = f"datastore.user for {grant.member.partition(':')[2].partition('@')[0]} on the project"
            found = f"it is not limited to the database {deployment.database}"
            yield Row(ROLE, f"{name}: condition", Verdict.EXCESS, found, "terraform apply, then remove the other grant")


def _signing(deployment: Deployment, email: str, policy: Policy, ours: frozenset[str]) -> Iterator[Row]:
    """A function that signs URLs of Cloud Storage does so as itself, through the API of the account's credentials."""
    signers = {deployment.account(service) for service in deployment.signers()}
    wanted = {Grant(account_member(email), TOKEN_CREATOR)} if email in signers else set()
    resource = Resource(email.partition("@")[0], f"gcloud iam service-accounts remove-iam-policy-binding {email}")
    yield from compare_grants(resource, policy, wanted, ours.__contains__)
