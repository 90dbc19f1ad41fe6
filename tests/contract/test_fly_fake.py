"""The fake Machines API answers as the contract says that Fly does, and keeps Fly's limits."""

import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from emulators.fakes.fly.api import LocalFly
from emulators.fakes.fly.behaviour import FlyBehaviour, FlyMethod
from emulators.fakes.fly.limits import FlyLimits
from emulators.fakes.fly.machines import Machines
from emulators.fakes.fly.programs import ImagePrograms
from emulators.serving import serving
from emulators.settings import OWN_IMAGE
from tests.fly import APP, FOREIGN_IMAGE, TOKEN, Fake, NoPrograms, a_fake
from tests.harness import plain_http
from tests.harness.waiting import ANSWER_SECONDS, await_value

MEMBERS = {
    "id": str,
    "name": str,
    "state": str,
    "region": str,
    "instance_id": str,
    "private_ip": str,
    "created_at": str,
    "updated_at": str,
    "config": dict,
    "events": list,
}


def a_body(name: str = "worker-1", **config: object) -> dict[str, Any]:
    usual = {
        "image": OWN_IMAGE,
        "auto_destroy": True,
        "restart": {"policy": "no"},
        "guest": {"cpu_kind": "shared", "cpus": 1, "memory_mb": 512},
        "env": {"TASK_ID": "scud-17"},
        "init": {"cmd": ["--task", "scud-17"]},
    }
    return {"name": name, "region": "ord", "config": usual | config}


class Client:
    def __init__(self, url: str, token: str = TOKEN, app: str = APP) -> None:
        self._machines = f"{url}/v1/apps/{app}/machines"
        self._headers = {"Authorization": f"Bearer {token}"}

    def create(self, body: object) -> httpx.Response:
        return plain_http.post(self._machines, headers=self._headers, json=body, timeout=ANSWER_SECONDS)

    def made(self, name: str = "worker-1", **config: object) -> dict[str, Any]:
        return dict(self.create(a_body(name, **config)).raise_for_status().json())

    def get(self, path: str = "", **query: str | int) -> httpx.Response:
        return plain_http.get(f"{self._machines}{path}", headers=self._headers, params=query, timeout=ANSWER_SECONDS)

    def state(self, machine_id: str) -> str:
        return str(self.get(f"/{machine_id}").raise_for_status().json()["state"])

    def stop(self, machine_id: str) -> httpx.Response:
        return plain_http.post(f"{self._machines}/{machine_id}/stop", headers=self._headers, timeout=ANSWER_SECONDS)

    def delete(self, machine_id: str, **query: str) -> httpx.Response:
        return plain_http.delete(
            f"{self._machines}/{machine_id}", headers=self._headers, params=query, timeout=ANSWER_SECONDS
        )


@pytest.fixture
def programs() -> NoPrograms:
    return NoPrograms()


@pytest.fixture
def fake(programs: NoPrograms) -> Iterator[Fake]:
    with a_fake(programs) as fake:
        yield fake


@pytest.fixture
def client(fake: Fake) -> Client:
    return Client(fake.url)


def test_every_machine_in_every_answer_has_all_members_that_clients_need(client: Client) -> None:
    created = client.made()
    [listed] = client.get().json()
    read = client.get(f"/{created['id']}").json()
    for machine in (created, listed, read):
        assert {name: type(value) for name, value in machine.items()} == MEMBERS
    assert read["config"] == a_body()["config"]
    assert (created["name"], created["region"]) == ("worker-1", "ord")


def test_a_machine_goes_through_its_states_and_is_readable_after_its_end(
    client: Client, programs: NoPrograms, fake: Fake
) -> None:
    fake.behave(stage_seconds=0.2)
    machine = client.made()
    assert machine["state"] == "created"
    assert client.get(f"/{machine['id']}/wait", state="started", timeout=60).json() == {"ok": True}
    [launch] = programs.launched
    assert (launch.image, launch.arguments) == (OWN_IMAGE, ["--task", "scud-17"])
    assert launch.environment == {
        "TASK_ID": "scud-17",
        "FLY_MACHINE_ID": machine["id"],
        "FLY_APP_NAME": APP,
        "FLY_REGION": "ord",
    }

    programs.end(machine["id"], 3)
    assert client.get(f"/{machine['id']}/wait", state="destroyed", timeout=60).json() == {"ok": True}

    assert client.get().json() == []
    after = client.get(f"/{machine['id']}").json()
    [event] = [one for one in after["events"] if one["type"] == "exit"]
    assert event["request"]["exit_event"]["exit_code"] == 3
    assert event["request"]["exit_event"]["requested_stop"] is False
    assert event["request"]["exit_event"]["oom_killed"] is False


