"""The doorbell's message, as a launcher reads it."""

import pytest

from shared.wire.bell import Bell, MalformedBell, from_attributes, to_attributes


def test_a_bell_is_read_as_it_was_written() -> None:
    bell = Bell("0f4d8f0a-5f0e-4c43-8a3e-6f1f6f6a2c11", "any/task")
    assert from_attributes(to_attributes(bell)) == bell


@pytest.mark.parametrize("order_id", ["", "no order", "../orders", "-", "x" * 129, "line\nbreak"])
def test_a_bell_with_an_impossible_order_id_is_malformed(order_id: str) -> None:
    """A launcher could not so much as ask for such an order: its intake would fail, and with it the daemon."""
    with pytest.raises(MalformedBell):
        from_attributes({"order_id": order_id, "lane": "any/task"})
