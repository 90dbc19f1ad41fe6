"""A folder's file names the local stack and nothing else: no key leaves the pair that it belongs to."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from typer.testing import CliRunner
from werkzeug import Request, Response

from cli import settings
from cli.app import build
from cli.settings import LOCAL
from emulators.serving import serving
from shared.settings import SettingsWrong

MINE: Final = "ly_my-real-key"
OF_THE_FOLDER: Final = "ly_the-folders-key"
ELSEWHERE: Final = "https://control-plane.example"


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("LAUNCHYARD_URL", "LAUNCHYARD_CLIENT_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def write_file(url: str, key: str = OF_THE_FOLDER) -> None:
    file = Path(LOCAL)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(f"LAUNCHYARD_URL={url}\nLAUNCHYARD_CLIENT_KEY={key}\n".encode(errors="surrogateescape"))


@pytest.fixture
def asked() -> list[str | None]:
    """The Authorization of each request to the folder's control plane."""
    return []


@pytest.fixture
def folder(asked: list[str | None]) -> Iterator[str]:
    """The address of a control plane that the folder's file names."""

    def answer(request: Request) -> Response:
        asked.append(request.headers.get("Authorization"))
        return Response('{"orders": [], "next": null}')

    with serving(Request.application(answer)) as url:
        write_file(url)
        yield url


def list_orders() -> str:
    """Run `launchyard order list`, and return why it failed; "" if it did not."""
    error = CliRunner().invoke(build(), ["order", "list"]).exception
    return str(error) if isinstance(error, SettingsWrong) else ""


def test_the_files_key_goes_to_the_files_address(folder: str, asked: list[str | None]) -> None:
    assert list_orders() == ""
    assert asked == [f"Bearer {OF_THE_FOLDER}"]


def test_a_key_of_the_environment_is_not_sent_to_an_address_of_a_folder(
    folder: str, asked: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCHYARD_CLIENT_KEY", MINE)

    why = list_orders()

    assert asked == []
    assert "sets LAUNCHYARD_CLIENT_KEY and no LAUNCHYARD_URL" in why
    assert MINE not in why


def test_a_key_of_a_folder_is_not_sent_to_an_address_of_the_environment(
    folder: str, asked: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(ELSEWHERE)
    monkeypatch.setenv("LAUNCHYARD_URL", folder)

    why = list_orders()

    assert asked == []
    assert "sets LAUNCHYARD_URL and no LAUNCHYARD_CLIENT_KEY" in why
    assert OF_THE_FOLDER not in why


def test_the_environments_pair_wins_over_the_file(
    folder: str, asked: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(ELSEWHERE)
    monkeypatch.setenv("LAUNCHYARD_URL", folder)
    monkeypatch.setenv("LAUNCHYARD_CLIENT_KEY", MINE)

    assert list_orders() == ""
    assert asked == [f"Bearer {MINE}"]


def test_a_file_that_names_another_host_is_not_the_local_stacks() -> None:
    write_file(ELSEWHERE)

    assert "names an address of another host" in list_orders()


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (lambda: None, "No control plane is named"),
        (lambda: write_file("nowhere"), "dev.env is wrong. LAUNCHYARD_URL: it must begin with"),
        (lambda: write_file("http://127.0.0.1:9", ""), "No control plane is named"),
        (lambda: write_file("\udcff"), "cannot be read: Unicode"),
    ],
    ids=["absent", "wrong", "incomplete", "no text"],
)
def test_a_file_that_names_no_control_plane_is_explained(write: Callable[[], object], why: str) -> None:
    write()
    assert why in list_orders()


def test_no_other_settings_come_from_a_file() -> None:
    sources = Path(settings.__file__).parents[1]
    readers = [
        path.relative_to(sources).as_posix()
        for part in ("cli", "emulators", "functions", "launcher", "shared", "worker")
        for path in (sources / part).rglob("*.py")
        if "env_file" in path.read_text(encoding="utf-8")
    ]
    assert readers == ["cli/settings.py"]


def test_every_command_asks_the_one_place_for_its_control_plane() -> None:
    sources = Path(settings.__file__).parent.glob("*.py")
    assert [path.name for path in sources if "ControlPlane(" in path.read_text(encoding="utf-8")] == ["settings.py"]