def test_a_destroyed_machine_is_forgotten_after_a_while(client: Client, fake: Fake) -> None:
    machine = client.made()
    client.delete(machine["id"], force="true")
    assert client.state(machine["id"]) == "destroyed"
    fake.behave(readable_seconds=0)
    assert client.get(f"/{machine['id']}").status_code == 404


def test_a_machine_that_is_not_destroyed_by_itself_stays_stopped(client: Client, programs: NoPrograms) -> None:
    machine = client.made(auto_destroy=False)
    assert client.stop(machine["id"]).json() == {"ok": True}
    stopped = client.get(f"/{machine['id']}").json()
    assert stopped["state"] == "stopped"
    assert stopped["events"][0]["request"]["exit_event"]["requested_stop"] is True
    assert client.delete(machine["id"]).json() == {"ok": True}
    assert client.get().json() == []


def test_a_machine_that_runs_is_destroyed_only_by_force(client: Client) -> None:
    machine = client.made()
    assert client.state(machine["id"]) == "started"
    assert client.delete(machine["id"]).status_code == 412
    assert client.delete(machine["id"], force="true").status_code == 200


def test_a_wait_that_takes_too_long_is_a_timeout(client: Client) -> None:
    machine = client.made()
    assert client.get(f"/{machine['id']}/wait", state="stopped", timeout=0).status_code == 408


def test_a_list_can_be_limited_to_metadata(client: Client) -> None:
    mine = client.made(name="one", metadata={"launcher": "alpha", "order": "7"})
    client.made(name="two", metadata={"launcher": "beta"})
    listed = client.get(**{"metadata.launcher": "alpha"}).json()
    assert [machine["id"] for machine in listed] == [mine["id"]]


def test_a_name_that_is_taken_is_refused_with_the_machines_id(client: Client, fake: Fake) -> None:
    machine = client.made()
    refused = client.create(a_body())
    assert refused.status_code == 422
    assert machine["id"] in refused.json()["error"]
    fake.behave(name_taken=409)
    assert client.create(a_body()).status_code == 409
    client.delete(machine["id"], force="true")
    assert client.create(a_body()).status_code == 200


@pytest.mark.parametrize(
    ("body", "member"),
    [
        ([], "body"),
        ({"name": "one"}, "config"),
        (a_body(image=""), "config.image"),
        (a_body(image=None), "config.image"),
        (a_body(env={"TASK_ID": 7}), "config.env.TASK_ID"),
        (a_body(env={"TASK_ID": None}), "config.env.TASK_ID"),
        (a_body(init={"cmd": "--task"}), "config.init.cmd"),
        (a_body(guest={"cpu_kind": "shared", "cpus": 1, "memory_mb": 500}), "config.guest.memory_mb"),
        (a_body(guest={"cpu_kind": "shared", "cpus": 1, "memory_mb": 4096}), "config.guest"),
        (a_body(restart={"policy": "never"}), "config.restart.policy"),
        (a_body(name="Worker_1"), "name"),
        (a_body(name="w" * 64), "name"),
    ],
)
def test_a_bad_body_is_refused_by_its_member(client: Client, body: object, member: str) -> None:
    refused = client.create(body)
    assert refused.status_code == 400
    assert f"invalid_argument: {member}:" in refused.json()["error"]


def test_an_unknown_image_and_an_unknown_region_are_bad_requests(client: Client) -> None:
    image = client.create(a_body(image="registry.fly.io/nobodys:latest"))
    assert (image.status_code, "failed to get manifest" in image.json()["error"]) == (400, True)
    region = client.create(a_body() | {"region": "zzz"})
    assert (region.status_code, "region zzz not found" in region.json()["error"]) == (400, True)


def test_a_wrong_token_and_a_foreign_app_are_refused(fake: Fake) -> None:
    assert Client(fake.url, token="another").get().status_code == 401
    assert Client(fake.url, app="another").get().status_code == 404


