"""The benchmark of costs multiplies what repeats, and never bills less than nothing."""

from collections import Counter

import httpx
import pytest

from bench.costs import AN_HOUR, HOURS, whole
from bench.one_of_each import KINDS, Life
from bench.operations import Unit, metered
from bench.prices import FREE_A_DAY, PRICES, cost


def test_each_unit_has_a_price_and_a_free_part_and_each_kind_a_length() -> None:
    assert set(PRICES) == set(FREE_A_DAY) == set(Unit)
    assert set(HOURS) == set(KINDS)


def test_what_repeats_is_multiplied_by_its_rate_and_the_time_that_an_order_runs() -> None:
    life = Life(Counter({Unit.WRITE: 5}), {"renewals": Counter({Unit.READ: 2, Unit.WRITE: 1})})

    assert whole("capacity", life) == {Unit.WRITE: 5 + 24 * AN_HOUR["renewals"], Unit.READ: 48 * AN_HOUR["renewals"]}


def test_a_month_costs_what_is_done_in_its_days_less_what_is_free() -> None:
    assert cost(Counter({Unit.WRITE: 100_000})) == pytest.approx(30.4 * 0.09)
    assert cost(Counter({Unit.WRITE: 100_000}), free=True) == pytest.approx(30.4 * 0.09 * 0.8)
    assert cost(Counter({Unit.WRITE: 1, Unit.READ: 1}), free=True) == 0


def test_requests_to_the_bucket_are_counted_by_their_class_and_others_are_not() -> None:
    answering = httpx.MockTransport(lambda _: httpx.Response(200))
    with metered("https://bucket.test") as meter, httpx.Client(transport=answering) as http:

        def use() -> None:
            http.put("https://bucket.test/outputs/1", content=b"x")
            http.get("https://bucket.test/outputs/1")
            http.get("https://bucket.test/outputs/1")
            http.get("https://elsewhere.test/")

        assert +meter.during(use) == {Unit.CLASS_A: 1, Unit.CLASS_B: 2}
