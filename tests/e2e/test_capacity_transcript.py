"""The capacity contract, section by section, over real HTTP: every route, field, default, status and message.

Each section has a control plane of its own, so it can be read, and run, alone.
"""

import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from emulators.fakes.tdx_quote import TdxQuote
from emulators.fakes.trust_authority import LocalTrustAuthority
from emulators.serving import serving
from functions.adapters.memory_records import MemoryRecords
from functions.engine.attestation import binding_of
from functions.engine.operator_sessions import Sessions
from shared.http_client import open_client
from tests.e2e.capacity_contract import (
    ACCOUNT,
    ACCOUNTS,
    ADMIN,
    AGENT,
    AGENTS,
    ALL_ORDERS,
    CHALLENGE,
    CLAIM,
    CLAIM_SECONDS,
    ENVIRONMENT,
    FIELDS,
    HEARTBEAT,
    ITA_KEY,
    KEY,
    MESSAGES,
    NO_ID,
    ORDER,
    OWN_ORDERS,
    PASSWORD,
    RACK,
    RECONCILE,
    REQUEST,
    ROTATE,
    ROUTES,
    SECRET,
    TARGETS,
    TRUSTED,
    WRONG_SIZE,
    Contract,
)
from tests.e2e.capacity_transcript import A_TIME, AN_ID, SOMETHING, Like, Transcript
from tests.harness.forked import forked_functions

AGENT_KEY: Final = b"the public key that the agent in the machine made"


def conventions(contract: Contract) -> None:
    for header, key_message, token_message in (
        (None, "Missing Authorization header", "Missing Authorization header"),
        (
            "Basic x",
            "Invalid Authorization header format. Expected: Bearer <api_key>",
            "Invalid Authorization header format. Expected: Bearer <token>",
        ),
        (
            "Bearer one two",
            "Invalid Authorization header format. Expected: Bearer <api_key>",
            "Invalid Authorization header format. Expected: Bearer <token>",
        ),
        ("Bearer nobodys", "Invalid API key", "Invalid session token"),
    ):
        headers = {} if header is None else {"Authorization": header}
        contract.ask("POST", CLAIM, 401, key_message, body={}, headers=headers)
        contract.ask("GET", ALL_ORDERS, 401, token_message, headers=headers)
    yesterday = Sessions(SECRET, PASSWORD, ends=MemoryRecords(), clock=lambda: datetime.now(UTC) - timedelta(hours=25))
    expired = yesterday.open(PASSWORD)[0]
    contract.ask("GET", ALL_ORDERS, 401, "Session expired", key=expired)
    contract.ask("GET", "/api/v1/nothing", 404, "Not Found")


# --- 2 ---


def creating_accounts(contract: Contract) -> None:
    for body, field in (({"account_type": "deployer"}, "name"), ({"name": "x"}, "account_type")):
        wrong = contract.ask("POST", ACCOUNTS, 422, key=ADMIN, body=body)["detail"]
        assert [(one["type"], one["loc"], one["msg"]) for one in wrong] == [
            ("missing", ["body", field], "Field required")
        ]
    contract.ask("POST", ACCOUNTS, 400, SOMETHING, key=ADMIN, body={"name": "x", "account_type": "king"})
    empty = {"name": " ", "account_type": "launcher"}
    contract.ask("POST", ACCOUNTS, 400, "Account name is required", key=ADMIN, body=empty)
    contract.account("rack-7", "launcher")
    again = {"name": "rack-7", "account_type": "deployer"}
    contract.ask("POST", ACCOUNTS, 409, "Account 'rack-7' already exists", key=ADMIN, body=again)
    for account_type in ("agent", "contributor", "deployer"):
        other = contract.account(f"an-{account_type}", account_type)
        contract.ask("POST", CLAIM, 403, "Launcher API key required", key=other["api_key"], body={})


