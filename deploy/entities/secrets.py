"""The secrets: whether they are there, the versions that functions use, and who may read them. It reads no value."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from deploy.access import Grant, Policy, Resource, account_member, compare_grants, policy_of
from deploy.deployment import SECRET_ACCESSOR, Deployment
from deploy.entities.functions import Functions
from deploy.google import Google, NotThere
from deploy.rows import Query, Row, Seen, Unseen, missing, see, see_each, wrong

SUBJECT: Final = "secret"
API: Final = "secretmanager"
VIEWER: Final = "roles/secretmanager.viewer"
SECRETS: Final = Query(SUBJECT, "the secrets", VIEWER)
VERSIONS: Final = Query(SUBJECT, "the secrets' versions", VIEWER)
POLICIES: Final = Query("role", "the roles on secrets", "roles/iam.securityReviewer")
ENABLED: Final = "ENABLED"

Version = tuple[str, str]
"""A secret's setting, and the number of a version."""


@dataclass(frozen=True, slots=True)
class SecretsView:
    """`readers` are the services that have each setting from a secret; the state of a version is None without one."""

    secrets: Seen[frozenset[str]]
    readers: Mapping[str, frozenset[str]]
    versions: Mapping[Version, Seen[str | None]]
    policies: Mapping[str, Seen[Policy]]


def read(google: Google, deployment: Deployment, functions: Seen[Functions]) -> SecretsView:
    parent = f"/v1/projects/{deployment.target.project}/secrets"

    def secrets() -> frozenset[str]:
        return frozenset(one["name"].rpartition("/")[2] for one in google.list(API, parent, "secrets"))

    def version(used: Version) -> str | None:
        setting, number = used
        try:
            path = f"{parent}/{deployment.secret(setting)}/versions/{number}"
            return str(google.get(API, path).get("state", ""))
        except NotThere:
            return None

    def policy(setting: str) -> Policy:
        return policy_of(google.policy(API, f"{parent}/{deployment.secret(setting)}"))

    readers, used = _used(deployment, {} if isinstance(functions, Unseen) else functions)
    found = see(SECRETS, secrets)
    there = [] if isinstance(found, Unseen) else sorted(name for name in readers if deployment.secret(name) in found)
    versions = [one for one in sorted(used) if one[0] in there]
    return SecretsView(found, readers, see_each(VERSIONS, versions, version), see_each(POLICIES, there, policy))


def compare(deployment: Deployment, view: SecretsView) -> Iterator[Row]:
    if isinstance(view.secrets, Unseen):
        yield view.secrets.row
        return
    for setting in sorted(view.readers):
        name = deployment.secret(setting)
        if name in view.secrets:
            yield Row(SUBJECT, name)
        else:
            yield missing(SUBJECT, name, to_do=f"name {setting} in secret_versions and in secrets, and terraform apply")
    for (setting, number), state in view.versions.items():
        yield _version(deployment.secret(setting), number, state)
    ours = frozenset(account_member(email) for email in deployment.accounts)
    for setting, policy in view.policies.items():
        if isinstance(policy, Unseen):
            yield policy.row
            continue
        name = deployment.secret(setting)
        wanted = {Grant(account_member(deployment.account(one)), SECRET_ACCESSOR) for one in view.readers[setting]}
        resource = Resource(f"secret {name}", f"gcloud secrets remove-iam-policy-binding {name}")
        yield from compare_grants(resource, policy, wanted, ours.__contains__)


def _version(name: str, number: str, state: Seen[str | None]) -> Row:
    if isinstance(state, Unseen):
        return state.row
    if state is None:
        return missing(SUBJECT, f"{name} version {number}", "a function uses it, and it is not there")
    if state != ENABLED:
        enable = f"gcloud secrets versions enable {number} --secret={name}"
        return wrong(SUBJECT, f"{name} version {number}", f"a function uses it, and it is {state}", enable)
    return Row(SUBJECT, f"{name} version {number}")


def _used(deployment: Deployment, functions: Functions) -> tuple[Mapping[str, frozenset[str]], frozenset[Version]]:
    """Return who reads each secret, and the versions in use. A secret that one service has, all its readers need."""
    given = [one for service in deployment.services if (one := functions.get(deployment.function(service))) is not None]
    needed = {setting for service in deployment.services for setting in deployment.secrets(service)}
    used = {(setting, variable.version) for function in given for setting, variable in function.secrets.items()}
    readers = {
        setting: frozenset(name for name, service in deployment.services.items() if setting in service.secrets)
        for setting in needed | {setting for setting, _ in used}
    }
    return readers, frozenset(used)
