"""A token bucket fills with time up to its size, and may be drawn below zero."""

from datetime import timedelta

from functions.engine.quotas import TokenBucket
from tests.functions.world import Clock


def test_it_is_full_at_first_and_fills_with_time() -> None:
    clock = Clock()
    bucket = TokenBucket(rate=0.5, most=2, clock=clock)

    assert [bucket.try_take() for _ in range(4)] == [0, 0, 2, 2]
    clock.now += timedelta(seconds=1)
    assert bucket.try_take() == bucket.wait() == 1
    clock.now += timedelta(seconds=1)
    assert [bucket.wait(), bucket.try_take(), bucket.try_take()] == [0, 0, 2]


def test_it_saves_no_more_than_its_size() -> None:
    clock = Clock()
    bucket = TokenBucket(rate=10, most=2, clock=clock)
    clock.now += timedelta(days=1)

    assert [bucket.try_take() == 0 for _ in range(3)] == [True, True, False]
    bucket.take(-100)
    assert [bucket.try_take() == 0 for _ in range(3)] == [True, True, False]


def test_it_may_be_drawn_below_zero_and_must_fill_up_then() -> None:
    clock = Clock()
    bucket = TokenBucket(rate=1, most=2, clock=clock)

    bucket.take(12)

    assert bucket.wait() == 11
    clock.now += timedelta(seconds=11)
    assert bucket.try_take() == 0


def test_a_clock_that_goes_back_takes_no_tokens_away() -> None:
    clock = Clock()
    bucket = TokenBucket(rate=1, most=2, clock=clock)
    clock.now -= timedelta(hours=1)

    assert bucket.try_take() == 0
