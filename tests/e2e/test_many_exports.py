"""100 exports that are asked for at once, through the local Fly: one machine and one output each, at Fly's pace.

The single export of another account does not wait for them.
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from emulators.settings import BackendChoice, ProviderChoice
from functions.adapters.s3 import s3_client
from launcher.providers.fly.provider import STARTING_LIMIT
from shared.client import ControlPlane
from shared.domain.order import FINAL, State
from shared.domain.spec import ExportSpec
from shared.http_client import open_client
from shared.wire.orders import OrderView
from tests.fly import Fake
from tests.harness.environment import keys_in
from tests.harness.stack import stack_of
from tests.harness.waiting import await_value

pytestmark = pytest.mark.slow

EXPORTS: Final = 100
MAX_SECONDS: Final = 1500
"""At Fly's pace the last one starts after two minutes."""
TURN: Final = 20
"""How many of them have a machine when another account asks for a single export."""
STARTING: Final = STARTING_LIMIT
"""Those that are between claim and start when that one comes."""
SLOTS_TO_WAIT: Final = 2
PI: Final = "01K9MJBE0RVFH3YKNJKY5MYNDP"


def test_of_100_exports_at_once_each_gets_one_machine_and_one_output_at_flys_pace(tmp_path: Path) -> None:
    with stack_of(tmp_path, ProviderChoice.FLY, BackendChoice.MEMORY, tmp_path, slots=40) as stack:
        variables = stack.environment
        fake = Fake(variables["LAUNCHYARD_FLY_ENDPOINT"], variables["LAUNCHYARD_FLY_API_TOKEN"])

        with open_client(variables["LAUNCHYARD_URL"], timeout=60) as http, ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(lambda _: http.post("/export/mods", json={"pi": PI}), range(EXPORTS)))
        task_ids = {answer.json()["task_id"] for answer in answers}
        before = len(fake.await_made(TURN))
        with ControlPlane(variables["LAUNCHYARD_URL"], variables["LAUNCHYARD_ADMIN_KEY"]) as another:
            single = another.create_order(ExportSpec(pi=PI), str(uuid4())).id
            orders = await_value(lambda: all_ended(another), "the end of every export", MAX_SECONDS)

        made = [machine["config"]["metadata"]["launchyard-order"] for machine in fake.made()]
        assert made.index(single) - before <= STARTING + SLOTS_TO_WAIT
        asked_for = task_ids | {single}
        started, finished = len(made), sum(order.state in FINAL for order in orders)
        assert (len(asked_for), started, finished) == (EXPORTS + 1, EXPORTS + 1, EXPORTS + 1)
        assert Counter((order.state, order.attempt, order.epoch) for order in orders) == {
            (State.SUCCEEDED, 1, 1): EXPORTS + 1
        }
        assert set(made) == asked_for
        assert sorted(key.rsplit("/", 2)[0] for key in outputs(variables)) == sorted(
            f"outputs/{order_id}/1" for order_id in asked_for
        )
        assert fake.is_mostly_within_limits()
        fake.await_gone()


def all_ended(operator: ControlPlane) -> list[OrderView] | None:
    """Return every order once all have ended; None before."""
    if any(operator.list_orders(state, limit=1).orders for state in State if state not in FINAL):
        return None
    orders, after = list[OrderView](), None
    while True:
        page = operator.list_orders(limit=200, after=after)
        orders += page.orders
        after = page.next
        if after is None:
            return orders


def outputs(variables: dict[str, str]) -> set[str]:
    """Return the keys of all objects in the bucket."""
    key_id, secret = (variables[f"LAUNCHYARD_S3_{name}"] for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"))
    client = s3_client(variables["LAUNCHYARD_S3_ENDPOINT"], "auto", key_id, secret)
    return set(keys_in(client))
