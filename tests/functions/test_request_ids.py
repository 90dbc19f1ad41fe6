"""Ids by which repeats are recognised: other versions of the control plane compare them, so no text ever changes."""

from functions.engine import request_ids

ORDER = "5c8f2c1e-0000-4000-8000-000000000001"


def test_the_ids_are_those_of_every_earlier_version() -> None:
    assert request_ids.cancel_by_client() == "cancel@client"
    assert request_ids.cancel_by_pool() == "cancel@pool"
    assert request_ids.of_launcher("rack/alpha#0d5c7a1e-0000-4000-8000-000000000001", "r-1") == "rack/alpha@r-1"
    assert request_ids.of_launcher("rack/*", "r-1") == "rack/*@r-1"
    assert request_ids.renew(3) == "renew@3"
    assert request_ids.worker_started(3) == "started@3"
    assert request_ids.worker_report("failed", 3, "{}") == (
        "failed@3@44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    )
    assert request_ids.register_agent(3, "agent-1") == "register@3@agent-1"
    assert request_ids.agent_lost(3, "agent-1") == "agent-lost@3@agent-1"
    assert request_ids.pool_key(ORDER) == f"pool\n{ORDER}"
    assert request_ids.late_worker_key(ORDER) == f"late\n{ORDER}"
    assert request_ids.requeue_key(ORDER) == f"requeue\n{ORDER}"
    assert request_ids.requeued_order(ORDER) == "8d50d720-2506-549b-8c99-0dc97da74804"
    assert request_ids.order_of_lapsed_claim(ORDER, "rack/*", 1) == "27b27e9f-368d-5bf8-910f-6edbe6f8ed6a"
