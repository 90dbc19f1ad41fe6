"""No request makes a 5xx: neither one that follows the OpenAPI document, nor one that breaks it, nor half a head.

`make fuzz` sends more of them, and prints the counts.
"""

import random
import sys
from pathlib import Path

import pytest

from functions.apis import EVERYTHING
from functions.http.routing import Route
from tests.functions.world import World
from tests.sampling import sample
from tests.security import fuzz
from tests.security.fuzz import Counts

EXAMPLES = pytest.mark.parametrize("examples", [5, pytest.param(30, marks=pytest.mark.slow)])


@EXAMPLES
@pytest.mark.parametrize("route", sample(EVERYTHING, first=1), ids=lambda route: f"{route.method} {route.path}")
def test_every_check_of_schemathesis_holds_for_every_api(world: World, route: Route, examples: int) -> None:
    counts = Counts()

    fuzz.send_documented(world, route, examples, counts)

    report(counts)
    assert counts.checks.keys() == fuzz.checks(route).keys()
    assert not [of for _, of in counts.statuses if of == "5xx"]


@EXAMPLES
@pytest.mark.parametrize("route", EVERYTHING, ids=lambda route: f"{route.method} {route.path}")
def test_malformed_requests_are_the_senders_mistake(world: World, route: Route, examples: int) -> None:
    counts = Counts()

    fuzz.send_malformed(world, route, examples, counts)

    report(counts)
    assert not [of for _, of in counts.statuses if of == "5xx"]


@pytest.mark.parametrize("number", [500, pytest.param(2000, marks=pytest.mark.slow)])
def test_malformed_heads_are_the_senders_mistake_and_the_server_goes_on(tmp_path: Path, number: int) -> None:
    counts = Counts()

    with fuzz.serving(tmp_path) as port:
        fuzz.send_heads(port, number, counts, random.Random(0))
        assert fuzz.healthy(port)

    report(counts)
    assert counts.statuses.total() == number
    assert not [of for _, of in counts.statuses if of == "5xx"]


def report(counts: Counts) -> None:
    sys.stdout.write("\n".join(counts.lines()) + "\n")
