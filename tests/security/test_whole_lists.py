"""No number of records hides one from the operator, or from the sweep."""

from typing import Final

from functions.domain.agents import Agent
from functions.domain.job_launchers import JobLauncher
from functions.domain.pools import Pool
from functions.engine.record_pages import READ_AT_ONCE
from tests.factories import NOW
from tests.functions.jobs import client as jobs
from tests.functions.world import ADMIN, World

MANY: Final = 10_050
"""More than any list used to read; half as many, for pools."""
TARGETS: Final = "/api/v1/admin/agents/capacity/targets"


def test_the_list_of_agents_has_all(world: World) -> None:
    for number in range(MANY):
        agent = Agent(str(number), f"vm-{number}", "gcp:a", "tiny", "0" * 96, "1", NOW, NOW)
        world.ports.agents.add(agent.vm_name, agent)
    listed = world.get("/api/v1/agents", ADMIN).get_json()
    assert (len(listed["agents"]), listed["total"]) == (MANY, MANY)


def test_every_pool_is_listed_and_filled(world: World) -> None:
    for number in range(MANY // 2):
        pool_id = str(number)
        pool = Pool(pool_id, f"account-{number}", "gcp:a", "tiny", 0, "", NOW, NOW, standing=False)
        world.ports.pools.add(pool_id, pool)
    body = {"datacenter": "local:dev", "node_size": "tiny", "min_warm_count": 1, "dispatch": True}
    assert world.http.put(TARGETS, json=body, headers={"Authorization": f"Bearer {ADMIN}"}).status_code == 200

    world.sweep()

    targets = world.get(TARGETS, ADMIN).get_json()
    assert (targets["total"], targets["targets"][0]["open_reservations"]) == (1, 1)


def test_no_number_of_other_accounts_launchers_hides_one_from_an_operator(world: World) -> None:
    for number in range(MANY):
        id_ = f"lnch_{number:012x}"
        launcher = JobLauncher(id_, "noisy", None, None, None, (), NOW, NOW, NOW.replace(year=2030))
        world.ports.job_launchers.add(id_, launcher)
    mine = jobs.register(world)

    assert mine.id in jobs.listed(world, ADMIN)
    assert list(jobs.listed(world)) == [mine.id]
    assert len(jobs.listed(world, ADMIN)) == MANY + 1 > READ_AT_ONCE
