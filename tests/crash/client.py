"""Clients and the scheduler, who repeat a request until it is answered."""

from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import httpx

from shared.domain.spec import AnySpec
from shared.wire.orders import LimitsRequest, OrderList, OrderRequest, OrderView
from tests.crash.waiting import await_value

NO_LIMITS: Final = LimitsRequest()
TIMEOUT: Final = 15.0


@dataclass
class Client:
    """`key` is an API key, of whichever role."""

    url: str
    key: str
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        self.http = httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT)

    def close(self) -> None:
        self.http.close()

    def place(
        self, spec: AnySpec, key: str, limits: LimitsRequest = NO_LIMITS, not_before: datetime | None = None
    ) -> OrderView:
        body = OrderRequest(order=spec, limits=limits, not_before=not_before).model_dump_json()
        answer = self.ask("POST", "/v1/orders", HTTPStatus.CREATED, content=body, headers={"Idempotency-Key": key})
        return OrderView.model_validate_json(answer.content)

    def read(self, order_id: str) -> OrderView:
        return OrderView.model_validate_json(self.ask("GET", f"/v1/orders/{order_id}", HTTPStatus.OK).content)

    def orders(self) -> tuple[OrderView, ...]:
        answer = self.ask("GET", "/v1/orders", HTTPStatus.OK, params={"limit": 200})
        return OrderList.model_validate_json(answer.content).orders

    def cancel(self, order_id: str) -> None:
        self.ask("POST", f"/v1/orders/{order_id}/cancel", HTTPStatus.OK)

    def requeue(self, order_id: str) -> OrderView:
        answer = self.ask("POST", f"/v1/orders/{order_id}/requeue", HTTPStatus.CREATED)
        return OrderView.model_validate_json(answer.content)

    def purge(self, order_id: str) -> None:
        self.ask("DELETE", f"/v1/orders/{order_id}", HTTPStatus.NO_CONTENT)

    def output(self, order_id: str) -> bytes:
        answer = self.ask("GET", f"/v1/orders/{order_id}/output", HTTPStatus.TEMPORARY_REDIRECT)
        return httpx.get(answer.headers["location"], timeout=TIMEOUT).raise_for_status().content

    def sweep(self) -> bool:
        """Ask for a sweep once, and return whether it was answered."""
        return self._ask_once("POST", "/v1/sweeps", content="{}") is not None

    def ask(self, method: str, path: str, expected: HTTPStatus, **options: Any) -> httpx.Response:
        """Send the same request until it is answered; any answer but the expected one is a failure."""
        answer = await_value(lambda: self._ask_once(method, path, **options), f"an answer to {method} {path}")
        assert answer.status_code == expected, f"{method} {path}: {answer.status_code}: {answer.text}"
        return answer

    def _ask_once(self, method: str, path: str, **options: Any) -> httpx.Response | None:
        try:
            answer = self.http.request(method, path, **options)
        except httpx.TransportError:
            return None
        return None if answer.is_server_error else answer
