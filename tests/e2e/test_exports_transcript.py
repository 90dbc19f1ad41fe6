"""The exports contract over real HTTP and a real S3 store: the example as it stands, downloads, and what is refused."""

import re
from collections.abc import Iterator
from typing import Final

import pytest

from tests.e2e.exports_contract import CLIENT, FILE, METRICS, PI, Contract, Machine, serving_exports

TASK_ID: Final = re.compile(r"export_mods_[0-9]{13}_[0-9a-f]{8}")
RECEIVED: Final = {"received": True}
STREAMED: Final = "/download/{}?stream=true"


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contract]:
    with serving_exports(tmp_path_factory.mktemp("exports")) as contract:
        yield contract


def start(contract: Contract) -> str:
    answer = contract.ask("POST", "/export/mods", {"pi": PI, "options": {"recursive": False}})
    assert answer.status_code == 200, answer.text
    task_id: str = answer.json()["task_id"]
    return task_id


def finished(contract: Contract) -> str:
    """Return an export whose machine has reported success."""
    machine = contract.start_machine(start(contract))
    machine.upload()
    assert machine.call_back().json() == RECEIVED
    return machine.environment["TASK_ID"]


def test_the_complete_example_of_the_contract(contract: Contract) -> None:
    started = contract.ask("POST", "/export/mods", {"pi": PI, "options": {"recursive": False}})
    task_id = started.json()["task_id"]
    assert (started.status_code, started.json()["status"]) == (200, "processing")
    assert TASK_ID.fullmatch(task_id)
    assert contract.ask("GET", f"/status/{task_id}").json()["status"] == "processing"

    machine = contract.start_machine(task_id)
    machine.upload()
    assert machine.call_back().json() == RECEIVED

    ended = contract.ask("GET", f"/status/{task_id}").json()
    assert ended == {
        "task_id": task_id,
        "status": "success",
        "pi": PI,
        "created_at": ended["created_at"],
        "completed_at": ended["completed_at"],
        "output_r2_key": f"exports/{task_id}/{PI}.xml",
        "output_file_name": f"{PI}.xml",
        "output_file_size": len(FILE),
        "metrics": METRICS,
    }
    downloaded = contract.http.get(f"/download/{task_id}", follow_redirects=True)
    assert (downloaded.status_code, downloaded.content) == (200, FILE)
    assert downloaded.headers["content-type"] == "application/xml"
    assert downloaded.headers["content-disposition"] == f'attachment; filename="{PI}.xml"'
    assert downloaded.headers["content-length"] == str(len(FILE))


def test_a_download_is_resumed_where_it_broke_off_by_either_way(contract: Contract) -> None:
    task_id, rest = finished(contract), {"Range": "bytes=1000-"}

    redirected = contract.http.get(f"/download/{task_id}", headers=rest, follow_redirects=True)
    streamed = contract.http.get(STREAMED.format(task_id), headers=rest)

    assert (redirected.status_code, redirected.content) == (206, FILE[1000:])
    assert (streamed.status_code, streamed.content) == (206, FILE[1000:])


def test_the_head_of_a_download_has_the_size_and_no_body(contract: Contract) -> None:
    task_id = finished(contract)

    for path in (f"/download/{task_id}", STREAMED.format(task_id)):
        head = contract.http.head(path)
        assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(FILE)), b"")


def test_a_download_before_the_end_is_refused_with_the_status(contract: Contract) -> None:
    answer = contract.ask("GET", f"/download/{start(contract)}")

    assert (answer.status_code, answer.json()) == (400, {"error": "Export not ready or failed. Status: processing"})


def test_what_a_machine_may_not_report_changes_nothing(contract: Contract) -> None:
    task_id = start(contract)
    machine = contract.start_machine(task_id)
    forger = Machine(machine.environment | {"CALLBACK_URL": machine.environment["CALLBACK_URL"][:-1] + "!"})

    assert forger.call_back().status_code == 404
    assert machine.call_back(output_r2_key=f"exports/{finished(contract)}/{PI}.xml").status_code == 400
    assert machine.call_back().status_code == 400  # nothing was uploaded yet
    assert contract.ask("GET", f"/status/{task_id}").json()["status"] == "processing"
    machine.upload()
    assert [machine.call_back().json() for _ in range(2)] == [RECEIVED] * 2
    ended = contract.ask("GET", f"/status/{task_id}").json()
    assert machine.call_back(status="error", error="too late").json() == RECEIVED
    assert contract.ask("GET", f"/status/{task_id}").json() == ended

    log = contract.log.read_text()
    for why in ("forged", "wrong_key", "no_object", "repeated", "contradicting"):
        assert f'"why": "{why}"' in log
    assert machine.environment["CALLBACK_URL"].rsplit("/", 1)[-1] not in log


def test_a_client_that_knows_a_base_address_only_has_its_key_in_it(contract: Contract) -> None:
    base = f"/k/{CLIENT}"

    task_id = contract.ask("POST", f"{base}/export/mods", {"pi": PI}).json()["task_id"]

    assert contract.ask("GET", f"{base}/status/{task_id}").json()["task_id"] == task_id
    assert contract.ask("GET", "/k/ly_another/status/x").status_code == 401
    assert "/k/" not in contract.log.read_text()