def reading_accounts(contract: Contract) -> None:
    rack, buyer = contract.account("rack-7", "launcher"), contract.account("buyer", "deployer")
    own = contract.ask("GET", ACCOUNT, 200, key=rack["api_key"], account_id=rack["account_id"])
    assert own == {
        **{name: rack[name] for name in ("account_id", "name", "description", "account_type", "created_at")},
        "balance": 0.0,
        "github_login": None,
        "github_org": None,
    }
    for method, route in (("GET", ACCOUNT), ("POST", ROTATE), ("DELETE", ACCOUNT)):
        refused = contract.ask(method, route, 403, key=buyer["api_key"], account_id=rack["account_id"])
        assert refused["detail"].startswith("Cannot ")
        assert refused["detail"].endswith(" other accounts")
    contract.ask("POST", "/admin/login", 401, SOMETHING, body={"password": "wrong"})
    session = contract.session()
    listed = contract.ask("GET", f"{ACCOUNTS}?name=rack-7&account_type=launcher", 200, {"total": 1}, key=session)
    assert [account["account_id"] for account in listed["accounts"]] == [rack["account_id"]]
    contract.ask("GET", f"{ACCOUNTS}?account_type=deployer", 200, {"total": 1}, key=session)


def ending_keys_and_accounts(contract: Contract) -> None:
    rack = contract.account("rack-7", "launcher")
    rotated = contract.ask("POST", ROTATE, 200, key=rack["api_key"], account_id=rack["account_id"])
    assert rotated == {"account_id": rack["account_id"], "api_key": KEY, "rotated_at": A_TIME, "warning": SOMETHING}
    contract.ask("POST", CLAIM, 401, "Invalid API key", key=rack["api_key"], body={})
    contract.ask("POST", CLAIM, 200, {"claimed": False}, key=rotated["api_key"], body={})
    gone = contract.account("gone", "contributor")
    path = {"key": gone["api_key"], "account_id": gone["account_id"]}
    contract.ask("DELETE", ACCOUNT, 200, {"status": "deleted", "account_id": gone["account_id"]}, **path)
    contract.ask("GET", ACCOUNT, 401, "Invalid API key", **path)


# --- 3 and 4 ---


def claiming(contract: Contract) -> None:
    session, rack = contract.session(), contract.account("rack-7", "launcher")
    key = rack["api_key"]
    contract.ask("POST", CLAIM, 200, {"claimed": False, "order": None}, key=key, body={})
    datacenter = Like("Invalid datacenter. Expected '<cloud>:<zone>'.*")
    contract.ask("POST", CLAIM, 422, datacenter, key=key, body={"datacenter": "!"})
    contract.ask("POST", CLAIM, 422, WRONG_SIZE, key=key, body={"node_size": "huge"})
    contract.set_target(session, RACK, 3)
    open_ = contract.ask("GET", f"{ALL_ORDERS}?status=open", 200, {"total": 3}, key=session)["orders"]
    assert all(set(order) == FIELDS for order in open_)
    assert contract.claim(key, datacenter="", node_size="tiny") == {
        **open_[0],
        "status": "claimed",
        "claimed_by_account_id": rack["account_id"],
        "claim_expires_at": A_TIME,
        "claimed_at": A_TIME,
        "updated_at": A_TIME,
    }


def reporting(contract: Contract) -> None:
    session, key = contract.session(), contract.account("rack-7", "launcher")["api_key"]
    contract.set_target(session, RACK, 2)
    order = contract.claim(key, datacenter="on-prem:rack-7")
    contract.report(key, order, 422, "invalid order status", status="open")
    missing = contract.ask("POST", ORDER, 422, key=key, body={}, order_id=order["order_id"])["detail"]
    assert [(one["type"], one["loc"]) for one in missing] == [("missing", ["body", "status"])]
    contract.report(key, order, 200, {"status": "claimed", "vm_name": "vm"}, status="claimed", vm_name="vm")
    cleared = {"status": "provisioning", "vm_name": None, "claim_expires_at": A_TIME}
    contract.report(key, order, 200, cleared, status="provisioning", vm_name="")
    done = {"status": "fulfilled", "vm_name": "tdvirsh-1", "claim_expires_at": None, "fulfilled_at": A_TIME}
    for _ in range(2):
        contract.report(key, order, 200, done, status="fulfilled", vm_name="tdvirsh-1")
    contract.report(key, order, 409, SOMETHING, status="failed")

    order = contract.claim(key)
    failed = {"status": "failed", "error": "no", "claim_expires_at": None, "fulfilled_at": A_TIME}
    for _ in range(2):
        contract.report(key, order, 200, failed, status="failed", error="no")


