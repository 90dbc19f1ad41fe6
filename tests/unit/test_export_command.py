"""`launchyard export run` against a control plane whose order goes on with each look at it."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result
from werkzeug import Request, Response
from werkzeug.utils import redirect

from cli import view
from cli.exports import app
from emulators.serving import serving
from functions.apis.v1.views import order_view
from shared.domain.order import Reason, State
from shared.wire.orders import OrderView, OutputView
from tests.factories import EXPORT, an_order

CONTENT: Final = b"<modsCollection/>"
FOUND: Final = {"entities_done": 12, "entities_failed": 1, "entities_found": 30}
OUTPUT: Final = OutputView(file_name="X-collection.xml", content_type="application/xml", size=len(CONTENT), sha256=None)
SUCCEEDED: Final = {"state": State.SUCCEEDED, "output": OUTPUT}
FAILED: Final = {"state": State.FAILED, "reason": Reason.SOURCE_UNAVAILABLE, "message": "Failed to fetch manifest"}


class OneExport:
    """A control plane with one order. `steps` are the order's changes, one for each time it is read."""

    def __init__(self) -> None:
        self.order: OrderView = order_view(an_order(EXPORT))
        self.steps: list[dict[str, Any]] = [{}, {"state": State.RUNNING}, {"progress": FOUND}, SUCCEEDED]
        self.requested: dict[str, Any] = {}

    def serve(self, request: Request) -> Response:
        if request.path == "/bucket":
            return Response(CONTENT)
        if request.path.endswith("/output"):
            return redirect(f"{request.host_url}bucket", 307, Response)
        if request.method == "POST":
            self.requested = json.loads(request.get_data())
        elif self.steps:
            self.order = self.order.model_copy(update=self.steps.pop(0))
        return Response(self.order.model_dump_json(), content_type="application/json")


@pytest.fixture
def export(monkeypatch: pytest.MonkeyPatch) -> Iterator[OneExport]:
    export = OneExport()
    monkeypatch.setattr("cli.results.POLL_SECONDS", 0)
    with serving(Request.application(export.serve)) as url:
        monkeypatch.setenv("LAUNCHYARD_URL", url)
        monkeypatch.setenv("LAUNCHYARD_CLIENT_KEY", "key")
        yield export


def run(folder: Path, screen: io.StringIO, monkeypatch: pytest.MonkeyPatch, *options: str, tty: bool = False) -> Result:
    monkeypatch.setattr(view, "out", Console(file=screen, highlight=False, width=120, force_terminal=tty))
    return CliRunner().invoke(app, ["run", EXPORT.pi, "--out", str(folder), *options])


@pytest.fixture
def screen() -> io.StringIO:
    return io.StringIO()


def test_the_options_are_those_of_the_order(
    export: OneExport, tmp_path: Path, screen: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--recursive", "--max-depth", "2", "--parallel-batch-size", "4", "--no-ocr", "--cheimarros", "skip"]

    assert run(tmp_path, screen, monkeypatch, *options).exit_code == 0

    assert export.requested["order"]["options"] == {
        "include_ocr": False,
        "cheimarros_mode": "skip",
        "recursive": True,
        "max_depth": 2,
        "parallel_batch_size": 4,
    }


@pytest.mark.parametrize("terminal", ["", "dumb"])
def test_without_a_terminal_that_can_redraw_a_bar_each_change_is_a_line_and_the_file_is_there_at_the_end(
    export: OneExport, tmp_path: Path, screen: io.StringIO, monkeypatch: pytest.MonkeyPatch, terminal: str
) -> None:
    monkeypatch.setenv("TERM", terminal)

    assert run(tmp_path, screen, monkeypatch, tty=bool(terminal)).exit_code == 0

    id_ = export.order.id
    lines = [line.partition(f"  {id_}  ")[2] for line in screen.getvalue().splitlines() if f"  {id_}  " in line]
    done = "entities done 12, entities failed 1, entities found 30"
    assert lines == ["queued", "running", f"running  {done}", f"succeeded  {done}"]
    assert (tmp_path / OUTPUT.file_name).read_bytes() == CONTENT


def test_on_a_terminal_a_bar_shows_the_entities(
    export: OneExport, tmp_path: Path, screen: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")

    assert run(tmp_path, screen, monkeypatch, tty=True).exit_code == 0

    assert "succeeded: entities done 12, entities failed 1, entities found 30" in screen.getvalue()
    assert OUTPUT.file_name in screen.getvalue()


@pytest.mark.parametrize(("end", "code"), [(SUCCEEDED, 0), (FAILED, 1)])
def test_as_json_nothing_but_the_order_is_printed(
    export: OneExport,
    tmp_path: Path,
    screen: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
    end: dict[str, Any],
    code: int,
) -> None:
    export.steps[-1] = end

    assert run(tmp_path, screen, monkeypatch, "--json").exit_code == code

    assert OrderView.model_validate_json(screen.getvalue()) == export.order
    assert (tmp_path / OUTPUT.file_name).exists() == (code == 0)


def test_a_failed_export_is_explained(
    export: OneExport, tmp_path: Path, screen: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    export.steps[-1] = FAILED

    assert run(tmp_path, screen, monkeypatch).exit_code == 1

    assert "failed: source_unavailable: Failed to fetch manifest" in screen.getvalue()
