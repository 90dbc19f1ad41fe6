"""Ids by which repeats are recognised: other versions of the control plane compare them, so no text ever changes."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from functions.domain import request_ids
from functions.domain.request_ids import is_of_launcher, of_launcher
from functions.engine.orders import fingerprint

ORDER = "5c8f2c1e-0000-4000-8000-000000000001"
LAUNCHER = "rack/alpha#0d5c7a1e-0000-4000-8000-000000000001"
POOL = "65b2d0ac-3ab9-54a7-a4cb-4d7e6ed5bb1a"
EMPTY = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
"""The SHA-256 of `{}`."""
AT = datetime(2026, 11, 30, 6, 30, tzinfo=UTC)
MADE: Mapping[Callable[..., str], Sequence[tuple[tuple[Any, ...], str]]] = {
    request_ids.cancel_by_client: [((), "cancel@client")],
    request_ids.cancel_by_pool: [((), "cancel@pool")],
    request_ids.cancel_by_removal: [((), "cancel@removal")],
    request_ids.of_launcher: [((LAUNCHER, "r-1"), "rack/alpha@r-1"), (("rack/*", "r-1"), "rack/*@r-1")],
    request_ids.renew: [((3,), "renew@3")],
    request_ids.worker_started: [((3,), "started@3")],
    request_ids.worker_progress: [((3,), "progress@3")],
    request_ids.worker_report: [(("failed", 3, "{}"), f"failed@3@{EMPTY}")],
    request_ids.environment_refused: [((3,), "environment@3")],
    request_ids.job_launcher_lost: [((3,), "job-launcher-lost@3")],
    request_ids.account_removed: [((3,), "account-removed@3")],
    request_ids.register_agent: [((3, "agent-1"), "register@3@agent-1")],
    request_ids.agent_lost: [((3, "agent-1"), "agent-lost@3@agent-1")],
    request_ids.pool_key: [((ORDER,), f"pool\n{ORDER}")],
    request_ids.unkeyed: [((ORDER,), f"unkeyed\n{ORDER}")],
    request_ids.batch_key: [((ORDER,), f"batch\n{ORDER}")],
    request_ids.late_worker_key: [((ORDER,), f"late\n{ORDER}")],
    request_ids.notice_key: [((ORDER,), f"notice\n{ORDER}")],
    request_ids.requeue_key: [((ORDER,), f"requeue\n{ORDER}")],
    request_ids.requeued_order: [((ORDER,), "8d50d720-2506-549b-8c99-0dc97da74804")],
    request_ids.order_of_lapsed_claim: [((ORDER, "rack/*", 1), "27b27e9f-368d-5bf8-910f-6edbe6f8ed6a")],
    request_ids.notice_job: [(("acme", ("job_1", "job_2")), "job_9d32c5932d9a")],
    request_ids.pool: [(("acme", "gcp:us-central1-a", "tiny"), "f2adf225-36d9-5640-9e9c-c9b0c1684580")],
    request_ids.pool_order: [((POOL, 3, 2), "e2b21189-a7fb-500c-99da-0535413e4f41")],
    request_ids.batch: [(("acme", "key-1"), "batch_d276411b601cfa6d8948cceb766d9e43")],
    request_ids.batch_order: [(("batch_1", 7, AT), "export_mods_1796020200000_f26cd15f")],
    request_ids.export: [((AT, ORDER), "export_mods_1796020200000_4e5753b6")],
    request_ids.job: [((ORDER,), "job_5c8f2c1e0000")],
    request_ids.job_launcher: [((ORDER,), "lnch_5c8f2c1e0000")],
}
"""What makes ids: with these arguments, each makes this text."""


def test_the_ids_are_those_of_every_earlier_version() -> None:
    for make, texts in MADE.items():
        for given, text in texts:
            assert make(*given) == text
    assert fingerprint("{}") == EMPTY


def test_every_function_that_makes_an_id_is_held_to_a_text() -> None:
    functions = inspect.getmembers(request_ids, inspect.isfunction)
    public = {name for name, one in functions if not name.startswith("_") and one.__module__ == request_ids.__name__}

    assert public - {is_of_launcher.__name__} == {make.__name__ for make in MADE}


def test_an_id_is_known_as_its_launchers_whatever_the_identity() -> None:
    made = of_launcher(LAUNCHER, "r-1")

    assert is_of_launcher(made, LAUNCHER)
    assert is_of_launcher(made, "rack/alpha")
    assert not is_of_launcher(made, "rack/alph")
    assert not is_of_launcher(made, "attic/alpha")
