"""The reader of subscriptions' filters keeps to the grammar that Pub/Sub documents."""

import pytest

from tests.infra.filters import MAX_BYTES, FilterInvalid, parse

pytestmark = pytest.mark.infra

A_TASK = {"order_id": "one", "lane": "any/task"}


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ('attributes.lane = "any/task"', True),
        ('attributes.lane="any/task"', True),
        ('attributes.lane="any/tas"', False),
        ('attributes.lane != "any/task"', False),
        ('attributes.colour="any/task"', False),
        ("attributes:lane", True),
        ("attributes:colour", False),
        ('attributes:"lane"', True),
        ('hasPrefix(attributes.lane, "any/")', True),
        ('hasPrefix(attributes.lane,"task")', False),
        ('hasPrefix(attributes.colour,"")', False),
        ("NOT attributes:lane", False),
        ("attributes:colour OR attributes:lane", True),
        ("attributes:colour OR attributes:size OR attributes:lane", True),
        ("attributes:colour AND attributes:lane", False),
        ("attributes:lane AND NOT attributes:colour AND attributes:order_id", True),
        ("(attributes:colour AND attributes:size) OR attributes:lane", True),
        ("attributes:colour AND (attributes:size OR attributes:lane)", False),
        ("NOT (attributes:colour OR attributes:size)", True),
        ('attributes.lane="any\\u002ftask"', True),
    ],
)
def test_a_filter_selects_by_attributes(text: str, selected: bool) -> None:
    assert parse(text)(A_TASK) is selected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lane",
        'lane="any/task"',
        "attributes",
        "attributes:",
        "attributes.lane",
        "attributes.lane=any",
        "attributes.lane='any/task'",
        'attributes.lane="any/task',
        'attributes.lane=="any/task"',
        'attributes.lane=~"any.*"',
        'attributes.lane="any/task" attributes:lane',
        "attributes:AND",
        "attributes:lane AND",
        "attributes:lane and attributes:order_id",
        "AND attributes:lane",
        "NOT NOT attributes:lane",
        "(attributes:lane",
        "attributes:lane)",
        "()",
        "attributes:a AND attributes:b OR attributes:c",
        "attributes:a OR attributes:b AND attributes:c",
        'hasPrefix(lane,"any/")',
        'hasPrefix(attributes:lane,"any/")',
        "hasPrefix(attributes.lane)",
        'hasSuffix(attributes.lane,"/task")',
        'hasprefix(attributes.lane,"any/")',
    ],
)
def test_what_pub_sub_would_refuse_is_refused(text: str) -> None:
    with pytest.raises(FilterInvalid):
        parse(text)


def test_a_filter_has_at_most_256_bytes() -> None:
    longest = 'attributes.lane="é' + "x" * (MAX_BYTES - 20) + '"'
    assert len(longest) < len(longest.encode()) == MAX_BYTES

    assert not parse(longest)(A_TASK)
    with pytest.raises(FilterInvalid, match="257 bytes"):
        parse(longest.replace("x", "xx", 1))
