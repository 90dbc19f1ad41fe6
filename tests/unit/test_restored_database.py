"""A restored database's indexes are taken over under the keys that Terraform has for ours."""

import json
from typing import Any, Final

from tools.restored_database import LISTED, blocks

DATABASE: Final = "projects/p/databases/launchyard-2"
LISTED_INDEXES: Final[list[dict[str, Any]]] = json.loads(LISTED.read_text(encoding="utf-8"))["indexes"]


def restored(number: int, index: dict[str, Any]) -> dict[str, Any]:
    """Return the index as Google lists it."""
    fields = [*index["fields"], {"fieldPath": "__name__", "order": "ASCENDING"}]
    name = f"{DATABASE}/collectionGroups/{index['collectionGroup']}/indexes/CIC{number}"
    return {"name": name, "queryScope": "COLLECTION", "fields": fields, "state": "READY"}


def test_the_database_and_each_of_our_indexes_is_taken_over_once() -> None:
    written = blocks("p", "launchyard-2", [restored(*one) for one in enumerate(LISTED_INDEXES)], LISTED_INDEXES)

    assert written.count("import {") == len(LISTED_INDEXES) + 1
    assert f'import {{\n  to = google_firestore_database.database\n  id = "{DATABASE}"\n}}\n' in written
    assert 'to = google_firestore_index.index["orders state:ascending available_at:ascending"]' in written
    assert 'index["orders state:ascending lanes:contains available_at:ascending expires_at:ascending"]' in written


def test_an_index_of_somebody_else_is_left_alone() -> None:
    foreign = {"collectionGroup": "orders", "fields": [{"fieldPath": "colour", "order": "ASCENDING"}]}

    assert "colour" not in blocks("p", "launchyard-2", [restored(0, foreign)], LISTED_INDEXES)
