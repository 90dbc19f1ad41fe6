"""Untrusted text is shown on a terminal as plain text."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import ValidationError
from rich.console import Console

from cli import view
from functions.apis.v1.views import order_view
from shared.domain.order import Reason, State
from shared.domain.spec import SessionSpec
from shared.wire.orders import OrderList, OrderView, OutputView
from tests.factories import an_order

HOSTILE: Final = "[/x] [red]a\x1b]0;title\x07b\x1b[2Jc\x00d\x9be\rf[/red]"
SHOWN: Final = "[/x] [red]a�]0;title�b�[2Jc�d�e�f[/red]"


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """The output on a terminal that is 80 columns wide."""
    screen = io.StringIO()
    monkeypatch.setattr(
        view, "out", Console(file=screen, highlight=False, width=80, force_terminal=True, no_color=True)
    )
    return screen.getvalue


def an_order_view(**changes: Any) -> OrderView:
    failed = an_order(state=State.FAILED, reason=Reason.PROGRAM_FAILED, message=HOSTILE)
    return order_view(failed).model_copy(update=changes)


def test_control_characters_are_replaced_but_for_line_ends_and_tabs() -> None:
    assert view.plain("a\tb\nc\x1bd\x7fe\x85").plain == "a\tb\nc�d�e�"


def test_an_orders_message_is_shown_without_markup_and_control_characters(printed: Callable[[], str]) -> None:
    view.print_order(an_order_view(), as_json=False)
    assert SHOWN in printed()


def test_the_message_of_an_order_that_has_no_reason_is_shown(printed: Callable[[], str]) -> None:
    unconfirmed = an_order_view(state=State.SUCCEEDED, reason=None, message="Completed, unconfirmed.")
    view.print_order(unconfirmed, as_json=False)
    assert "Completed, unconfirmed." in printed()


def test_an_exports_failure_is_shown_without_markup_and_control_characters(printed: Callable[[], str]) -> None:
    view.print_end(an_order_view())
    assert f"program_failed: {SHOWN}" in printed().replace("\n", " ")


def test_json_keeps_control_characters_off_the_terminal_and_their_meaning(printed: Callable[[], str]) -> None:
    order = an_order_view()
    view.print_order(order, as_json=True)
    assert not set(printed()) & set("\x00\x07\r\x9b")
    assert "\\u001b]0;title\\u0007" in printed()


@pytest.mark.parametrize("name", ["id", "vm"])
def test_every_value_of_the_control_plane_is_shown_as_text(printed: Callable[[], str], name: str) -> None:
    order = an_order_view(**{name: "[/x]\x1bP\x9b"}, progress={"[/x]\x9b": 1})
    view.print_order(order, as_json=False)
    view.print_step(order)
    view.print_placed(order)
    view.print_orders(OrderList(orders=(order,), next=None), as_json=False)
    assert "[/x]�P�" in printed()
    assert not set(printed()) & {"\x9b"}


def test_an_order_shows_its_progress_and_an_output_without_a_digest(printed: Callable[[], str]) -> None:
    output = OutputView(file_name="a.xml", content_type="application/xml", size=7, sha256=None)
    order = an_order_view(progress={"entities_done": 12, "entities_found": 30}, output=output)
    view.print_order(order, as_json=False)
    view.print_step(order)
    assert printed().count("entities done 12, entities found 30") == 2
    assert "a.xml, 7 bytes, no digest" in printed()


def test_a_session_shows_what_was_ordered_and_why_no_launcher_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(view, "out", Console(file=file, width=80, highlight=False))
    spec = SessionSpec(
        session_name="nightly",
        prompt="Tidy up.",
        agent_name="tidier",
        parent_session_name="main",
        labels=("gpu", "a=b"),
    )
    message = "No launcher that offers gpu, a=b took it in time."
    unmatched = an_order(spec, state=State.FAILED, reason=Reason.UNMATCHED, message=message)

    view.print_order(order_view(unmatched), as_json=False)

    rows = [line.split() for line in file.getvalue().splitlines()]
    for name, value in [
        ("kind", "session"),
        ("reason", f"unmatched: {message}"),
        ("session", "nightly"),
        ("agent", "tidier"),
        ("parent", "main"),
        ("labels", "gpu, a=b"),
        ("prompt", "Tidy up."),
    ]:
        assert [name, *value.split()] in rows


def test_a_session_of_a_later_version_is_shown_without_what_this_one_cannot_read(printed: Callable[[], str]) -> None:
    view.print_order(an_order_view(kind="session", spec={"kind": "session", "mood": "calm"}), as_json=False)

    assert "session" in printed()


def test_a_summary_shows_names_of_measures_as_text(printed: Callable[[], str], tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("abc")
    view.print_summary(an_order_view(metrics={"[/x]\x9b": 1}), file)
    assert "[/x]�" in printed()


@pytest.mark.parametrize("name", ["[/x]\x9b", "../escaped", "/etc/passwd", ".hidden", ""])
def test_an_output_whose_name_is_not_plain_is_not_taken_from_a_control_plane(name: str) -> None:
    with pytest.raises(ValidationError, match="file_name"):
        OutputView(file_name=name, content_type="text/plain", size=1, sha256="0" * 64)


def test_at_80_columns_a_list_still_shows_whole_ids_kinds_and_states(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = io.StringIO()
    monkeypatch.setattr(view, "out", Console(file=narrow, width=80, highlight=False))
    order = an_order(state=State.PROVISIONING)
    view.print_orders(OrderList(orders=(order_view(order),), next=None), as_json=False)
    for whole in (order.id, "task", "provisioning"):
        assert whole in narrow.getvalue()


def test_the_mark_of_the_next_page_is_one_line(printed: Callable[[], str]) -> None:
    mark = "m" * 300
    view.print_orders(OrderList(orders=(), next=mark), as_json=False)
    assert f"more: --after {mark}\n" in printed()
