"""Who may call: with a key in the header or in the address, or without one if the deployment is open."""

import json
from typing import Final

import pytest

from tests.functions.jobs.client import START, Launcher, configure, create, get, listed, register
from tests.functions.world import ADMIN, CLIENT, LAUNCHER, STRANGER, World

SECRET_KEY: Final = "ly_a-key-that-nobody-knows"
ORIGIN: Final = "https://dashboard.example"


def test_a_launcher_that_knows_only_a_base_address_has_its_key_there(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    base = f"/k/{LAUNCHER}"
    launcher_id = world.post(f"{base}/launcher/register", key="").get_json()["launcher_id"]
    job_id = world.post(f"/k/{CLIENT}/jobs", START, key="").get_json()["job_id"]

    polled = world.get(f"{base}/launcher/jobs?launcher_id={launcher_id}", key="")
    assert polled.get_json()["job"]["job_id"] == job_id
    body = {"launcher_id": launcher_id}
    assert world.post(f"{base}/launcher/jobs/{job_id}/started", body, key="").status_code == 200
    assert world.post(f"{base}/launcher/heartbeat", body, key="").status_code == 200
    assert world.delete(f"{base}/launchers/{launcher_id}?self=true", key="").status_code == 200

    out = capsys.readouterr().out
    assert LAUNCHER not in out
    assert CLIENT not in out
    assert "/k/" not in out


@pytest.mark.parametrize("path", ["/launcher/register", "/launcher/heartbeat", "/jobs"])
def test_a_wrong_key_is_refused_and_never_shown(world: World, path: str, capsys: pytest.CaptureFixture[str]) -> None:
    for answer in (world.post(f"/k/{SECRET_KEY}{path}", {}, key=""), world.post(path, {}, SECRET_KEY)):
        assert answer.status_code == 401
        assert isinstance(answer.get_json()["detail"], str)
        assert SECRET_KEY not in answer.text
    assert world.post(path, {}, key="").status_code == 401
    assert SECRET_KEY not in capsys.readouterr().out


def test_each_route_is_for_its_role(world: World, launcher: Launcher) -> None:
    job_id = create(world)
    body = {"launcher_id": launcher.id}

    for_launchers = ["/launcher/register", "/launcher/heartbeat", f"/launcher/jobs/{job_id}/started"]
    assert [world.post(path, body, CLIENT).status_code for path in for_launchers] == [403] * 3
    assert world.get(f"/launcher/jobs?launcher_id={launcher.id}", CLIENT).status_code == 403
    assert world.post("/jobs", START, LAUNCHER).status_code == 403
    assert world.post(f"/jobs/{job_id}/stop", key=LAUNCHER).status_code == 403
    assert Launcher(world, register(world, ADMIN).id, ADMIN).take() == job_id


def test_an_open_deployment_needs_no_key_and_is_one_account_s(world: World) -> None:
    configure(world, LAUNCHYARD_JOBS_OPEN_TO="globex")
    launcher = register(world, key="")
    job_id = create(world, key="")

    assert launcher.run() == job_id
    assert launcher.accepted(job_id, "completed")

    assert world.order(job_id).account == "globex"
    assert get(world, job_id, key="")["status"] == "completed"
    assert get(world, job_id, STRANGER)["job_id"] == job_id
    assert world.get(f"/jobs/{job_id}", CLIENT).status_code == 404
    assert list(listed(world, key="")) == [launcher.id]
    assert world.post("/jobs", START, SECRET_KEY).status_code == 401
    assert launcher.deregister(itself=False, key="").status_code == 200
    assert launcher.command_or_job() == {"deregistered": True}


def test_a_page_of_another_origin_may_call(world: World) -> None:
    preflight = world.http.options(
        "/launchers/x", headers={"Origin": ORIGIN, "Access-Control-Request-Method": "DELETE"}
    )
    assert preflight.status_code == 204
    assert "DELETE" in preflight.headers["Access-Control-Allow-Methods"]
    answer = world.http.get("/launchers", headers={"Origin": ORIGIN, "Authorization": f"Bearer {CLIENT}"})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, ORIGIN)


@pytest.mark.parametrize("path", ["/launcher/none", "/launchers/", "/jobs/", "/sessions/none/none/none"])
def test_what_is_not_there_is_refused_in_the_contract_s_form(world: World, path: str) -> None:
    answer = world.get(path)

    assert (answer.status_code, answer.get_json()) == (404, {"detail": "Not Found"})


def test_a_head_of_a_poll_takes_no_job(world: World, launcher: Launcher) -> None:
    create(world)
    headers = {"Authorization": f"Bearer {LAUNCHER}"}

    assert world.http.head(f"/launcher/jobs?launcher_id={launcher.id}", headers=headers).status_code == 405
    assert launcher.take()


def test_the_log_names_the_job_and_the_launcher_and_no_prompt(
    world: World, launcher: Launcher, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = create(world, prompt="a prompt that is nobody else's business")
    launcher.run()

    out = capsys.readouterr().out
    assert "nobody else" not in out
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line.get("job_id") for line in lines if line["route"] != "/launcher/register"] == [job_id] * 3
