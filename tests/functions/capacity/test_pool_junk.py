"""No input to the routes of pools causes a 5xx."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.domain.accounts import AccountType
from tests.functions.capacity.pools import RECONCILE, TARGETS
from tests.functions.world import ADMIN, World

NAMES = st.sampled_from(
    [
        *("datacenter", "node_size", "min_warm_count", "min_count", "months", "reason", "targets", "dispatch"),
        *("enabled", "require_verified", "attestation", "account_id"),
    ]
)
LIKELY = st.sampled_from(["gcp:a", "tiny", "", "*", "-", 1, 0, -1, True, None, "required", "\x00", "\ud800", 1e308])
JUNK = st.recursive(
    LIKELY | st.integers() | st.floats() | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=8),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=JUNK | st.dictionaries(NAMES, JUNK, max_size=10))
def test_no_junk_from_a_caller_causes_a_5xx(world: World, body: object) -> None:
    account, key = world.admit(AccountType.DEPLOYER)
    answers = [
        world.http.put(TARGETS, data=json.dumps(body), headers={"Authorization": f"Bearer {ADMIN}"}),
        world.post(RECONCILE, body, ADMIN),
        world.post(f"/api/v1/accounts/{account}/capacity/request", body, key),
    ]
    assert {response.status_code for response in answers} <= {200, 422}, [one.text for one in answers]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.dictionaries(NAMES, st.text(max_size=200), max_size=4))
def test_no_junk_in_a_query_causes_a_5xx(world: World, query: dict[str, str]) -> None:
    headers = {"Authorization": f"Bearer {ADMIN}"}
    response = world.http.delete(TARGETS, query_string=query, headers=headers)
    assert response.status_code in (404, 422), response.text