def reporting_an_order_that_another_holds(contract: Contract) -> None:
    session, key = contract.session(), contract.account("rack-7", "launcher")["api_key"]
    contract.set_target(session, RACK, 1)
    order, other = contract.claim(key), contract.account("rack-8", "launcher")["api_key"]
    for unheld in (order, {"order_id": NO_ID}):
        contract.report(other, unheld, 404, "Capacity launch order not found", status="provisioning")


def a_claim_that_expires(contract: Contract) -> None:
    session, key = contract.session(), contract.account("rack-7", "launcher")["api_key"]
    other = contract.account("rack-8", "launcher")["api_key"]
    contract.set_target(session, RACK, 1)
    claimed = contract.claim(key)
    elsewhere = {"datacenter": "gcp:nowhere"}
    contract.ask("POST", CLAIM, 200, {"claimed": False}, key=other, body=elsewhere)  # which re-queues what has expired
    contract.ask("GET", f"{ALL_ORDERS}?status=open", 200, {"total": 0}, key=session)

    contract.put_clock_forward(CLAIM_SECONDS)
    contract.ask("POST", CLAIM, 200, {"claimed": False}, key=other, body=elsewhere)

    (order,) = contract.ask("GET", f"{ALL_ORDERS}?status=open", 200, {"total": 1}, key=session)["orders"]
    assert order["order_id"] == claimed["order_id"]
    empty = ("claimed_by_account_id", "claim_expires_at", "claimed_at", "vm_name")
    assert [order[name] for name in empty] == [None] * 4
    assert order["error"] == "claim expired and was re-queued"


# --- 5 ---


def listing_orders(contract: Contract) -> None:
    session, rack = contract.session(), contract.account("rack-7", "launcher")
    buyer = contract.account("buyer", "deployer")
    key = rack["api_key"]
    contract.set_target(session, RACK, 3)
    contract.claim(key)
    contract.report(key, contract.claim(key), 200, None, status="fulfilled", vm_name="tdvirsh-1")
    contract.report(key, contract.claim(key), 200, None, status="failed", error="no")
    for query, statuses in (
        ("", ["claimed", "fulfilled", "failed"]),
        ("?status=%20FAILED", ["failed"]),
        ("?datacenter=BareMetal:rack-7%20&node_size=tiny&status=fulfilled", ["fulfilled"]),
        ("?datacenter=onprem:rack-7", []),
    ):
        listed = contract.ask("GET", f"{ALL_ORDERS}{query}", 200, {"total": len(statuses)}, key=session)
        assert [order["status"] for order in listed["orders"]] == statuses
    contract.ask("GET", f"{ALL_ORDERS}?status=queued", 422, "Invalid launch order status filter", key=session)
    others = "Cannot access other account orders"
    contract.ask("GET", OWN_ORDERS, 403, others, key=key, account_id=buyer["account_id"])
    none = {"orders": [], "total": 0}
    contract.ask("GET", OWN_ORDERS, 200, none, key=buyer["api_key"], account_id=buyer["account_id"])


