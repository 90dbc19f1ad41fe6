"""Records that the version before wrote can be read, and it can read ours."""

from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import pytest
from pydantic import TypeAdapter

from functions.domain.accounts import Account, AccountType
from functions.domain.agent_sessions import AgentSession
from functions.domain.agents import Agent
from tests.factories import NOW

ACCOUNT: Final = Account("id-1", "rack-7", AccountType.LAUNCHER, "", "0" * 64, NOW)
AGENT: Final = Agent("id-1", "vm-1", "gcp:a", "tiny", "00", "1.0.0", NOW, NOW)
SESSION: Final = AgentSession("s-1", "acme", "rack s-1", "survey", "acme survey", NOW, NOW, NOW, reporter="rack")
DROPPED: Final[list[tuple[object, dict[str, Any]]]] = [
    (ACCOUNT, {"balance": 0.0, "github_login": None, "github_org": None}),
    (AGENT, {"hostname": None, "verified": True}),
]
"""Fields that the version before writes too."""
NEEDED: Final[dict[type, dict[str, type]]] = {
    Account: {
        "id": str,
        "name": str,
        "account_type": str,
        "description": str,
        "key_digest": str,
        "created_at": datetime,
    },
    Agent: {
        "id": str,
        "vm_name": str,
        "datacenter": str,
        "node_size": str,
        "mrtd": str,
        "version": str,
        "registered_at": datetime,
        "last_seen_at": datetime,
    },
    AgentSession: {
        "id": str,
        "account": str,
        "reporter": str,
        "reported": str,
        "name": str,
        "named": str,
        "created_at": datetime,
        "running_since": datetime,
        "heard_at": datetime,
    },
}
"""Fields without which the version before cannot read a record."""


@pytest.mark.parametrize(("record", "dropped"), DROPPED, ids=["account", "agent"])
def test_a_record_of_the_version_before_is_read(record: object, dropped: dict[str, Any]) -> None:
    form: TypeAdapter[Any] = TypeAdapter(type(record))

    assert form.validate_python(form.dump_python(record) | dropped, extra="ignore") == record


@pytest.mark.parametrize("record", [ACCOUNT, AGENT, SESSION], ids=["account", "agent", "session"])
def test_the_version_before_can_read_a_record_of_ours(record: object) -> None:
    document: dict[str, Any] = TypeAdapter(type(record)).dump_python(record)

    assert {name: type(document.get(name)) for name in NEEDED[type(record)]} == {
        name: AccountType if name == "account_type" else kind for name, kind in NEEDED[type(record)].items()
    }


def test_a_session_without_the_field_that_is_not_read_is_read() -> None:
    form = TypeAdapter(AgentSession)
    document = form.dump_python(SESSION)
    del document["reporter"]

    assert form.validate_python(document) == replace(SESSION, reporter="")
