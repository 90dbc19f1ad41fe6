"""A check of a project in which everything is there."""

from collections import Counter

import pytest

from deploy.report import exit_code
from deploy.rows import RowVerdict
from tests.deploy.conftest import Live
from tests.deploy.whole import INDEXES, services

pytestmark = pytest.mark.infra


@pytest.mark.parametrize("gateway", [False, True])
@pytest.mark.parametrize("gcs", [False, True])
def test_a_whole_project_lacks_nothing(live: Live, gateway: bool, gcs: bool) -> None:
    live.reset(gateway=gateway, gcs=gcs)

    rows = live.check()

    assert [row for row in rows if row.verdict is not RowVerdict.OK] == []
    assert exit_code(rows) == 0


def test_what_exists_shows_the_shape_and_the_pools_if_terraforms_outputs_are_not_given(live: Live) -> None:
    live.reset(gateway=True)

    rows = live.check(outputs=None)

    named = {row.name for row in rows if row.subject == "function"}
    assert named == {f"launchyard-{service}" for service in services(gateway=True)}
    assert "launchyard-pool-rack-7" in {row.name for row in rows if row.subject == "subscription"}


def test_every_index_and_every_override_has_a_row(live: Live) -> None:
    subjects = [row.subject for row in live.check()]

    assert subjects.count("index") == len(INDEXES["indexes"])
    assert subjects.count("field") == len(INDEXES["fieldOverrides"])


def test_lists_are_read_to_their_end(live: Live) -> None:
    live.behaviour.page_size = 1

    assert live.faults() == []


def test_an_empty_project_lacks_everything_and_each_thing_once(live: Live) -> None:
    apis = {path: one for path, one in live.resources.documents.items() if path.startswith("serviceusage/")}
    project = {path: one for path, one in live.resources.documents.items() if path.startswith("cloudresourcemanager/")}
    live.resources.documents = apis | project
    live.resources.policies = {path: [] for path in live.resources.documents}

    faults = live.faults()

    assert {row.verdict for row in faults} == {RowVerdict.MISSING}
    assert len(faults) == len({(row.subject, row.name) for row in faults})
    assert {"account", "function", "database", "topic", "subscription", "secret", "schedule"} <= {
        row.subject for row in faults
    }


def test_nothing_is_asked_for_twice(live: Live) -> None:
    live.behaviour.page_size = len(live.resources.documents)  # each list is one request

    live.check()

    assert [path for path, count in Counter(live.fake.asked).items() if count > 1] == []