def pool_targets(contract: Contract) -> None:
    session = contract.session()
    contract.set_target(session, RACK, 3)
    wrong = contract.ask("PUT", TARGETS, 422, key=session, body={"node_size": "tiny"})["detail"]
    assert [(one["type"], one["loc"]) for one in wrong] == [("missing", ["body", "datacenter"])]
    contract.ask("PUT", TARGETS, 422, WRONG_SIZE, key=session, body={"datacenter": "gcp:a", "node_size": ""})
    defaults = {
        "datacenter": "gcp:us-central1-a",
        "node_size": "standard",
        "min_warm_count": 0,
        "enabled": True,
        "require_verified": True,
        "require_healthy": True,
        "require_hostname": True,
        "dispatch": False,
        "reason": "capacity-pool-controller",
        "eligible_agents": 0,
        "open_reservations": 0,
        "shortfall": 0,
    }
    pool = {"datacenter": "google:us-central1-a", "node_size": "Standard"}
    contract.ask("PUT", TARGETS, 200, defaults, key=session, body=pool)
    listed = contract.ask("GET", TARGETS, 200, {"total": 2}, key=session)["targets"]
    assert [target["datacenter"] for target in listed] == [RACK, "gcp:us-central1-a"]


def reconciling(contract: Contract) -> None:
    session = contract.session()
    contract.ask("PUT", TARGETS, 200, key=session, body={"datacenter": "gcp:us-central1-a", "node_size": "standard"})
    target = {"datacenter": "gcp:us-central1-a", "node_size": "standard", "min_count": 2}
    found = {**target, "eligible_count": 0, "shortfall": 2, "eligible_agent_ids": []}
    looked = contract.ask("POST", RECONCILE, 200, key=session, body={"targets": [target]})
    assert (looked["eligible"], looked["total_shortfall"], looked["dispatches"]) == (False, 2, [])
    assert looked["targets"][0].items() >= found.items()
    for _ in range(2):  # the second request creates no further orders
        done = contract.ask("POST", RECONCILE, 200, key=session, body={"targets": [target], "dispatch": True})
        (dispatched,) = done["dispatches"]
        assert (dispatched["status_code"], dispatched["requested_count"], dispatched["dispatched"]) == (202, 2, True)
    ordered = f"{ALL_ORDERS}?datacenter=gcp:us-central1-a&status=open"
    contract.ask("GET", ordered, 200, {"total": 2}, key=session)
    gone = {"status": "deleted", "released": 2}
    contract.ask("DELETE", f"{TARGETS}?datacenter=gcp:us-central1-a&node_size=standard", 200, gone, key=session)
    contract.ask("DELETE", f"{TARGETS}?datacenter=gcp:us-central1-a&node_size=llm", 404, SOMETHING, key=session)
    contract.ask("GET", ordered, 200, {"total": 0}, key=session)
    contract.ask("GET", TARGETS, 200, {"total": 0}, key=session)


def capacity_for_an_account(contract: Contract) -> None:
    rack, buyer = contract.account("rack-7", "launcher"), contract.account("buyer", "deployer")
    where = {"datacenter": "gcp:europe-west4-a"}
    path = {"key": buyer["api_key"], "account_id": buyer["account_id"]}
    contract.ask("POST", REQUEST, 403, SOMETHING, key=rack["api_key"], body=where, account_id=rack["account_id"])
    contract.ask("POST", REQUEST, 422, body={}, **path)
    for wrong in ({"min_warm_count": 0}, {"months": 0}):
        contract.ask("POST", REQUEST, 422, body={**where, **wrong}, **path)
    bought = contract.ask("POST", REQUEST, 200, body=where, **path)
    assert bought["request_id"] == Like("capacity-[0-9a-f]{16}")
    assert (bought["charged_amount_usd"], bought["balance_after"]) == (25.0, 0.0)
    assert bought["transaction_id"]
    assert (bought["target"]["min_warm_count"], bought["target"]["node_size"]) == (1, "tiny")
    assert bought["target"]["reason"] == "capacity-purchase"
    assert (bought["capacity"]["total_shortfall"], bought["capacity"]["dispatches"][0]["status_code"]) == (1, 202)
    more = {**where, "node_size": "tiny", "min_warm_count": 3, "months": 2, "reason": "peak"}
    again = contract.ask("POST", REQUEST, 200, {"charged_amount_usd": 150.0}, body=more, **path)
    assert again["target"]["min_warm_count"] == 3
    own = contract.ask("GET", OWN_ORDERS, 200, {"total": 3}, **path)["orders"]
    assert {order["account_id"] for order in own} == {buyer["account_id"]}
    contract.ask("GET", f"{OWN_ORDERS}?status=fulfilled", 200, {"total": 0}, **path)


