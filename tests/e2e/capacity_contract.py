"""What the capacity contract fixes (routes, messages, fields), and one section's conversation about it."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from emulators.fakes.tdx_quote import TdxQuote
from emulators.fakes.trust_authority import LocalTrustAuthority
from functions.domain.access import Role, digest
from functions.domain.order import LAPSE_MARGIN
from tests.e2e.capacity_transcript import A_TIME, AN_ID, SOMETHING, Json, Like, Transcript

ADMIN: Final = "ly_the-operators-own-key"
SECRET: Final = "a callback secret of tests, of 32 characters or more"
ITA_KEY: Final = "the control plane's own key for the trust authority"
TRUSTED: Final = TdxQuote(b"\xaa" * 48)
PASSWORD: Final = "an operator's password"
ENVIRONMENT: Final = {
    "LAUNCHYARD_BACKEND": "memory",
    "LAUNCHYARD_BUCKET": "s3://outputs",
    "LAUNCHYARD_URL": "http://127.0.0.1:8080",
    "LAUNCHYARD_CALLBACK_SECRET": SECRET,
    "LAUNCHYARD_KEYS": json.dumps([{"digest": digest(ADMIN), "role": Role.ADMIN, "account": "operators"}]),
    "LAUNCHYARD_ADMIN_PASSWORD": PASSWORD,
    "CAPACITY_ORDER_CLAIM_TTL_SECONDS": "1",  # the control plane makes that 30, its minimum
    "LAUNCHYARD_ITA_API_KEY": ITA_KEY,
    "LAUNCHYARD_TRUSTED_MRTDS": json.dumps([{"mrtd": TRUSTED.mrtd.hex(), "type": "agent"}]),
}
CLAIM_SECONDS: Final = 30 + LAPSE_MARGIN.total_seconds() + 1
"""A claim has expired after that."""
RACK: Final = "baremetal:rack-7"
NO_ID: Final = "4a0e1ae5-5b0d-4c86-9a6c-6f5d3d0c3a10"
WRONG_SIZE: Final = "Invalid node_size. Expected one of: tiny, standard, llm"
KEY: Final = Like(r"ee_live_[A-Za-z0-9_-]{32}")
ACCOUNTS: Final = "/api/v1/accounts"
ACCOUNT: Final = "/api/v1/accounts/{account_id}"
CLAIM: Final = "/api/v1/launchers/capacity/orders/claim"
ORDER: Final = "/api/v1/launchers/capacity/orders/{order_id}"
ROTATE: Final = "/api/v1/accounts/{account_id}/api-key/rotate"
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
    *(f"POST {ACCOUNTS}", f"GET {ACCOUNTS}", f"GET {ACCOUNT}", f"DELETE {ACCOUNT}", f"POST {ROTATE}"),
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
    WRONG_SIZE,
    "invalid order status",
    "Capacity launch order not found",
    "Invalid launch order status filter",
    "Cannot access other account orders",
    "Invalid bootstrap token",
}
"""The messages that the contract has in code font, except two: those are not errors of a route, or end differently."""
FIELDS: Final = {
    *("order_id", "datacenter", "node_size", "status", "reason", "requested_count", "account_id"),
    *("claimed_by_account_id", "claim_expires_at", "claimed_at", "fulfilled_at", "vm_name", "error"),
    *("created_at", "updated_at"),
}


class Contract:
    """A control plane of one section's own, and what every section asks of it."""

    def __init__(self, transcript: Transcript, authority: LocalTrustAuthority, clock: Path) -> None:
        self.transcript, self.ask = transcript, transcript.ask
        self._authority, self._clock = authority, clock

    def put_clock_forward(self, seconds: float) -> None:
        self._clock.write_text(f"{seconds}")

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

    def session(self) -> str:
        """Log in as an operator, and return the session's token."""
        opened = self.ask("POST", "/admin/login", 200, body={"password": PASSWORD})
        assert opened == {"token": SOMETHING, "expires_at": A_TIME}
        until = datetime.fromisoformat(opened["expires_at"]) - datetime.now(UTC)
        assert timedelta(hours=23, minutes=58) < until <= timedelta(hours=24)
        return str(opened["token"])

    def set_target(self, session: str, datacenter: str, count: int) -> None:
        """Set the target of a pool of tiny machines, and create its orders."""
        target = {
            "datacenter": datacenter,
            "node_size": "tiny",
            "min_warm_count": count,
            "dispatch": True,
            "require_verified": False,
            "require_hostname": False,
        }
        self.ask("PUT", TARGETS, 200, {"min_warm_count": count, "dispatch": True}, key=session, body=target)
        self.ask("POST", RECONCILE, 200, {"total_shortfall": count}, key=session, body={"dispatch": True})

    def claim(self, key: str, **filters: str) -> Json:
        """Claim an order that there is, and return it."""
        order: Json = self.ask("POST", CLAIM, 200, {"claimed": True}, key=key, body=filters)["order"]
        return order

    def report(self, key: str, order: Json, code: int, answer: object, **report: str) -> None:
        self.ask("POST", ORDER, code, answer, key=key, body=report, order_id=order["order_id"])

    def challenge(self, vm_name: str) -> str:
        given = self.ask("GET", f"{CHALLENGE}?vm_name={vm_name}", 200)
        assert given == {"nonce": Like("[0-9a-f]{32}"), "ttl_seconds": 300, "issued_at": A_TIME}
        return str(given["nonce"])

    def evidence(self, quote: TdxQuote, tcb_status: str = "UpToDate") -> Json:
        token = self._authority.appraise(quote, attester_tcb_status=tcb_status)
        quote_b64 = base64.b64encode(quote.pack()).decode()
        return {"attestation": {"tdx": {"quote_b64": quote_b64, "measurements": {}, "intel_ta_token": token}}}

    def register(self, status: int, body: Json) -> Json:
        return self.ask("POST", REGISTER, status, body=body)


# --- 1 ---
