"""A file is fetched from the bucket by a redirect, or from here, whole or in parts."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest

from tests.functions.exports.client import FILE, NAME, Machine, start
from tests.functions.world import CLIENT, STRANGER, World

WHOLE: Final = f"bytes 0-{len(FILE) - 1}/{len(FILE)}"


@pytest.fixture
def task_id(machine: Machine) -> str:
    """An export that has succeeded."""
    machine.finish()
    return machine.task_id


def key_of(world: World, task_id: str) -> str:
    output = world.order(task_id).output
    assert output is not None
    return output.key


def headers(**more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {CLIENT}", **more}


def test_a_download_is_redirected_to_the_bucket_for_five_minutes(world: World, task_id: str) -> None:
    answer = world.get(f"/download/{task_id}")

    assert (answer.status_code, answer.get_data()) == (302, b"")
    assert world.bucket.fetch(answer.headers["Location"]) == FILE
    world.clock.now += timedelta(minutes=6)
    with pytest.raises(Exception, match="expired"):
        world.bucket.fetch(answer.headers["Location"])


def test_a_file_is_sent_from_here_to_who_asks_for_that(world: World, task_id: str) -> None:
    answer = world.get(f"/download/{task_id}?stream=true")

    assert (answer.status_code, answer.get_data()) == (200, FILE)
    assert answer.headers["Content-Type"] == "application/xml"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{NAME}"'
    assert answer.headers["Content-Length"] == str(len(FILE))
    assert answer.headers["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize("query", ["", "?stream=true"])
def test_the_head_of_a_download_is_that_of_the_file(world: World, task_id: str, query: str) -> None:
    answer = world.http.head(f"/download/{task_id}{query}", headers=headers(Range="bytes=0-1"))

    assert (answer.status_code, answer.get_data()) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(FILE))


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-3", 0, 3),
        ("bytes=5-", 5, len(FILE) - 1),
        ("bytes=-4", len(FILE) - 4, len(FILE) - 1),
        ("bytes=-400", 0, len(FILE) - 1),
        ("bytes=2-400", 2, len(FILE) - 1),
        ("Bytes= 3-3", 3, 3),
        (f"bytes={len(FILE) - 1}-", len(FILE) - 1, len(FILE) - 1),
    ],
)
def test_a_part_of_a_file_is_sent(world: World, task_id: str, asked: str, first: int, last: int) -> None:
    answer = world.http.get(f"/download/{task_id}?stream=true", headers=headers(Range=asked))

    assert (answer.status_code, answer.get_data()) == (206, FILE[first : last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(FILE)}"
    assert answer.headers["Content-Length"] == str(last - first + 1)


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,3-4", "bytes=4-2", "bytes=", "bytes=-", "lines=0-3", "bytes=a-b", "3-4", ""]
)
def test_what_is_no_single_range_gets_the_whole_file(world: World, task_id: str, asked: str) -> None:
    answer = world.http.get(f"/download/{task_id}?stream=true", headers=headers(Range=asked))

    assert (answer.status_code, answer.get_data()) == (200, FILE)
    assert "Content-Range" not in answer.headers


@pytest.mark.parametrize("asked", [f"bytes={len(FILE)}-", "bytes=4000-5000", "bytes=-0"])
def test_a_part_behind_the_end_is_refused_with_the_files_size(world: World, task_id: str, asked: str) -> None:
    answer = world.http.get(f"/download/{task_id}?stream=true", headers=headers(Range=asked))

    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(FILE)}"


def test_a_resumed_download_begins_anew_if_the_file_has_changed(world: World, task_id: str) -> None:
    path = f"/download/{task_id}?stream=true"
    tag = world.get(path).headers["ETag"]

    same = world.http.get(path, headers=headers(Range="bytes=5-", **{"If-Range": tag}))
    world.bucket.store(key_of(world, task_id), b"another file of its image")
    changed = world.http.get(path, headers=headers(Range="bytes=5-", **{"If-Range": tag}))

    assert (same.status_code, same.get_data()) == (206, FILE[5:])
    assert (changed.status_code, changed.get_data()) == (200, b"another file of its image")


def test_an_empty_file_is_sent_and_has_no_parts(world: World, machine: Machine) -> None:
    world.bucket.store(machine.key, b"")
    machine.call_back(machine.success())
    path = f"/download/{machine.task_id}?stream=true"

    assert (world.get(path).status_code, world.get(path).get_data()) == (200, b"")
    assert world.http.get(path, headers=headers(Range="bytes=0-")).status_code == 416


@pytest.mark.parametrize("query", ["", "?stream=true"])
def test_a_download_before_the_end_is_refused_with_the_status(world: World, query: str) -> None:
    answer = world.get(f"/download/{start(world)}{query}")

    assert (answer.status_code, answer.get_json()) == (
        400,
        {"error": "Export not ready or failed. Status: processing"},
    )


def test_a_download_of_a_failed_export_is_refused_with_the_status(world: World, machine: Machine) -> None:
    machine.call_back(machine.error())

    answer = world.get(f"/download/{machine.task_id}")

    assert (answer.status_code, answer.get_json()) == (400, {"error": "Export not ready or failed. Status: error"})


@pytest.mark.parametrize("query", ["", "?stream=true"])
def test_a_file_that_was_removed_is_not_found_and_its_task_still_is(world: World, task_id: str, query: str) -> None:
    world.clock.now += timedelta(hours=25)
    world.sweep()

    answer = world.get(f"/download/{task_id}{query}")

    assert (answer.status_code, answer.get_json()) == (404, {"error": "Export file not found in storage"})
    assert world.get(f"/status/{task_id}").get_json()["status"] == "success"


def test_a_file_that_somebody_removed_from_the_bucket_is_not_found(world: World, task_id: str) -> None:
    world.bucket.delete_below(key_of(world, task_id))

    assert world.get(f"/download/{task_id}").get_json() == {"error": "Export file not found in storage"}


def test_a_success_without_a_file_is_the_services_error(
    world: World, task_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = replace(world.order(task_id), output=None)
    read = world.ports.store.read
    monkeypatch.setattr(world.ports.store, "read", lambda order_id: replace(read(order_id), order=without))

    answer = world.get(f"/download/{task_id}")

    assert (answer.status_code, answer.get_json()) == (500, {"error": "Export file not available"})


def test_another_accounts_file_is_not_found(world: World, task_id: str) -> None:
    assert world.get(f"/download/{task_id}", STRANGER).status_code == 404
