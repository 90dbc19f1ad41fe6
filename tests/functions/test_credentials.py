"""The worker's token."""

from base64 import urlsafe_b64decode

from functions.engine.credentials import CallbackTokens

TOKENS = CallbackTokens("a secret of at least thirty-two characters")


def test_a_token_is_the_same_every_time_and_opens_its_order_at_its_epoch() -> None:
    token = TOKENS.issue("an-order", 3)

    assert token == TOKENS.issue("an-order", 3)
    assert TOKENS.verify("an-order", 3, token)
    assert len(urlsafe_b64decode(token + "=")) == 32


def test_a_token_opens_nothing_but_its_order_at_its_epoch() -> None:
    token = TOKENS.issue("an-order", 3)

    assert not TOKENS.verify("an-order", 4, token)
    assert not TOKENS.verify("another", 3, token)
    assert not TOKENS.verify("an-order", 3, token[:-1])
    assert not TOKENS.verify("an-order", 3, "")
    assert not CallbackTokens("another secret of thirty-two characters!").verify("an-order", 3, token)