def test_a_full_region_has_no_room_and_another_has(client: Client, fake: Fake) -> None:
    fake.behave(full=["ord"])
    refused = client.create(a_body())
    assert (refused.status_code, "insufficient resources" in refused.json()["error"]) == (422, True)
    assert client.create(a_body() | {"region": "iad"}).status_code == 200


def test_requests_above_the_limits_are_refused_and_counted(programs: NoPrograms) -> None:
    now = [0.0]
    with a_fake(programs, limits=FlyLimits(lambda: now[0])) as fake:
        client = Client(fake.url)
        answers = [client.create(a_body(f"worker-{number}")) for number in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert answers[3].headers["Retry-After"] == "1"
        now[0] = 1.0
        assert client.create(a_body("worker-4")).status_code == 200
        assert client.create(a_body("worker-5")).status_code == 429
        assert [client.get().status_code for _ in range(11)] == [200] * 10 + [429]
        assert fake.above_limits() == {"create": 2, "list": 1}
        assert fake.calls() == {"create": 6, "list": 11}


def test_the_limit_of_a_stop_is_each_machines_own() -> None:
    limits = FlyLimits(lambda: 0.0)
    assert [limits.admit(FlyMethod.STOP, "one") for _ in range(4)] == [True, True, True, False]
    assert limits.admit(FlyMethod.STOP, "two")


PROGRAM = """
import json, os, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print(json.dumps({"argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd(), "child": child.pid}), flush=True)
if sys.argv[1:] == ["stay"]:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    signal.pause()
"""


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Client]:
    """A fake that runs a Python program as FOREIGN_IMAGE; its logs are in `tmp_path`."""
    images = ImagePrograms({FOREIGN_IMAGE: (sys.executable, "-c", PROGRAM), "broken": ("/no/such/program",)}, tmp_path)
    machines = Machines(APP, time.monotonic, lambda: datetime.now(UTC), images, FlyBehaviour(stage_seconds=0))
    with serving(LocalFly(machines, TOKEN)) as url:
        yield Client(url)
    machines.end()


def test_an_image_runs_as_a_process_with_its_machines_environment_and_nothing_of_ours(
    real: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCHYARD_CALLBACK_SECRET", "ours")
    machine = real.made(image=FOREIGN_IMAGE, init={"cmd": ["--task", "a b"]})
    assert real.get(f"/{machine['id']}/wait", state="destroyed", timeout=60).status_code == 200

    said = json.loads((tmp_path / "fly-worker-1.log").read_text())
    assert said["argv"] == ["--task", "a b"]
    own = {"TASK_ID", "FLY_MACHINE_ID", "FLY_APP_NAME", "FLY_REGION", "PATH", "HOME", "TMPDIR"}
    assert said["env"].keys() - {"LC_CTYPE"} == own  # Python itself sets LC_CTYPE
    assert said["cwd"] == said["env"]["HOME"] == said["env"]["TMPDIR"]
    assert not Path(said["cwd"]).exists()
    await_value(lambda: not _runs(said["child"]), "the end of the process that the program left")


def test_a_stop_ends_all_processes_of_a_machine_and_its_exit_code_is_the_programs(real: Client, tmp_path: Path) -> None:
    machine = real.made(image=FOREIGN_IMAGE, init={"cmd": ["stay"]}, auto_destroy=False)
    log = tmp_path / "fly-worker-1.log"
    real.get(f"/{machine['id']}/wait", state="started", timeout=60)
    said = json.loads(await_value(log.read_text, "the program's output"))
    real.stop(machine["id"])
    real.get(f"/{machine['id']}/wait", state="stopped", timeout=60)
    exit_event = real.get(f"/{machine['id']}").json()["events"][0]["request"]["exit_event"]
    assert (exit_event["exit_code"], exit_event["requested_stop"]) == (7, True)
    await_value(lambda: not _runs(said["child"]), "the end of the program's child")


def test_a_program_that_cannot_be_started_is_a_machine_that_failed(real: Client) -> None:
    machine = real.made(image="broken")
    real.get(f"/{machine['id']}/wait", state="destroyed", timeout=60)
    assert real.get(f"/{machine['id']}").json()["events"][1]["request"]["exit_event"]["exit_code"] == 127


def _runs(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
