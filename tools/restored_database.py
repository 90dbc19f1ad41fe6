"""Prints the import blocks with which Terraform takes over a restored Firestore database, with its indexes.

    gcloud firestore indexes composite list --database=DATABASE --format=json |
      python -m tools.restored_database PROJECT DATABASE > infra/terraform/restored.tf

A clone or a restored backup has the indexes of its source, under names of its own. Without these blocks, Terraform
would make each again, which Firestore refuses.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tools.guards import ROOT

LISTED: Final = ROOT / "infra" / "firestore.indexes.json"
OF_EVERY_INDEX: Final = "__name__"
"""The field that Firestore adds at the end of each index."""

Index = Mapping[str, Any]


def main() -> None:
    project, database = sys.argv[1:]
    listed = json.loads(LISTED.read_text(encoding="utf-8"))["indexes"]
    sys.stdout.write(blocks(project, database, json.load(sys.stdin), listed))


def blocks(project: str, database: str, found: Sequence[Index], listed: Sequence[Index]) -> str:
    """Return the blocks for the database and those of its indexes that ours are. Others stay as they are."""
    ours = {key(one["collectionGroup"], one) for one in listed}
    indexes = {key(collection_of(one), one): one["name"] for one in found}
    imported = {f'google_firestore_index.index["{name}"]': id_ for name, id_ in sorted(indexes.items()) if name in ours}
    database_id = f"projects/{project}/databases/{database}"
    every = {"google_firestore_database.database": database_id, **imported}
    return "".join(f'import {{\n  to = {to}\n  id = "{id_}"\n}}\n' for to, id_ in every.items())


def key(collection: str, index: Index) -> str:
    """Return the index's key in infra/terraform/firestore.tf."""
    fields = [field for field in index["fields"] if field["fieldPath"] != OF_EVERY_INDEX]
    named = (f"{field['fieldPath']}:{(field.get('order') or field['arrayConfig']).lower()}" for field in fields)
    return " ".join([collection, *named])


def collection_of(index: Index) -> str:
    """Return the collection from `projects/…/collectionGroups/<collection>/indexes/<id>`."""
    return Path(index["name"]).parts[-3]


if __name__ == "__main__":
    main()
