"""The control plane under test."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import structlog

from functions import settings as product_settings
from tests.functions import made_once
from tests.functions.typed_jobs import typed
from tests.functions.world import SECRET, URL, World

__all__ = ["typed"]

SETTINGS = {
    "LAUNCHYARD_BACKEND": "memory",
    "LAUNCHYARD_BUCKET": "s3://outputs",
    "LAUNCHYARD_URL": URL,
    "LAUNCHYARD_CALLBACK_SECRET": SECRET,
    "GOOGLE_CLOUD_PROJECT": "a-project",
}


@pytest.fixture
def target() -> str:
    """Which entry point is served."""
    return "everything"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, target: str) -> Iterator[World]:
    with served(monkeypatch, target) as world:
        yield world


@contextmanager
def served(monkeypatch: pytest.MonkeyPatch, target: str) -> Iterator[World]:
    for name, value in {**SETTINGS, "FUNCTION_TARGET": target, "FUNCTION_SIGNATURE_TYPE": "http"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(product_settings, "read_settings", made_once.read_settings)
    monkeypatch.setattr(hashlib, "scrypt", made_once.scrypt)
    world = World()
    application = made_once.application(target)
    assert not hasattr(application, "services"), "another world of this environment is served"
    application.services = lambda: world.services
    structlog.configure(**application.log)
    world.http = application.flask.test_client()
    yield world
    structlog.reset_defaults()
    del application.services


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without any of our settings; set those that the test is about."""
    for name in [name for name in os.environ if name.startswith("LAUNCHYARD_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    return monkeypatch
