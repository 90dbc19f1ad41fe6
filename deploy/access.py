"""Who has which role on a resource, and how that differs from who should."""

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, Final

from deploy.rows import APPLY, Row, RowVerdict

PUBLIC: Final = frozenset({"allUsers", "allAuthenticatedUsers"})
AGENT: Final = "gcp-sa-"
"""Google's own service agents, to which Google grants what it needs."""


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """`condition` is an expression of IAM's; empty: the grant always holds."""

    member: str
    role: str
    condition: str = ""


Policy = frozenset[Grant]


def account_member(email: str) -> str:
    return f"serviceAccount:{email}"


def account_of(member: str) -> str:
    """Return a member as rows show it: a service account by its id alone."""
    return member.removeprefix("serviceAccount:").partition("@")[0]


def policy_of(document: Mapping[str, Any]) -> Policy:
    """Return the grants of an answer to getIamPolicy."""
    return frozenset(
        Grant(member, binding["role"], binding.get("condition", {}).get("expression", ""))
        for binding in document.get("bindings", [])
        for member in binding.get("members", [])
    )


@dataclass(frozen=True, slots=True)
class Resource:
    """`shown` names the resource in a row; `remove` is the start of gcloud's command that takes a role from it."""

    shown: str
    remove: str


def compare_grants(
    resource: Resource, policy: Policy, wanted: Set[Grant], is_ours: Callable[[str], bool], subject: str = "role"
) -> Iterator[Row]:
    """Yield a row for each grant that is wanted, and for each other one that one of our members, or everybody, has.

    Conditions are not compared: `wanted` has none.
    """
    held = {Grant(grant.member, grant.role) for grant in policy}
    for grant in sorted(wanted):
        name = _name(grant, resource)
        if grant in held:
            yield Row(subject, name)
        else:
            yield Row(subject, name, RowVerdict.MISSING, "it is not granted", APPLY)
    for grant in sorted(held - wanted):
        if grant.member in PUBLIC or is_ours(grant.member):
            take = f"{resource.remove} --member={grant.member} --role={grant.role}"
            yield Row(subject, _name(grant, resource), RowVerdict.EXCESS, "it is granted, and not needed", take)


def _name(grant: Grant, resource: Resource) -> str:
    return f"{grant.role.removeprefix('roles/')} for {account_of(grant.member)} on {resource.shown}"
