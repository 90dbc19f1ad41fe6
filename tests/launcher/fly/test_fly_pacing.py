"""Fly's limits of the rate of requests are kept."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from emulators.fakes.fly.behaviour import FlyMethod
from emulators.fakes.fly.limits import FlyLimits
from launcher.providers.fly.pacing import READS, WRITES, Action, Pace, Pacer, Pacers
from launcher.providers.fly.provider import FlyProvider
from tests.fly import a_fake
from tests.launcher.fly.machines import DEADLINE, TASK, Environments, MakeVm, an_options


class FakeTime:
    """A clock that only sleeping moves: to the latest time that a sleeper asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds


@pytest.mark.parametrize(
    ("pace", "method"),
    [(WRITES, FlyMethod.CREATE), (WRITES, FlyMethod.STOP), (READS, FlyMethod.LIST), (READS, FlyMethod.GET)],
)
def test_no_request_of_a_hundred_is_above_flys_limit_even_after_a_rest(pace: Pace, method: FlyMethod) -> None:
    time = FakeTime()
    pacer, limits = Pacer(pace, time.monotonic, time.sleep), FlyLimits(time.monotonic)
    for burst in (50, 50):
        for _ in range(burst):
            pacer.wait()
            limits.admit(method, "app")
        time.sleep(60)
    assert limits.above == {}


def test_requests_go_out_at_the_pace_and_a_few_at_once_after_a_rest() -> None:
    time = FakeTime()
    pacer, sent = Pacer(WRITES, time.monotonic, time.sleep), list[float]()
    for _ in range(5):
        pacer.wait()
        sent.append(time.now)
    assert sent == [0, 0, 1, 2, 3]


def test_those_who_wait_are_served_in_the_order_in_which_they_came() -> None:
    slept = list[float]()
    pacer = Pacer(WRITES, lambda: 0.0, slept.append)
    for _ in range(6):
        pacer.wait()
    assert slept == [1, 2, 3, 4]


def test_a_server_that_asks_for_a_rest_gets_it() -> None:
    time = FakeTime()
    pacer = Pacer(READS, time.monotonic, time.sleep)
    pacer.wait()
    pacer.rest(7)
    pacer.wait()
    assert time.now == 7


def test_each_action_has_a_pace_of_its_own() -> None:
    time = FakeTime()
    pacers = Pacers(time.monotonic, time.sleep)
    for action in Action:
        for _ in range(2):
            pacers.of(action).wait()
    assert time.now == 0


def test_each_request_of_many_threads_waits_for_a_time_of_its_own(make_vm: MakeVm) -> None:
    """Over HTTP. When a request arrives says little about the pace: a busy host brings some of them together."""
    vms, waited = [make_vm(TASK) for _ in range(6)], list[float]()
    with a_fake() as fake, ThreadPoolExecutor(6) as pool:
        options = an_options(fake, check_seconds=DEADLINE)  # no checks: they would wait for their times, too
        provider = FlyProvider(options, Environments(), Pacers(lambda: 0.0, waited.append))
        for machine in list(pool.map(provider.start, vms)):
            machine.leave()
        assert fake.calls()["create"] == 6
    assert sorted(waited) == [1, 2, 3, 4]
