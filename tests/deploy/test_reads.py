"""What cannot be seen has a row of its own, which is not a missing thing, and never ends the check."""

from collections.abc import Callable
from itertools import count
from typing import Final

import pytest

from deploy.check import check
from deploy.data import read_data
from deploy.deployment import DeploymentTarget
from deploy.google import BUDGET_SECONDS, Endpoints, Google, LoggedOut
from deploy.report import exit_code
from deploy.rows import RowVerdict
from tests.deploy.conftest import OUTPUTS, Live, Token
from tests.deploy.whole import DATABASE, FUNCTIONS, JOB, POLICY, PROJECT, REGION, SECRETS, TOPICS

pytestmark = pytest.mark.infra

APIS: Final = (
    *("artifactregistry/", "cloudfunctions/", "cloudresourcemanager/", "cloudscheduler/", "firestore/", "iam/"),
    *("pubsub/", "run/", "secretmanager/", "serviceusage/", "storage/"),
)


@pytest.mark.parametrize("api", APIS)
def test_a_read_that_is_denied_names_the_role_that_it_needs(live: Live, api: str) -> None:
    live.behaviour.denied.add(api)

    rows = live.check()

    faults = [row for row in rows if row.verdict is not RowVerdict.OK]
    assert faults
    assert {row.verdict for row in faults} == {RowVerdict.UNSEEN}
    assert all("roles/" in row.to_do and "denied" in row.found for row in faults)
    assert len(faults) == len({(row.subject, row.name) for row in faults})
    assert exit_code(rows) == 2


def test_an_api_that_is_not_enabled_is_to_be_enabled_in_this_project(live: Live) -> None:
    del live.resources.documents[f"serviceusage/v1/projects/{PROJECT}/services/pubsub.googleapis.com"]

    enable = f"gcloud services enable pubsub.googleapis.com --project={PROJECT}"
    assert {row.to_do for row in live.faults()} == {enable}


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_error_that_passes_shows_nothing(live: Live, status: int) -> None:
    for api in APIS:
        live.behaviour.failing[api] = (status, 1)

    assert live.faults() == []


@pytest.mark.parametrize("api", APIS)
def test_an_api_that_does_not_answer_is_unseen(live: Live, api: str) -> None:
    live.behaviour.silent.add(api)

    rows = live.check()

    faults = [row for row in rows if row.verdict is not RowVerdict.OK]
    assert {row.verdict for row in faults} == {RowVerdict.UNSEEN}
    assert all("did not answer" in row.found for row in faults)
    assert exit_code(rows) == 2


def test_an_error_that_stays_is_unseen(live: Live) -> None:
    live.behaviour.failing["pubsub/"] = (503, None)

    assert {(row.verdict, row.to_do) for row in live.faults()} == {(RowVerdict.UNSEEN, "run the check again")}


@pytest.mark.parametrize("path", [DATABASE, FUNCTIONS, JOB, POLICY, f"{SECRETS}/", f"{TOPICS}/launchyard-doorbell"])
def test_a_request_that_google_refuses_is_unseen(live: Live, path: str) -> None:
    live.behaviour.failing[path] = (400, None)

    assert {row.verdict for row in live.faults()} == {RowVerdict.UNSEEN}


def test_an_answer_that_is_not_as_documented_is_unseen(live: Live) -> None:
    del live.resources.documents[f"{FUNCTIONS}/launchyard-sweep"]["name"]

    faults = live.faults()

    assert {row.verdict for row in faults} == {RowVerdict.UNSEEN}
    assert "not as Google documents it" in faults[0].found


def test_a_check_ends_when_its_time_is_over(live: Live) -> None:
    google = Google(Token(), Endpoints(live.url), timer=hours())

    rows = check(google, DeploymentTarget(PROJECT, REGION), read_data(), OUTPUTS)

    assert {row.verdict for row in rows} == {RowVerdict.UNSEEN}
    assert live.fake.asked == []
    assert f"timed out after {BUDGET_SECONDS:.0f} s" in rows[0].found


def test_credentials_that_google_does_not_accept_end_the_check(live: Live) -> None:
    live.behaviour.failing["pubsub/"] = (401, None)

    with pytest.raises(LoggedOut, match="pubsub"):
        live.check()


def hours() -> Callable[[], float]:
    """Return a clock that is an hour later whenever it is looked at."""
    return map(float, count(0, 3600)).__next__
