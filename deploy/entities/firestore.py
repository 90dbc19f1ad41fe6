"""The database: whether it is there, its composite indexes, its fields' own indexes, and its TTL policies.

https://cloud.google.com/firestore/docs/reference/rest/v1/projects.databases.collectionGroups.indexes
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from deploy.data import FieldOverride, Index
from deploy.deployment import EXPIRING, Deployment
from deploy.google import Google, NotThere
from deploy.rows import Query, Row, Seen, Unseen, missing, see, wrong

DATABASE: Final = "database"
INDEX: Final = "index"
FIELD: Final = "field"
TTL: Final = "ttl"
VIEWER: Final = "roles/datastore.viewer"
INDEXES: Final = Query(INDEX, "the composite indexes", VIEWER)
FIELDS: Final = Query(FIELD, "the fields' own indexes", VIEWER)
NATIVE: Final = "FIRESTORE_NATIVE"
READY: Final = "READY"
ACTIVE: Final = "ACTIVE"
CREATING: Final = "CREATING"
BY_NAME: Final = "__name__"
"""Google adds it to the end of every composite index."""
OVERRIDDEN: Final = "indexConfig.usesAncestorConfig=false OR ttlConfig:*"

IndexKey = tuple[str, str, tuple[tuple[str, str], ...]]
"""Collection group, scope, and each field with its order or array configuration."""
SingleIndexes = frozenset[tuple[str, str]]
"""The scope and the order, or array configuration, of each index of a field."""


@dataclass(frozen=True, slots=True)
class Field:
    """`indexes` is None if the field has those of its collection group."""

    indexes: SingleIndexes | None
    ttl: str | None


@dataclass(frozen=True, slots=True)
class FirestoreView:
    """`kind` is None if there is no such database. `indexes` has the state of each index."""

    kind: Seen[str | None]
    indexes: Seen[Mapping[IndexKey, str]]
    fields: Seen[Mapping[tuple[str, str], Field]]


def read(google: Google, deployment: Deployment) -> FirestoreView:
    name = deployment.database
    path = f"/v1/projects/{deployment.target.project}/databases/{name}"

    def kind() -> str | None:
        try:
            return str(google.get("firestore", path).get("type", ""))
        except NotThere:
            return None

    def indexes() -> Mapping[IndexKey, str]:
        found = google.list("firestore", f"{path}/collectionGroups/-/indexes", "indexes")
        return {_index(one): one.get("state", "") for one in found}

    def fields() -> Mapping[tuple[str, str], Field]:
        found = google.list("firestore", f"{path}/collectionGroups/-/fields", "fields", filter=OVERRIDDEN)
        return {_field_name(one): _field(one) for one in found}

    there = see(Query(DATABASE, name, VIEWER), kind)
    return (
        FirestoreView(there, {}, {})
        if there is None
        else FirestoreView(there, see(INDEXES, indexes), see(FIELDS, fields))
    )


def compare(deployment: Deployment, view: FirestoreView) -> Iterator[Row]:
    if isinstance(view.kind, Unseen):
        yield view.kind.row
    elif view.kind is None:
        yield missing(DATABASE, deployment.database)
        return  # everything else is in it
    elif view.kind != NATIVE:
        yield wrong(DATABASE, deployment.database, "it is not in native mode", "name another database, and apply")
    else:
        yield Row(DATABASE, deployment.database)
    wanted = deployment.data.indexes
    if isinstance(view.indexes, Unseen):
        yield view.indexes.row
    else:
        for index in wanted.indexes:
            yield _compare_index(index, view.indexes.get(_key(index)))
    if isinstance(view.fields, Unseen):
        yield view.fields.row
    else:
        for override in wanted.field_overrides:
            yield _compare_field(override, view.fields.get((override.collection_group, override.field_path)))
        for group, path in sorted(EXPIRING):
            yield _compare_ttl(f"{group}.{path}", view.fields.get((group, path)))


def _compare_index(index: Index, state: str | None) -> Row:
    name = f"{index.collection_group}: {', '.join(f'{path} {how}' for path, how in _key(index)[2])}"
    if state is None:
        return missing(INDEX, name, "it is not there: the queries that need it fail")
    if state == CREATING:
        return wrong(INDEX, name, "it is being built", "wait some minutes, and run the check again")
    if state != READY:
        return wrong(INDEX, name, f"its state is {state or 'not known'}", "delete it, then terraform apply")
    return Row(INDEX, name)


def _compare_field(override: FieldOverride, field: Field | None) -> Row:
    name = f"{override.collection_group}.{override.field_path}"
    wanted = frozenset((one.query_scope, one.order or one.array_config or "") for one in override.indexes)
    if field is None or field.indexes is None:
        return missing(FIELD, name, "it has the automatic indexes")
    if field.indexes != wanted:
        return wrong(FIELD, name, "its indexes are not those of infra/firestore.indexes.json")
    return Row(FIELD, name)


def _compare_ttl(name: str, field: Field | None) -> Row:
    if field is None or field.ttl is None:
        return missing(TTL, name, "there is no TTL policy")
    if field.ttl == CREATING:
        return wrong(TTL, name, "the policy is being made", "wait some minutes, and run the check again")
    if field.ttl != ACTIVE:
        return wrong(TTL, name, f"the policy's state is {field.ttl or 'not known'}")
    return Row(TTL, name)


def _key(index: Index) -> IndexKey:
    fields = [(one.field_path, one.order or one.array_config or "") for one in index.fields]
    return index.collection_group, index.query_scope, _without_name(fields)


def _index(document: Mapping[str, Any]) -> IndexKey:
    """Return the key of an index as Google reports it: `…/collectionGroups/GROUP/indexes/ID`."""
    fields = [(one["fieldPath"], one.get("order") or one.get("arrayConfig") or "") for one in document["fields"]]
    return document["name"].split("/")[5], document.get("queryScope", ""), _without_name(fields)


def _without_name(fields: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(fields[:-1] if fields and fields[-1][0] == BY_NAME else fields)


def _field_name(document: Mapping[str, Any]) -> tuple[str, str]:
    """Return group and path of `…/collectionGroups/GROUP/fields/PATH`."""
    segments = document["name"].split("/", 7)
    return segments[5], segments[7]


def _field(document: Mapping[str, Any]) -> Field:
    config, ttl = document.get("indexConfig", {}), document.get("ttlConfig")
    single = frozenset(
        (one.get("queryScope", ""), one["fields"][0].get("order") or one["fields"][0].get("arrayConfig") or "")
        for one in config.get("indexes", [])
    )
    state = None if ttl is None else str(ttl.get("state", ""))
    return Field(None if config.get("usesAncestorConfig") else single, state)
