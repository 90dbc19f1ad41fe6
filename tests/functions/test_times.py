"""Every time in a request is parsed as RFC 3339, and converted to UTC."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Final
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from functions.apis import EVERYTHING
from shared.wire.times import PATTERN
from tests.factories import NOW
from tests.functions import schemas
from tests.functions.world import World

ZONES: Final = st.integers(-(23 * 60 + 59), 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))
SOON: Final = st.datetimes(
    (NOW - timedelta(days=9)).replace(tzinfo=None), (NOW + timedelta(days=29)).replace(tzinfo=None)
)
NO_TIMES: Final = (
    st.integers(-(10**12), 10**12).map(str)
    | st.floats(allow_nan=False).map(str)
    | SOON.map(lambda time: time.isoformat())
    | SOON.map(lambda time: time.date().isoformat())
    | SOON.map(lambda time: time.strftime("%Y-%m-%dT%H:%MZ"))
    | st.text(max_size=30)
)


def place(world: World, not_before: object, key: str | None = None) -> TestResponse:
    body = {"order": {"kind": "task", "command": ["true"]}, "not_before": not_before}
    return world.post("/v1/orders", body, headers={"Idempotency-Key": key or str(uuid4())})


@settings(deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(text=NO_TIMES)
def test_a_time_that_is_not_rfc_3339_is_refused_before_anything_starts(world: World, text: str) -> None:
    response = place(world, text)

    assert response.status_code == 422, response.text
    assert [error["field"] for error in response.get_json()["errors"]] == ["not_before"]
    assert world.bells.asked == []


@pytest.mark.parametrize("number", [20261225, 1798761600, 1798761600.5, True])
def test_a_number_is_not_a_time(world: World, number: float) -> None:
    assert place(world, number).status_code == 422


@settings(deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(time=SOON, zone=ZONES, other=ZONES)
def test_one_instant_in_two_zones_is_the_same_time(
    world: World, time: datetime, zone: timezone, other: timezone
) -> None:
    instant, key = time.replace(microsecond=0, tzinfo=UTC), str(uuid4())

    first = place(world, instant.astimezone(zone).isoformat(), key)
    again = place(world, instant.astimezone(other).isoformat(), key)
    read = world.get(f"/v1/orders/{first.get_json()['id']}")

    assert (first.status_code, again.status_code) == (201, 201), again.text
    assert first.get_json()["available_at"] == max(instant, NOW).isoformat().replace("+00:00", "Z")
    assert first.get_json() == read.get_json()
    assert again.get_json()["available_at"] == first.get_json()["available_at"]


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_that_utc_does_not_have_is_refused_in_words(world: World, text: str) -> None:
    response = place(world, text)

    assert response.status_code == 422
    assert "UTC" in response.get_json()["errors"][0]["message"]


def test_every_route_reads_times_alike() -> None:
    taken = [schemas.within([schemas.body_of(route), schemas.query_of(route)]) for route in EVERYTHING]

    times = [part for parts in taken for part in parts if part.get("format") == "date-time"]

    assert times
    assert {time.get("pattern") for time in times} == {PATTERN}
