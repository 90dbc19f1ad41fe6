"""The fixtures that come between a use case and a port do what they promise."""

import pytest

from tests.meanwhile import Failing, Meanwhile, coming_between


class Port:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def call(self, name: str) -> int:
        self.calls.append(name)
        return len(self.calls)


@pytest.mark.parametrize(("after", "calls"), [(False, ["faster", "first"]), (True, ["first", "faster"])])
def test_the_action_runs_once_and_may_use_the_method_itself(
    meanwhile: Meanwhile, after: bool, calls: list[str]
) -> None:
    port = Port()
    meanwhile(port, "call", lambda: port.call("faster"), after=after)

    port.call("first")
    port.call("second")

    assert port.calls == [*calls, "second"]


def test_an_action_that_raises_keeps_one_call_from_being_made(meanwhile: Meanwhile) -> None:
    def die() -> None:
        raise ZeroDivisionError

    port = Port()
    meanwhile(port, "call", die)

    with pytest.raises(ZeroDivisionError):
        port.call("first")
    assert port.call("second") == 1


def test_an_action_that_never_ran_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match=r"Port\.call"), coming_between(monkeypatch) as install:
        install(Port(), "call", lambda: None)


def test_only_the_calls_for_one_argument_fail(failing: Failing) -> None:
    port = Port()
    failing(port, "call", TimeoutError(), only="stuck")

    assert port.call("other") == 1
    with pytest.raises(TimeoutError):
        port.call("stuck")


def test_calls_no_longer_fail_once_that_is_ended(failing: Failing) -> None:
    port = Port()
    mend = failing(port, "call", TimeoutError())
    with pytest.raises(TimeoutError):
        port.call("first")

    mend()

    assert port.call("second") == 1
