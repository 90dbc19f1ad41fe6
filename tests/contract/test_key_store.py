"""The contract of every key store."""

from dataclasses import replace

from functions.domain.access import ApiKey, Role, digest
from functions.ports.keys import KeyStore

KEY = ApiKey(digest("ly_made-up"), Role.LAUNCHER, "acme")


def test_a_stored_key_is_found_by_its_digest(api_keys: KeyStore) -> None:
    api_keys.add(KEY)

    assert api_keys.find(KEY.digest) == KEY


def test_an_unknown_key_is_not_found(api_keys: KeyStore) -> None:
    api_keys.add(KEY)

    assert api_keys.find(digest("ly_another")) is None


def test_the_same_key_twice_is_one(api_keys: KeyStore) -> None:
    api_keys.add(KEY)
    api_keys.add(KEY)

    assert api_keys.find(KEY.digest) == KEY


def test_a_key_that_was_withdrawn_is_not_found(api_keys: KeyStore) -> None:
    api_keys.add(KEY)
    api_keys.remove(KEY.digest)
    api_keys.remove(KEY.digest)

    assert api_keys.find(KEY.digest) is None


def test_a_key_that_was_used_is_found_so(api_keys: KeyStore) -> None:
    api_keys.add(replace(KEY, unused=True))
    api_keys.mark_used(KEY.digest)
    api_keys.mark_used(KEY.digest)

    assert api_keys.find(KEY.digest) == KEY


def test_the_use_of_a_key_that_was_removed_meanwhile_does_not_bring_it_back(api_keys: KeyStore) -> None:
    api_keys.add(replace(KEY, unused=True))
    api_keys.remove(KEY.digest)
    api_keys.mark_used(KEY.digest)

    assert api_keys.find(KEY.digest) is None
