"""A project's resources and policies, as data: documents by their path, below the name of their API."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Document = dict[str, Any]

ITEMS: Final[Mapping[str, str]] = {"serviceAccounts": "accounts"}
"""The field with the resources in a list's answer, if it is not called like the list."""
COLLECTIONS: Final = frozenset(
    {"fields", "functions", "indexes", "jobs", "secrets", "serviceAccounts", "services", "subscriptions", "topics"}
)
ANY: Final = "-"
"""Stands for each parent in the path of a list."""


@dataclass
class Resources:
    """`documents` and `policies` are by path, such as `pubsub/v1/projects/p/topics/t`; a policy is its bindings."""

    documents: dict[str, Document] = field(default_factory=dict)
    policies: dict[str, list[Document]] = field(default_factory=dict)

    def put(self, path: str, document: Document) -> None:
        """Add a resource, without a policy."""
        self.documents[path] = document
        self.policies.setdefault(path, [])

    def grant(self, path: str, member: str, role: str, condition: str | None = None) -> None:
        """Add a member to the binding of this role and condition, which is made if there is none."""
        bindings = self.policies.setdefault(path, [])
        for binding in bindings:
            if binding["role"] == role and binding.get("condition", {}).get("expression") == condition:
                binding["members"].append(member)
                return
        limited = {} if condition is None else {"condition": {"title": "limited", "expression": condition}}
        bindings.append({"role": role, "members": [member], **limited})

    def grants(self) -> Iterator[tuple[str, str, str]]:
        """Yield the path, the member and the role of each grant."""
        for path, bindings in self.policies.items():
            for binding in bindings:
                for member in binding["members"]:
                    yield path, member, binding["role"]

    def revoke(self, path: str, member: str, role: str) -> None:
        """Take a member out of each binding of a role, whatever its condition."""
        for binding in self.policies[path]:
            if binding["role"] == role and member in binding["members"]:
                binding["members"].remove(member)

    def children(self, path: str) -> list[Document]:
        """Return the resources of a list."""
        wanted = path.split("/")
        return [document for key, document in self.documents.items() if _is_child(key.split("/"), wanted)]


def items_of(path: str) -> str | None:
    """Return the field that holds the resources in the answer to a list; None if the path is not of a list."""
    name = path.rpartition("/")[2]
    return ITEMS.get(name, name) if name in COLLECTIONS else None


def _is_child(key: list[str], parent: list[str]) -> bool:
    if len(key) != len(parent) + 1:
        return False
    return all(wanted in (part, ANY) for part, wanted in zip(key[:-1], parent, strict=True))