# --- 9 ---


def agents(contract: Contract) -> None:
    session = contract.session()
    for query, status in (("", 422), ("?vm_name=", 400)):
        contract.ask("GET", f"{CHALLENGE}{query}", status)
    first = contract.challenge("tdx-agent-1")
    nonce = contract.challenge("tdx-agent-1")
    assert nonce != first
    machine = {"vm_name": "tdx-agent-1", "node_size": "tiny", "datacenter": RACK}
    for missing in ("attestation", *machine):
        contract.register(400, {**contract.evidence(TRUSTED), **machine, missing: ""})
    unknown = TdxQuote(b"\xbb" * 48)
    others = replace(TRUSTED, report_data=bytes.fromhex(contract.challenge("tdx-agent-2")))
    for refused in (unknown, others, replace(TRUSTED, debuggable=True)):
        contract.register(403, {**contract.evidence(refused), **machine})
    contract.register(403, {**contract.evidence(TRUSTED, tcb_status="OutOfDate"), **machine})
    fresh = contract.evidence(replace(TRUSTED, report_data=bytes.fromhex(nonce)))
    agent = contract.register(200, {**fresh, **machine, "version": "1.0.0"})
    assert agent == {"agent_id": AN_ID, "poll_interval": 30, "tunnel_token": None, "hostname": None}
    assert contract.register(200, {**contract.evidence(TRUSTED), **machine}) == agent
    contract.register(409, {**contract.evidence(TRUSTED), **machine, "node_size": "llm"})
    beat = {**contract.evidence(TRUSTED), "vm_name": "tdx-agent-1", "status": "deployed", "deployment_id": "d-1"}
    contract.ask("POST", HEARTBEAT, 200, body=beat, agent_id=agent["agent_id"])
    contract.ask("POST", HEARTBEAT, 404, SOMETHING, body=beat, agent_id=NO_ID)
    listed = contract.ask("GET", f"{AGENTS}?vm_name=agent-1", 200, {"total": 1}, key=session)["agents"]
    assert (listed[0]["agent_id"], listed[0]["status"]) == (agent["agent_id"], "deployed")
    contract.ask("DELETE", AGENT, 200, key=session, agent_id=agent["agent_id"])
    contract.ask("GET", AGENTS, 200, {"total": 0}, key=session)


