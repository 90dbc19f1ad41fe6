"""Firestore's own deletion finds the time in each document that infra/terraform/firestore.tf lets it delete."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from google.cloud.firestore import Client

from functions.adapters.firestore import FirestoreOrderStore
from functions.adapters.records import FirestoreRecords
from functions.domain.accounts import AccountType, Enrolment
from functions.domain.agents import SpentProof
from functions.ports import KEYS_KEPT
from tests.factories import NOW, a_claim, a_key, an_order

pytestmark = pytest.mark.emulator


def test_an_idempotency_key_says_when_it_may_be_deleted(firestore_client: Client) -> None:
    order = an_order()
    FirestoreOrderStore(firestore_client).create(order, a_key(order))

    assert _expiry(firestore_client, "idempotency_keys") == [order.created_at + KEYS_KEPT]


def test_the_ticket_of_a_claim_says_when_it_may_be_deleted(firestore_client: Client) -> None:
    store, order = FirestoreOrderStore(firestore_client), an_order()
    store.create(order, replace(a_key(order), lasting=True))

    store.claim(store.look(order.id), a_claim(), NOW + timedelta(seconds=1))

    assert NOW + timedelta(seconds=1) + KEYS_KEPT in _expiry(firestore_client, "idempotency_keys")


def test_a_lasting_key_has_no_time_at_which_it_may_be_deleted(firestore_client: Client) -> None:
    order = an_order()
    FirestoreOrderStore(firestore_client).create(order, replace(a_key(order), lasting=True))

    assert _expiry(firestore_client, "idempotency_keys") == [None]


def test_an_enrolment_and_a_spent_proof_say_when_they_may_be_deleted(firestore_client: Client) -> None:
    enrolments = FirestoreRecords(firestore_client, "enrolments", Enrolment)
    proofs = FirestoreRecords(firestore_client, "spent_proofs", SpentProof)
    enrolments.add("0" * 64, Enrolment("0" * 64, AccountType.LAUNCHER, NOW))
    proofs.add("a proof", SpentProof("a proof", "an agent", "a quote", NOW))

    assert _expiry(firestore_client, "enrolments") == _expiry(firestore_client, "spent_proofs") == [NOW]


def _expiry(client: Client, collection: str) -> list[Any]:
    return [(document.to_dict() or {})["expires_at"] for document in client.collection(collection).stream()]
