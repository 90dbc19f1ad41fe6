"""The sample of docs/attestation.md is what an agent of an attested order sends."""

import re
import runpy
from pathlib import Path

from emulators.fakes.tdx_quote import TdxQuote
from shared.domain.order import State
from tests.functions.capacity.agents import ATTESTED, bootstrap, claimed, evidence, nonce, registered
from tests.functions.world import MRTD, World
from tools.guards import ROOT


def test_the_sample_of_the_page_makes_what_is_accepted(world: World, worker: str, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "attestation.md").read_text(encoding="utf-8")
    (sample,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "sample.py").write_text(sample, encoding="utf-8")
    made = runpy.run_path(str(tmp_path / "sample.py"))
    order_id, token = claimed(world, worker, ATTESTED)
    quote = TdxQuote(MRTD, report_data=made["report_data"](nonce(world).hex(), token))

    sent = {"agent_key": made["agent_key"], "attestation": evidence(world, quote), **bootstrap(order_id, token)}
    agent_id = registered(world, **sent)

    assert (world.order(order_id).state, world.order(order_id).agent) == (State.RUNNING, agent_id)
