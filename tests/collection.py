"""Finds a run's tests in less time.

After a change, what is new is compiled, with its assertions rewritten. If all workers of pytest-xdist came to a module
at once, each would compile it; so each begins to import at another one, and finds compiled what the others have passed.
"""

import gc
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Final

import pytest

GARBAGE_THRESHOLD: Final = 20_000
"""Python looks for garbage once there are this many more objects. At its own 700 it needs less memory and more time."""


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Find the tests without looking for garbage: nearly all that is made lives as long as the run."""
    gc.disable()
    try:
        given = getattr(session.config, "workerinput", None)
        if given:
            _import_from_another(session.config, int(given["workerid"].removeprefix("gw")), given["workercount"])
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(GARBAGE_THRESHOLD)
        gc.enable()


def _import_from_another(config: pytest.Config, worker: int, workers: int) -> None:
    """Import all modules of tests. What fails here fails again where its tests are collected."""
    for name in order_of(list(_modules(config)), worker, workers):
        with suppress(Exception, pytest.skip.Exception):
            import_module(name)


def order_of(names: Sequence[str], worker: int, workers: int) -> Sequence[str]:
    """Return the names from the one on that is this worker's first."""
    first = len(names) * worker // workers
    return [*names[first:], *names[:first]]


def _modules(config: pytest.Config) -> Iterator[str]:
    """Yield the modules' names, if whole folders were asked for: of a single one, each worker needs all."""
    for folder in map(config.invocation_params.dir.joinpath, config.args):
        if folder.is_dir() and folder.is_relative_to(config.rootpath):
            for path in sorted(folder.rglob("test_*.py")):
                yield ".".join(path.relative_to(config.rootpath).with_suffix("").parts)
