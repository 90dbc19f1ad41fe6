"""The capacity contract, section by section, over real HTTP: every route, field, default, status and message it names."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from emulators.parts import start_functions
from emulators.processes import LOOPBACK, free_port, stop
from functions.capacity.sessions import Sessions
from shared.domain.access import Role, digest
from tests.e2e.capacity_transcript import A_TIME, AN_ID, SOMETHING, Json, Like, Transcript

ADMIN: Final = "ly_the-operators-own-key"
SECRET: Final = "a callback secret of tests, of 32 characters or more"
PASSWORD: Final = "an operator's password"
ENVIRONMENT: Final = {
    "LAUNCHYARD_BACKEND": "memory",
    "LAUNCHYARD_BUCKET": "s3://outputs",
    "LAUNCHYARD_CALLBACK_SECRET": SECRET,
    "LAUNCHYARD_KEYS": json.dumps([{"digest": digest(ADMIN), "role": Role.ADMIN, "account": "operators"}]),
    "LAUNCHYARD_ADMIN_PASSWORD": PASSWORD,
    "CAPACITY_ORDER_CLAIM_TTL_SECONDS": "1",  # which is never under 30
}
EXPIRY_SECONDS: Final = 90.0
KEY: Final = Like(r"ee_live_[A-Za-z0-9_-]{32}")
ACCOUNTS: Final = "/api/v1/accounts"
ACCOUNT: Final = "/api/v1/accounts/{account_id}"
CLAIM: Final = "/api/v1/launchers/capacity/orders/claim"
ORDER: Final = "/api/v1/launchers/capacity/orders/{order_id}"
OWN_ORDERS: Final = "/api/v1/accounts/{account_id}/capacity/orders"
REQUEST: Final = "/api/v1/accounts/{account_id}/capacity/request"
ALL_ORDERS: Final = "/api/v1/admin/agents/capacity/orders"
TARGETS: Final = "/api/v1/admin/agents/capacity/targets"
RECONCILE: Final = "/api/v1/admin/agents/capacity/reconcile"
FIELDS: Final = {
    *("order_id", "datacenter", "node_size", "status", "reason", "requested_count", "account_id"),
    *("claimed_by_account_id", "claim_expires_at", "claimed_at", "fulfilled_at", "vm_name", "error"),
    *("created_at", "updated_at"),
}


class Contract:
    """One run through the contract. The accounts that it makes are used from section to section."""

    def __init__(self, base: str) -> None:
        self.said = Transcript(base)
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
            ("Bearer one two", SOMETHING, SOMETHING),  # type: ignore[list-item]
            ("Bearer nobodys", "Invalid API key", "Invalid session token"),
        ):
            headers = {} if header is None else {"Authorization": header}
            self.ask("POST", CLAIM, 401, key_word, body={}, headers=headers)
            self.ask("GET", ALL_ORDERS, 401, token_word, headers=headers)
        over = Sessions(SECRET, PASSWORD).open(PASSWORD, datetime.now(UTC) - timedelta(hours=25))[0]
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
        other = self.account("rack-8", "launcher")["api_key"]
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
            self.ask("POST", CLAIM, 200, key=self.buyer_claims, body={"datacenter": "gcp:nowhere"})
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


@pytest.fixture
def contract(tmp_path: Path) -> Iterator[Contract]:
    port = free_port()
    with ExitStack() as cleanup:
        cleanup.callback(stop, start_functions(port, tmp_path, ENVIRONMENT))
        yield Contract(f"http://{LOOPBACK}:{port}")


def test_the_contract_is_kept_section_by_section(contract: Contract) -> None:
    contract.conventions()
    contract.accounts()
    contract.orders()
    contract.lists()
    contract.expiry()
