"""A role, a caller or a setting too many has a row, which says how to remove it."""

from typing import Final

import pytest

from deploy.rows import RowVerdict
from tests.deploy.conftest import OUTPUTS, Live
from tests.deploy.whole import (
    ACCOUNTS,
    FUNCTIONS,
    POLICY,
    POOL,
    REPOSITORY,
    RUN,
    SECRETS,
    SOURCE,
    SUBSCRIPTIONS,
    TOPICS,
    email,
    member,
)
from tests.deploy.whole import OUTPUTS as BUCKET

pytestmark = pytest.mark.infra

CALLBACK: Final = f"{SECRETS}/launchyard-launchyard-callback-secret"
RESOURCES: Final = (
    BUCKET,
    CALLBACK,
    POLICY,
    REPOSITORY,
    SOURCE,
    f"{SUBSCRIPTIONS}/launchyard-pool-{POOL}",
    f"{TOPICS}/launchyard-doorbell",
    f"{TOPICS}/launchyard-doorbell-dead",
)


@pytest.mark.parametrize("account", ["everything", "sweep", "scheduler", "builder", f"pool-{POOL}"])
def test_a_role_of_ours_in_the_whole_project_that_nothing_needs_has_a_row(live: Live, account: str) -> None:
    live.resources.grant(POLICY, member(account), "roles/editor")

    (fault,) = live.faults()

    assert (fault.verdict, fault.name) == (RowVerdict.EXCESS, f"editor for ly-{account} on the project")
    assert fault.to_do.startswith("gcloud projects remove-iam-policy-binding")
    assert email(account) in fault.to_do


@pytest.mark.parametrize("path", RESOURCES)
def test_a_role_of_a_launchers_account_beyond_its_subscription_has_a_row(live: Live, path: str) -> None:
    live.resources.grant(path, member(f"pool-{POOL}"), "roles/owner")

    (fault,) = live.faults()

    assert (fault.verdict, fault.subject) == (RowVerdict.EXCESS, "role")
    assert "remove-iam-policy-binding" in fault.to_do


@pytest.mark.parametrize("path", RESOURCES)
@pytest.mark.parametrize("everybody", ["allUsers", "allAuthenticatedUsers"])
def test_what_everybody_may_use_has_a_row(live: Live, path: str, everybody: str) -> None:
    live.resources.grant(path, everybody, "roles/viewer")

    (fault,) = live.faults()

    assert (fault.verdict, everybody in fault.name) == (RowVerdict.EXCESS, True)


@pytest.mark.parametrize("caller", ["allUsers", "allAuthenticatedUsers", "user:someone@example.com"])
def test_whoever_else_may_call_the_sweep_has_a_row(live: Live, caller: str) -> None:
    live.resources.grant(f"{RUN}/launchyard-sweep", caller, "roles/run.invoker")

    (fault,) = live.faults()

    assert (fault.verdict, fault.subject) == (RowVerdict.EXCESS, "invoker")


def test_a_secret_that_another_service_may_read_has_a_row(live: Live) -> None:
    live.resources.grant(CALLBACK, member("builder"), "roles/secretmanager.secretAccessor")

    (fault,) = live.faults()

    assert fault.name.startswith("secretmanager.secretAccessor for ly-builder on secret ")


def test_a_function_that_may_write_every_database_of_the_project_has_a_row(live: Live) -> None:
    live.resources.grant(POLICY, member("sweep"), "roles/datastore.user")

    (fault,) = live.faults()

    assert (fault.verdict, fault.name) == (RowVerdict.EXCESS, "datastore.user for ly-sweep on the project: condition")


def test_a_key_of_a_functions_account_has_a_row(live: Live) -> None:
    live.resources.put(f"{ACCOUNTS}/{email('sweep')}/keys/0123", {"name": "0123", "keyType": "USER_MANAGED"})

    (fault,) = live.faults()

    assert (fault.verdict, fault.subject) == (RowVerdict.EXCESS, "account")


def test_a_setting_that_the_function_does_not_read_has_a_row(live: Live) -> None:
    variables = live.resources.documents[f"{FUNCTIONS}/launchyard-sweep"]["serviceConfig"]["environmentVariables"]
    variables["LAUNCHYARD_LEESE_SECONDS"] = "60"

    (fault,) = live.faults()

    assert (fault.verdict, fault.name) == (RowVerdict.EXCESS, "LAUNCHYARD_LEESE_SECONDS of launchyard-sweep")


def test_a_function_of_another_shape_that_was_left_has_a_row(live: Live) -> None:
    left = {**live.resources.documents[f"{FUNCTIONS}/launchyard-sweep"]}
    live.resources.put(f"{FUNCTIONS}/launchyard-claim", {**left, "name": left["name"].replace("sweep", "claim")})

    (fault,) = [fault for fault in live.faults(OUTPUTS) if fault.subject == "function"]

    assert (fault.verdict, fault.name) == (RowVerdict.EXCESS, "launchyard-claim")


def test_what_others_have_in_the_project_has_no_row(live: Live) -> None:
    live.resources.grant(POLICY, "serviceAccount:another-teams@launchyard-test.iam.gserviceaccount.com", "roles/editor")
    live.resources.grant(POLICY, "user:someone@example.com", "roles/viewer")

    assert live.faults() == []
