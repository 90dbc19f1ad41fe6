"""Firestore's own deletion finds the time in each document that infra/terraform/firestore.tf lets it delete."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from google.cloud.firestore import Client

from functions.adapters.firestore import FirestoreOrderStore
from functions.adapters.records import FirestoreRecords
from functions.domain.accounts import AccountType, Enrolment
from functions.domain.agents import SpentProof
from functions.engine.operator_sessions import SessionEnd
from functions.ports.orders import KEY_TTL
from tests.factories import NOW, a_claim, a_key, an_order

pytestmark = pytest.mark.emulator

FILE: Final = Path(__file__).parents[2] / "infra" / "terraform" / "firestore.tf"
EXPIRING: Final = {
    "enrolments": "expires_at",
    "idempotency_keys": "expires_at",
    "operator_session_ends": "until",
    "spent_proofs": "expires_at",
}
"""By collection, the field that says when Firestore may delete a document."""


def test_these_are_what_terraform_lets_firestore_delete() -> None:
    (block,) = re.findall(r"  expiring = \{\n(.*?)\n  \}", FILE.read_text(encoding="utf-8"), re.DOTALL)

    assert dict(re.findall(r'(\w+) += "(\w+)"', block)) == EXPIRING


def test_an_idempotency_key_says_when_it_may_be_deleted(firestore_client: Client) -> None:
    order = an_order()
    FirestoreOrderStore(firestore_client).create(order, a_key(order))

    assert _expiry(firestore_client, "idempotency_keys") == [order.created_at + KEY_TTL]


def test_the_ticket_of_a_claim_says_when_it_may_be_deleted(firestore_client: Client) -> None:
    store, order = FirestoreOrderStore(firestore_client), an_order()
    store.create(order, replace(a_key(order), lasting=True))

    store.claim(store.read(order.id), a_claim(), NOW + timedelta(seconds=1))

    assert NOW + timedelta(seconds=1) + KEY_TTL in _expiry(firestore_client, "idempotency_keys")


def test_a_lasting_key_has_no_time_at_which_it_may_be_deleted(firestore_client: Client) -> None:
    order = an_order()
    FirestoreOrderStore(firestore_client).create(order, replace(a_key(order), lasting=True))

    assert _expiry(firestore_client, "idempotency_keys") == [None]


def test_what_ends_at_a_time_says_when_it_may_be_deleted(firestore_client: Client) -> None:
    enrolments = FirestoreRecords(firestore_client, "enrolments", Enrolment)
    ends = FirestoreRecords(firestore_client, "operator_session_ends", SessionEnd)
    proofs = FirestoreRecords(firestore_client, "spent_proofs", SpentProof)
    enrolments.add("0" * 64, Enrolment("0" * 64, AccountType.LAUNCHER, NOW))
    ends.add("1" * 64, SessionEnd("1" * 64, NOW))
    proofs.add("a proof", SpentProof("a proof", "an agent", "a quote", NOW))

    for collection in ("enrolments", "operator_session_ends", "spent_proofs"):
        assert _expiry(firestore_client, collection) == [NOW]


def _expiry(client: Client, collection: str) -> list[Any]:
    return [(document.to_dict() or {})[EXPIRING[collection]] for document in client.collection(collection).stream()]
