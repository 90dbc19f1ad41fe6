"""The capacity contract, section by section, over real HTTP: every route, field, default, status and message."""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from emulators.parts import start_functions
from emulators.processes import LOOPBACK, free_port, stop
from emulators.serving import serving
from emulators.tdx_quote import TdxQuote
from emulators.trust_authority import LocalTrustAuthority
from functions.domain.access import Role, digest
from functions.engine.sessions import Sessions
from tests.e2e.capacity_transcript import A_TIME, AN_ID, SOMETHING, Json, Like, Transcript

ADMIN: Final = "ly_the-operators-own-key"
SECRET: Final = "a callback secret of tests, of 32 characters or more"
ITA_KEY: Final = "the control plane's own key for the trust authority"
GENUINE: Final = TdxQuote(b"\xaa" * 48)
PASSWORD: Final = "an operator's password"
ENVIRONMENT: Final = {
    "LAUNCHYARD_BACKEND": "memory",
    "LAUNCHYARD_BUCKET": "s3://outputs",
    "LAUNCHYARD_CALLBACK_SECRET": SECRET,
    "LAUNCHYARD_KEYS": json.dumps([{"digest": digest(ADMIN), "role": Role.ADMIN, "account": "operators"}]),
    "LAUNCHYARD_ADMIN_PASSWORD": PASSWORD,
    "CAPACITY_ORDER_CLAIM_TTL_SECONDS": "1",  # which is never under 30
    "LAUNCHYARD_ITA_API_KEY": ITA_KEY,
    "LAUNCHYARD_TRUSTED_MRTDS": json.dumps([{"mrtd": GENUINE.mrtd.hex(), "type": "agent"}]),
}
EXPIRY_SECONDS: Final = 600.0
KEY: Final = Like(r"ee_live_[A-Za-z0-9_-]{32}")
ACCOUNTS: Final = "/api/v1/accounts"
ACCOUNT: Final = "/api/v1/accounts/{account_id}"
CLAIM: Final = "/api/v1/launchers/capacity/orders/claim"
ORDER: Final = "/api/v1/launchers/capacity/orders/{order_id}"
OWN_ORDERS: Final = "/api/v1/accounts/{account_id}/capacity/orders"
REQUEST: Final = "/api/v1/accounts/{account_id}/capacity/request"
CHALLENGE: Final = "/api/v1/agents/challenge"
REGISTER: Final = "/api/v1/agents/register"
HEARTBEAT: Final = "/api/v1/agents/{agent_id}/heartbeat"
AGENTS: Final = "/api/v1/agents"
AGENT: Final = "/api/v1/agents/{agent_id}"
ALL_ORDERS: Final = "/api/v1/admin/agents/capacity/orders"
TARGETS: Final = "/api/v1/admin/agents/capacity/targets"
RECONCILE: Final = "/api/v1/admin/agents/capacity/reconcile"
ROUTES: Final = {
    *(f"POST {ACCOUNTS}", f"GET {ACCOUNTS}", f"GET {ACCOUNT}", f"DELETE {ACCOUNT}", f"POST {ACCOUNT}/api-key/rotate"),
    *("POST /admin/login", f"POST {CLAIM}", f"POST {ORDER}", f"GET {ALL_ORDERS}", f"GET {OWN_ORDERS}"),
    *(f"GET {CHALLENGE}", f"POST {REGISTER}", f"POST {HEARTBEAT}", f"GET {AGENTS}", f"DELETE {AGENT}"),
    *(f"POST {REQUEST}", f"PUT {TARGETS}", f"GET {TARGETS}", f"DELETE {TARGETS}", f"POST {RECONCILE}"),
}
MESSAGES: Final = {
    "Missing Authorization header",
    "Invalid Authorization header format. Expected: Bearer <api_key>",
    "Invalid Authorization header format. Expected: Bearer <token>",
    "Invalid API key",
    "Invalid session token",
    "Session expired",
    "Account name is required",
    "Account 'rack-7' already exists",
    "Launcher API key required",
    "Invalid node_size. Expected one of: tiny, standard, llm",
    "invalid order status",
    "Capacity launch order not found",
    "Invalid launch order status filter",
    "Cannot access other account orders",
    "Invalid bootstrap token",
}
"""Those in code font; two more are not errors of a route, or have an ending of their own."""
FIELDS: Final = {
    *("order_id", "datacenter", "node_size", "status", "reason", "requested_count", "account_id"),
    *("claimed_by_account_id", "claim_expires_at", "claimed_at", "fulfilled_at", "vm_name", "error"),
    *("created_at", "updated_at"),
}


