"""What Terraform deploys is what the code needs: its services, settings, secrets, roles, indexes and routes."""

import pytest

from tests.infra.consistency import (
    Deployed,
    deployed_by,
    wrong_entry_points,
    wrong_indexes,
    wrong_routes,
    wrong_settings,
    wrong_threads,
)
from tests.infra.grants import wrong_grants
from tests.infra.rehearsal import ROOT, Rehearsal

pytestmark = [pytest.mark.infra, pytest.mark.terraform]


@pytest.fixture
def deployed(rehearsal: Rehearsal) -> Deployed:
    """What was applied."""
    return deployed_by(rehearsal)


def test_the_functions_are_the_services_of_the_code(deployed: Deployed) -> None:
    assert wrong_entry_points(deployed) == []


def test_a_function_has_the_settings_and_secrets_that_its_code_reads_and_no_other(deployed: Deployed) -> None:
    assert wrong_settings(deployed) == []


def test_a_function_has_a_thread_for_each_request_that_it_gets_at_once(deployed: Deployed) -> None:
    assert wrong_threads(deployed) == []


def test_everybody_has_the_roles_that_they_need_and_no_other(deployed: Deployed) -> None:
    assert wrong_grants(deployed) == []


def test_the_indexes_are_those_that_the_code_s_queries_need(deployed: Deployed) -> None:
    assert wrong_indexes(deployed, ROOT / "infra" / "firestore.indexes.json") == []


def test_the_gateway_sends_each_path_to_the_service_that_serves_it(deployed: Deployed) -> None:
    assert wrong_routes(deployed) == []


def test_only_the_scheduler_starts_the_sweep(deployed: Deployed) -> None:
    (sweep,) = [function for name, function in deployed.functions.items() if name == "sweep"]
    (job,) = deployed.of_type("google_cloud_scheduler_job")
    (target,) = job["http_target"]
    (token,) = target["oidc_token"]

    assert sweep["service_config"][0]["ingress_settings"] == "ALLOW_INTERNAL_ONLY"
    assert target["uri"] == f"{sweep['service_config'][0]['uri']}/v1/sweeps"
    assert token["audience"] == sweep["service_config"][0]["uri"]
    assert token["service_account_email"].startswith("ly-scheduler@")
    assert (
        sweep["service_config"][0]["environment_variables"]["LAUNCHYARD_SWEEP_CALLER"] == token["service_account_email"]
    )


def test_behind_a_gateway_a_function_takes_no_request_from_elsewhere(deployed: Deployed) -> None:
    ingress = {
        function["service_config"][0]["ingress_settings"]
        for name, function in deployed.functions.items()
        if name != "sweep"
    }

    assert ingress == {"ALLOW_INTERNAL_AND_GCLB" if deployed.gateway else "ALLOW_ALL"}


def test_each_pool_that_can_prove_itself_has_a_subscription_dead_letters_are_kept_and_none_expires(
    deployed: Deployed,
) -> None:
    subscriptions = {one["name"]: one for one in deployed.of_type("google_pubsub_subscription")}
    dead = f"{deployed.name}-doorbell-dead"

    assert subscriptions.keys() == {f"{deployed.name}-pool-{pool}" for pool in deployed.listening} | {dead}
    assert all(one["expiration_policy"] == [{"ttl": ""}] for one in subscriptions.values())
    assert subscriptions[dead]["topic"].endswith(f"/topics/{dead}")
    for name in subscriptions.keys() - {dead}:
        (policy,) = subscriptions[name]["dead_letter_policy"]
        assert policy["dead_letter_topic"].endswith(f"/topics/{dead}")
