"""Datacenters as people write them."""

import pytest

from shared.domain import datacenters


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("gcp:us-central1-a", "gcp:us-central1-a"),
        (" Google:US-Central1-A ", "gcp:us-central1-a"),
        ("az:eastus2-3", "azure:eastus2-3"),
        ("bare-metal:rack-7", "baremetal:rack-7"),
        ("onprem", "baremetal:default"),
        ("on-prem", "baremetal:default"),
        ("self-hosted:", "baremetal:default"),
        ("gcp", "gcp:default"),
        ("local:dev", "local:dev"),
    ],
)
def test_every_spelling_of_a_datacenter_has_one_normal_form(written: str, meant: str) -> None:
    assert datacenters.parse(written) == meant


@pytest.mark.parametrize(
    "written", ["", ":", ":zone", "lo cal:dev", "gcp:a/b", "gcp:a:b", f"{'c' * 33}:z", f"c:{'z' * 97}"]
)
def test_an_invalid_datacenter_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"Invalid datacenter\. Expected '<cloud>:<zone>'"):
        datacenters.parse(written)