class Contract:
    """One run through the contract. The accounts that it makes are used from section to section."""

    def __init__(self, base: str, authority: LocalTrustAuthority) -> None:
        self.said, self.authority = Transcript(base), authority
        self.ask = self.said.ask
        self.session = ""

    def post_order(self, **filters: str) -> Json:
        """Claim, and return what was claimed."""
        claimed = self.ask("POST", CLAIM, 200, {"claimed": True}, key=self.rack_key, body=filters)
        order: Json = claimed["order"]
        return order

    # --- 1 ---

    def conventions(self) -> None:
        self.said.section("1. Conventions")
        for header, key_word, token_word in (
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
            self.ask("POST", CLAIM, 401, key_word, body={}, headers=headers)
            self.ask("GET", ALL_ORDERS, 401, token_word, headers=headers)
        yesterday = Sessions(SECRET, PASSWORD, clock=lambda: datetime.now(UTC) - timedelta(hours=25))
        over = yesterday.open(PASSWORD)[0]
        self.ask("GET", ALL_ORDERS, 401, "Session expired", key=over)
        self.ask("GET", "/api/v1/nothing", 404, "Not Found")

    # --- 2 ---

    def accounts(self) -> None:
        self.said.section("2. Accounts and API keys")
        for body, field in (({"account_type": "deployer"}, "name"), ({"name": "x"}, "account_type")):
            wrong = self.ask("POST", ACCOUNTS, 422, key=ADMIN, body=body)["detail"]
            assert [(one["type"], one["loc"], one["msg"]) for one in wrong] == [
                ("missing", ["body", field], "Field required")
            ]
        self.ask("POST", ACCOUNTS, 400, SOMETHING, key=ADMIN, body={"name": "x", "account_type": "king"})
        empty = {"name": " ", "account_type": "launcher"}
        self.ask("POST", ACCOUNTS, 400, "Account name is required", key=ADMIN, body=empty)

        rack = self.account("rack-7", "launcher")
        self.rack, self.rack_key = rack["account_id"], rack["api_key"]
        again = {"name": "rack-7", "account_type": "deployer"}
        self.ask("POST", ACCOUNTS, 409, "Account 'rack-7' already exists", key=ADMIN, body=again)
        buyer = self.account("buyer", "deployer")
        self.buyer, self.buyer_key = buyer["account_id"], buyer["api_key"]
        for account_type in ("agent", "contributor"):
            other = self.account(f"an-{account_type}", account_type)
            self.ask("POST", CLAIM, 403, "Launcher API key required", key=other["api_key"], body={})

        own = self.ask("GET", ACCOUNT, 200, key=self.rack_key, account_id=self.rack)
        assert own == {
            **{name: rack[name] for name in ("account_id", "name", "description", "account_type", "created_at")},
            "balance": 0.0,
            "github_login": None,
            "github_org": None,
        }
        for method, route in (("GET", ACCOUNT), ("POST", f"{ACCOUNT}/api-key/rotate"), ("DELETE", ACCOUNT)):
            refused = self.ask(method, route, 403, key=self.buyer_key, account_id=self.rack)
            assert refused["detail"].startswith("Cannot ")
            assert refused["detail"].endswith(" other accounts")
        self.rotation(rack)
        gone = self.account("gone", "contributor")
        answer = {"status": "deleted", "account_id": gone["account_id"]}
        self.ask("DELETE", ACCOUNT, 200, answer, key=gone["api_key"], account_id=gone["account_id"])
        self.ask("GET", ACCOUNT, 401, "Invalid API key", key=gone["api_key"], account_id=gone["account_id"])
        self.login()
        listed = self.ask("GET", f"{ACCOUNTS}?name=rack-7&account_type=launcher", 200, {"total": 1}, key=self.session)
        assert [account["account_id"] for account in listed["accounts"]] == [self.rack]
        self.ask("GET", f"{ACCOUNTS}?account_type=agent", 200, {"total": 1}, key=self.session)

    def account(self, name: str, account_type: str) -> Json:
        body = {"name": name, "account_type": account_type, "a field of tomorrow": 1}
        account = self.ask("POST", ACCOUNTS, 200, key=ADMIN, body=body)
        assert account == {
            "account_id": AN_ID,
            "name": name,
            "description": "",
            "account_type": account_type,
            "balance": 0.0,
            "created_at": A_TIME,
            "api_key": KEY,
            "warning": SOMETHING,
        }
        return account

    def rotation(self, rack: Json) -> None:
        rotated = self.ask("POST", f"{ACCOUNT}/api-key/rotate", 200, key=self.rack_key, account_id=self.rack)
        assert rotated == {"account_id": self.rack, "api_key": KEY, "rotated_at": A_TIME, "warning": SOMETHING}
        self.ask("POST", CLAIM, 401, "Invalid API key", key=rack["api_key"], body={})
        self.rack_key = rotated["api_key"]

    def login(self) -> None:
        self.ask("POST", "/admin/login", 401, SOMETHING, body={"password": "wrong"})
        opened = self.ask("POST", "/admin/login", 200, body={"password": PASSWORD})
        assert opened == {"token": SOMETHING, "expires_at": A_TIME}
        until = datetime.fromisoformat(opened["expires_at"]) - datetime.now(UTC)
        assert timedelta(hours=23, minutes=58) < until <= timedelta(hours=24)
        self.session = opened["token"]

    # --- 3 and 4 ---

    def orders(self) -> None:
        self.said.section("3. The order; 4. Launcher routes")
        self.ask("POST", CLAIM, 200, {"claimed": False, "order": None}, key=self.rack_key, body={})
        self.ask(
            "POST",
            CLAIM,
            422,
            Like("Invalid datacenter. Expected '<cloud>:<zone>'.*"),
            key=self.rack_key,
            body={"datacenter": "!"},
        )
        size = "Invalid node_size. Expected one of: tiny, standard, llm"
        self.ask("POST", CLAIM, 422, size, key=self.rack_key, body={"node_size": "huge"})
        self.targets_make_orders("baremetal:rack-7", "tiny", 3)
        open_ = self.ask("GET", f"{ALL_ORDERS}?status=open", 200, {"total": 3}, key=self.session)["orders"]
        assert all(set(order) == FIELDS for order in open_)
        self.expiring = self.post_order(datacenter="", node_size="tiny")
        assert self.expiring == {
            **open_[0],
            "status": "claimed",
            "claimed_by_account_id": self.rack,
            "claim_expires_at": A_TIME,
            "claimed_at": A_TIME,
            "updated_at": A_TIME,
        }
        self.begun = time.monotonic()
        self.fulfilment()
        self.failure()
        self.unheld()

    def targets_make_orders(self, datacenter: str, node_size: str, count: int) -> None:
        target = {
            "datacenter": datacenter,
            "node_size": node_size,
            "min_warm_count": count,
            "dispatch": True,
            "require_verified": False,
            "require_hostname": False,
        }
        self.ask("PUT", TARGETS, 200, {"min_warm_count": count, "dispatch": True}, key=self.session, body=target)
        self.ask("POST", RECONCILE, 200, {"total_shortfall": count}, key=self.session, body={"dispatch": True})

    def fulfilment(self) -> None:
        order = self.post_order(datacenter="on-prem:rack-7")
        path = {"key": self.rack_key, "order_id": order["order_id"]}
        self.ask("POST", ORDER, 422, "invalid order status", body={"status": "open"}, **path)
        missing = self.ask("POST", ORDER, 422, body={}, **path)["detail"]
        assert [(one["type"], one["loc"]) for one in missing] == [("missing", ["body", "status"])]
        self.ask(
            "POST",
            ORDER,
            200,
            {"status": "claimed", "vm_name": "vm"},
            body={"status": "claimed", "vm_name": "vm"},
            **path,
        )
        cleared = {"status": "provisioning", "vm_name": None, "claim_expires_at": A_TIME}
        self.ask("POST", ORDER, 200, cleared, body={"status": "provisioning", "vm_name": ""}, **path)
        done = {"status": "fulfilled", "vm_name": "tdvirsh-1", "claim_expires_at": None, "fulfilled_at": A_TIME}
        for _ in range(2):
            self.ask("POST", ORDER, 200, done, body={"status": "fulfilled", "vm_name": "tdvirsh-1"}, **path)
        self.ask("POST", ORDER, 409, SOMETHING, body={"status": "failed"}, **path)

    def failure(self) -> None:
        order = self.post_order()
        path = {"key": self.rack_key, "order_id": order["order_id"]}
        failed = {"status": "failed", "error": "no", "claim_expires_at": None, "fulfilled_at": A_TIME}
        for _ in range(2):
            self.ask("POST", ORDER, 200, failed, body={"status": "failed", "error": "no"}, **path)

    def unheld(self) -> None:
        self.other_key = other = self.account("rack-8", "launcher")["api_key"]
        nobody = "4a0e1ae5-5b0d-4c86-9a6c-6f5d3d0c3a10"
        for order_id in (nobody, self.expiring["order_id"]):
            gone = "Capacity launch order not found"
            self.ask("POST", ORDER, 404, gone, key=other, body={"status": "provisioning"}, order_id=order_id)

    def expiry(self) -> None:
        self.said.section("3. again: a claim expires")
        order_id = self.expiring["order_id"]
        while True:
            open_ = self.ask("GET", f"{ALL_ORDERS}?status=open", 200, key=self.session)["orders"]
            expired = [order for order in open_ if order["order_id"] == order_id]
            if expired:
                break
            assert time.monotonic() - self.begun < EXPIRY_SECONDS
            self.ask("POST", CLAIM, 200, key=self.other_key, body={"datacenter": "gcp:nowhere"})
            time.sleep(1)
        assert time.monotonic() - self.begun > 30
        (order,) = expired
        empty = ("claimed_by_account_id", "claim_expires_at", "claimed_at", "vm_name")
        assert [order[name] for name in empty] == [None] * 4
        assert order["error"] == "claim expired and was re-queued"

    # --- 5 ---

    def lists(self) -> None:
        self.said.section("5. Listing and creating")
        for query, statuses in (
            ("", ["claimed", "fulfilled", "failed"]),
            ("?status=%20FAILED", ["failed"]),
            ("?datacenter=BareMetal:rack-7%20&node_size=tiny&status=fulfilled", ["fulfilled"]),
            ("?datacenter=onprem:rack-7", []),
        ):
            listed = self.ask("GET", f"{ALL_ORDERS}{query}", 200, {"total": len(statuses)}, key=self.session)
            assert [order["status"] for order in listed["orders"]] == statuses
        self.ask("GET", f"{ALL_ORDERS}?status=queued", 422, "Invalid launch order status filter", key=self.session)
        theirs = "Cannot access other account orders"
        self.ask("GET", OWN_ORDERS, 403, theirs, key=self.rack_key, account_id=self.buyer)
        self.ask("GET", OWN_ORDERS, 200, {"orders": [], "total": 0}, key=self.buyer_key, account_id=self.buyer)

    def targets(self) -> None:
        self.said.section("5. Pool targets and reconciliation")
        wrong = self.ask("PUT", TARGETS, 422, key=self.session, body={"node_size": "tiny"})["detail"]
        assert [(one["type"], one["loc"]) for one in wrong] == [("missing", ["body", "datacenter"])]
        size = "Invalid node_size. Expected one of: tiny, standard, llm"
        self.ask("PUT", TARGETS, 422, size, key=self.session, body={"datacenter": "gcp:a", "node_size": ""})
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
        place = {"datacenter": "google:us-central1-a", "node_size": "Standard"}
        self.ask("PUT", TARGETS, 200, defaults, key=self.session, body=place)
        listed = self.ask("GET", TARGETS, 200, {"total": 2}, key=self.session)["targets"]
        assert [target["datacenter"] for target in listed] == ["baremetal:rack-7", "gcp:us-central1-a"]
        wanted = {"datacenter": "gcp:us-central1-a", "node_size": "standard", "min_count": 2}
        found = {**wanted, "eligible_count": 0, "shortfall": 2, "eligible_agent_ids": []}
        looked = self.ask("POST", RECONCILE, 200, key=self.session, body={"targets": [wanted]})
        assert (looked["eligible"], looked["total_shortfall"], looked["dispatches"]) == (False, 2, [])
        assert looked["targets"][0].items() >= found.items()
        for _ in range(2):  # it is ordered once
            done = self.ask("POST", RECONCILE, 200, key=self.session, body={"targets": [wanted], "dispatch": True})
            (dispatched,) = done["dispatches"]
            assert (dispatched["status_code"], dispatched["requested_count"], dispatched["dispatched"]) == (
                202,
                2,
                True,
            )
        ordered = f"{ALL_ORDERS}?datacenter=gcp:us-central1-a&status=open"
        self.ask("GET", ordered, 200, {"total": 2}, key=self.session)
        gone = {"status": "deleted", "released": 2}
        self.ask("DELETE", f"{TARGETS}?datacenter=gcp:us-central1-a&node_size=standard", 200, gone, key=self.session)
        self.ask("DELETE", f"{TARGETS}?datacenter=gcp:us-central1-a&node_size=llm", 404, SOMETHING, key=self.session)
        self.ask("GET", ordered, 200, {"total": 0}, key=self.session)
        self.ask("GET", TARGETS, 200, {"total": 1}, key=self.session)

    def purchase(self) -> None:
        self.said.section("5. Capacity for an account")
        place = {"datacenter": "gcp:europe-west4-a"}
        path = {"account_id": self.buyer}
        self.ask("POST", REQUEST, 403, SOMETHING, key=self.rack_key, body=place, account_id=self.rack)
        self.ask("POST", REQUEST, 422, key=self.buyer_key, body={}, **path)
        for wrong in ({"min_warm_count": 0}, {"months": 0}):
            self.ask("POST", REQUEST, 422, key=self.buyer_key, body={**place, **wrong}, **path)
        bought = self.ask("POST", REQUEST, 200, key=self.buyer_key, body=place, **path)
        assert bought["request_id"] == Like("capacity-[0-9a-f]{16}")
        assert (bought["charged_amount_usd"], bought["balance_after"]) == (25.0, 0.0)
        assert bought["transaction_id"]
        assert (bought["target"]["min_warm_count"], bought["target"]["node_size"]) == (1, "tiny")
        assert bought["target"]["reason"] == "capacity-purchase"
        assert (bought["capacity"]["total_shortfall"], bought["capacity"]["dispatches"][0]["status_code"]) == (1, 202)
        more = {**place, "node_size": "tiny", "min_warm_count": 3, "months": 2, "reason": "peak"}
        again = self.ask("POST", REQUEST, 200, {"charged_amount_usd": 150.0}, key=self.buyer_key, body=more, **path)
        assert again["target"]["min_warm_count"] == 3
        own = self.ask("GET", OWN_ORDERS, 200, {"total": 3}, key=self.buyer_key, **path)["orders"]
        assert {order["account_id"] for order in own} == {self.buyer}
        self.ask("GET", f"{OWN_ORDERS}?status=fulfilled", 200, {"total": 0}, key=self.buyer_key, **path)

    # --- 9 ---

    def agents(self) -> None:
        self.said.section("9. Attestation challenge and registration")
        for query, status in (("", 422), ("?vm_name=", 400)):
            self.ask("GET", f"{CHALLENGE}{query}", status)
        first = self.challenge("tdx-agent-1")
        nonce = self.challenge("tdx-agent-1")
        assert nonce != first
        place = {"vm_name": "tdx-agent-1", "node_size": "tiny", "datacenter": "baremetal:rack-7"}
        for missing in ("attestation", *place):
            self.register(400, {**self.evidence(GENUINE), **place, missing: ""})
        strange = TdxQuote(b"\xbb" * 48)
        overtaken = replace(GENUINE, report_data=bytes.fromhex(first))
        for refused in (strange, overtaken, replace(GENUINE, debuggable=True)):
            self.register(403, {**self.evidence(refused), **place})
        self.register(403, {**self.evidence(GENUINE, tcb_status="OutOfDate"), **place})
        met = {**self.evidence(replace(GENUINE, report_data=bytes.fromhex(nonce))), **place, "version": "1.0.0"}
        agent = self.register(200, met)
        assert agent == {"agent_id": AN_ID, "poll_interval": 30, "tunnel_token": None, "hostname": None}
        assert self.register(200, {**self.evidence(GENUINE), **place}) == agent
        self.register(409, {**self.evidence(GENUINE), **place, "node_size": "llm"})
        beat = {**self.evidence(GENUINE), "vm_name": "tdx-agent-1", "status": "deployed", "deployment_id": "d-1"}
        self.ask("POST", HEARTBEAT, 200, body=beat, agent_id=agent["agent_id"])
        self.ask("POST", HEARTBEAT, 404, SOMETHING, body=beat, agent_id="4a0e1ae5-5b0d-4c86-9a6c-6f5d3d0c3a10")
        listed = self.ask("GET", f"{AGENTS}?vm_name=agent-1", 200, {"total": 1}, key=self.session)["agents"]
        assert (listed[0]["agent_id"], listed[0]["status"]) == (agent["agent_id"], "deployed")
        self.ask("DELETE", AGENT, 200, key=self.session, agent_id=agent["agent_id"])
        self.ask("GET", AGENTS, 200, {"total": 0}, key=self.session)

    def attested(self) -> None:
        self.said.section("9. Where attestation is required, the guest's registration fulfils")
        target = {
            "datacenter": "baremetal:rack-9",
            "node_size": "tiny",
            "min_warm_count": 1,
            "dispatch": True,
            "attestation": "required",
        }
        self.ask("PUT", TARGETS, 200, key=self.session, body=target)
        self.ask("POST", RECONCILE, 200, key=self.session, body={"dispatch": True})
        claimed = self.ask("POST", CLAIM, 200, key=self.rack_key, body={"datacenter": "baremetal:rack-9"})
        order_id, token = claimed["order"]["order_id"], claimed["bootstrap_token"]
        assert token == Like(r"[A-Za-z0-9_-]{43}")
        word = {"status": "fulfilled", "vm_name": "tdvirsh-9"}
        self.ask("POST", ORDER, 200, {"status": "provisioning"}, key=self.rack_key, body=word, order_id=order_id)
        quote_only = {"attestation": {"tdx": {"quote_b64": base64.b64encode(GENUINE.pack()).decode()}}}
        guest = {**quote_only, "vm_name": "tdx-agent-9", "node_size": "tiny", "datacenter": "baremetal:rack-9"}
        self.register(400, guest)
        wrong = {**guest, "bootstrap_order_id": order_id, "bootstrap_token": "x" * 43}
        assert self.register(403, wrong)["detail"] == "Invalid bootstrap token"
        right = {**guest, "bootstrap_order_id": order_id, "bootstrap_token": token}
        agent = self.register(200, right)
        assert self.register(200, right) == agent
        again = self.register(403, {**right, "vm_name": "tdx-agent-10"})
        assert again["detail"] == "Invalid bootstrap token"
        fulfilled = self.ask("GET", f"{ALL_ORDERS}?datacenter=baremetal:rack-9", 200, {"total": 1}, key=self.session)
        assert fulfilled["orders"][0]["status"] == "fulfilled"
        tally = {"datacenter": "baremetal:rack-9", "node_size": "tiny", "min_count": 1}
        found = self.ask("POST", RECONCILE, 200, {"eligible": True}, key=self.session, body={"targets": [tally]})
        assert found["targets"][0]["eligible_agent_ids"] == [agent["agent_id"]]

    def challenge(self, vm_name: str) -> str:
        given = self.ask("GET", f"{CHALLENGE}?vm_name={vm_name}", 200)
        assert given == {"nonce": Like("[0-9a-f]{32}"), "ttl_seconds": 300, "issued_at": A_TIME}
        return str(given["nonce"])

    def evidence(self, quote: TdxQuote, tcb_status: str = "UpToDate") -> Json:
        token = self.authority.appraise(quote, attester_tcb_status=tcb_status)
        quote_b64 = base64.b64encode(quote.pack()).decode()
        return {"attestation": {"tdx": {"quote_b64": quote_b64, "measurements": {}, "intel_ta_token": token}}}

    def register(self, status: int, body: Json) -> Json:
        return self.ask("POST", REGISTER, status, body=body)


@pytest.fixture
def contract(tmp_path: Path) -> Iterator[Contract]:
    port = free_port()
    authority = LocalTrustAuthority(lambda: datetime.now(UTC), ITA_KEY)
    with ExitStack() as cleanup:
        address = cleanup.enter_context(serving(authority))
        trusted = {"LAUNCHYARD_ITA_API": address, "LAUNCHYARD_ITA_CERTS": f"{address}/certs"}
        cleanup.callback(stop, start_functions(port, tmp_path, ENVIRONMENT | trusted))
        yield Contract(f"http://{LOOPBACK}:{port}", authority)


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"LAUNCHYARD_PASSWORD_LOGIN": "false"}, 403), ({"LAUNCHYARD_ADMIN_PASSWORD": ""}, 500)],
)
def test_operators_log_in_only_where_the_deployment_lets_them(
    tmp_path: Path, changes: dict[str, str], status: int
) -> None:
    port = free_port()
    server = start_functions(port, tmp_path, ENVIRONMENT | changes)
    try:
        said = Transcript(f"http://{LOOPBACK}:{port}")
        said.ask("POST", "/admin/login", status, SOMETHING, body={"password": PASSWORD})
    finally:
        stop(server)


def test_the_contract_is_kept_section_by_section(contract: Contract) -> None:
    contract.conventions()
    contract.accounts()
    contract.orders()
    contract.lists()
    contract.targets()
    contract.purchase()
    contract.agents()
    contract.attested()
    contract.expiry()

    assert contract.said.routes >= ROUTES
    assert contract.said.messages >= MESSAGES