def an_order_that_requires_attestation(contract: Contract) -> None:
    """The registration of the guest's agent fulfils the order; the worker's report does not."""
    session, key = contract.session(), contract.account("rack-7", "launcher")["api_key"]
    pool = {"datacenter": RACK, "node_size": "tiny"}
    target = {**pool, "min_warm_count": 1, "dispatch": True, "attestation": "required"}
    contract.ask("PUT", TARGETS, 200, key=session, body=target)
    contract.ask("POST", RECONCILE, 200, key=session, body={"dispatch": True})
    claimed = contract.ask("POST", CLAIM, 200, key=key, body={"datacenter": RACK})
    token = claimed["bootstrap_token"]
    assert token == Like(r"[A-Za-z0-9_-]{43}")
    contract.report(key, claimed["order"], 200, {"status": "provisioning"}, status="fulfilled", vm_name="tdvirsh-9")
    report_data = bytes.fromhex(contract.challenge("tdx-agent-9") + binding_of(token, AGENT_KEY))
    quote = replace(TRUSTED, report_data=report_data)
    quote_only = {"attestation": {"tdx": {"quote_b64": base64.b64encode(quote.pack()).decode()}}}
    guest = {**quote_only, **pool, "vm_name": "tdx-agent-9"}
    contract.register(400, guest)
    keyless = {**guest, "bootstrap_order_id": claimed["order"]["order_id"], "bootstrap_token": token}
    contract.register(400, keyless)
    right = {**keyless, "agent_key": base64.b64encode(AGENT_KEY).decode()}
    wrong = contract.register(403, {**right, "bootstrap_token": "x" * 43})
    assert wrong["detail"] == "Invalid bootstrap token"
    agent = contract.register(200, right)
    assert contract.register(200, right) == agent
    another = contract.register(403, {**right, "vm_name": "tdx-agent-10"})
    assert another["detail"] == "Invalid bootstrap token"
    fulfilled = contract.ask("GET", f"{ALL_ORDERS}?datacenter={RACK}", 200, {"total": 1}, key=session)
    assert fulfilled["orders"][0]["status"] == "fulfilled"
    status = {"targets": [{**pool, "min_count": 1}]}
    found = contract.ask("POST", RECONCILE, 200, {"eligible": True}, key=session, body=status)
    assert found["targets"][0]["eligible_agent_ids"] == [agent["agent_id"]]


Section = Callable[[Contract], None]
SECTIONS: Final[Sequence[Section]] = (
    conventions,
    creating_accounts,
    reading_accounts,
    ending_keys_and_accounts,
    claiming,
    reporting,
    reporting_an_order_that_another_holds,
    a_claim_that_expires,
    listing_orders,
    pool_targets,
    reconciling,
    capacity_for_an_account,
    agents,
    an_order_that_requires_attestation,
)


@contextmanager
def serving_the_contract(logs: Path, **changes: str) -> Iterator[Contract]:
    """Serve a control plane of one's own, in a process of its own."""
    clock = logs / "clock"
    clock.write_text("0")
    authority = LocalTrustAuthority(lambda: datetime.now(UTC), ITA_KEY)
    with serving(authority) as address:
        variables = {**ENVIRONMENT, "LAUNCHYARD_ITA_API": address, "LAUNCHYARD_ITA_CERTS": f"{address}/certs"} | changes
        with (
            forked_functions(logs / "functions.log", variables, ["--clock", f"{clock}"]) as url,
            open_client(url, timeout=60) as http,
        ):
            yield Contract(Transcript(http), authority, clock)


@pytest.fixture(scope="module")
def transcript_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Section], Transcript]:
    """Goes through a section, once, and returns its transcript."""

    @cache
    def run(section: Section) -> Transcript:
        with serving_the_contract(tmp_path_factory.mktemp(section.__name__)) as contract:
            section(contract)
            return contract.transcript

    return run


@pytest.mark.parametrize("section", SECTIONS, ids=[section.__name__ for section in SECTIONS])
def test_each_section_of_the_contract_is_kept(section: Section, transcript_of: Callable[[Section], Transcript]) -> None:
    transcript_of(section)


def test_the_sections_use_every_route_and_see_every_message(
    transcript_of: Callable[[Section], Transcript],
) -> None:
    transcripts = [transcript_of(section) for section in SECTIONS]

    assert set().union(*(transcript.routes for transcript in transcripts)) >= ROUTES
    assert set().union(*(transcript.messages for transcript in transcripts)) >= MESSAGES


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"LAUNCHYARD_PASSWORD_LOGIN": "false"}, 403), ({"LAUNCHYARD_ADMIN_PASSWORD": ""}, 500)],
)
def test_operators_log_in_only_if_the_deployment_lets_them(
    tmp_path: Path, changes: dict[str, str], status: int
) -> None:
    with serving_the_contract(tmp_path, **changes) as contract:
        contract.ask("POST", "/admin/login", status, SOMETHING, body={"password": PASSWORD})
