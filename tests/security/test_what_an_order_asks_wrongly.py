"""What an order asks wrongly is its own failure: no order makes a provider rest, at which all others would wait."""

import dataclasses
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from launcher.host.checks.host import Case, Host
from launcher.host.hypervisor import Hypervisor, QemuMode
from launcher.machines.failures import BY_ERRNO, OTHER, of_host, of_words
from launcher.machines.port import Concerns, LaunchFailed, Provider
from launcher.machines.resources import Resources
from launcher.orders.admission import Admission
from launcher.orders.attempt import AttemptRunner
from launcher.orders.lanes import Lane
from launcher.providers.fly import machines_api
from launcher.providers.gcp import compute, errors
from launcher.providers.gcp.errors import ComputeRefusalKind, ComputeRefused
from launcher.providers.gcp.options import GcpOptions
from launcher.providers.gcp.provider import GcpProvider
from launcher.providers.qemu import provider as qemu
from launcher.providers.registry import Providers
from shared.domain.order import Failure, Reason
from shared.domain.spec import AnySpec, CapacitySpec, ExportSpec, NodeSize, TaskSpec
from tests import compute as fake_compute
from tests import fly as fake_fly
from tests.compute import PROJECT, ZONE
from tests.fly import APP, FOREIGN_IMAGE
from tests.launcher.conftest import InProcessLauncher, an_assignment
from tests.launcher.fake_control_plane import UPDATES
from tests.launcher.fly.machines import FOREIGN_EXPORT, FOREIGN_TASK, TASK, a_provider, an_options
from tests.launcher.stand_ins import IDENTITY

OWN_ZONES: Final = ("us-central1-b", "us-east1-b")
ANY_ZONE: Final = "default"
ELSEWHERE: Final = "europe-west8-a"
"""A zone that no launcher of these tests names."""
INSERT: Final = {"method": "insert", "status": 400}
Answer = tuple[str, str, list[str]]
"""An attempt's reason and failure, and what took no order for a while: the provider, or lanes."""


@dataclasses.dataclass
class Attempts:
    """Runs attempts that fail, each of an order of its own."""

    launcher: InProcessLauncher
    rested: list[str] = dataclasses.field(default_factory=list)

    def rest(self, provider: str, lanes: Collection[str]) -> None:
        self.rested += lanes or [provider]

    def runner(self, provider: Provider) -> AttemptRunner:
        providers = Providers({"gcp": provider}, provider, images=provider)
        return dataclasses.replace(self.launcher.runner, providers=providers, rest=self.rest)

    def failed(self, provider: Provider, spec: AnySpec) -> Answer:
        self.rested.clear()
        claimed = self.launcher.server.a_claimed(spec)
        assignment = an_assignment(claimed)
        self.runner(provider).run(assignment, claimed)
        assignment.close()
        report = self.launcher.server.bodies(UPDATES)[-1]
        return report["reason"], report["failure"], list(self.rested)


@pytest.fixture
def attempts(launcher: InProcessLauncher) -> Attempts:
    return Attempts(launcher)


def capacity(zone: str, size: NodeSize = NodeSize.TINY) -> CapacitySpec:
    return CapacitySpec(datacenter=f"gcp:{zone}", node_size=size)


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_compute.Fake]:
    monkeypatch.setattr(compute, "FIRST_WAIT_SECONDS", 0)
    monkeypatch.setattr(compute, "ATTEMPTS", 2)
    with fake_compute.a_fake() as fake:
        yield fake


@pytest.fixture
def gcp(google: fake_compute.Fake) -> GcpProvider:
    options = GcpOptions(PROJECT, "alpha", IDENTITY, "https://control-plane.example", google.url, zones=OWN_ZONES)
    return GcpProvider(options)


@pytest.mark.parametrize(
    ("zone", "behaviour", "failure"),
    [
        ("no-such-zone", {}, Failure.PERMANENT),
        ("0..0", {}, Failure.PERMANENT),
        ("us-central1-a.b", {}, Failure.PERMANENT),
        (ELSEWHERE, {"no_zones": [ELSEWHERE]}, Failure.PERMANENT),
        (ELSEWHERE, {"lacking": [ELSEWHERE, *OWN_ZONES]}, Failure.PERMANENT),
        (ELSEWHERE, {"shortages": [{}]}, Failure.NO_CAPACITY),
        (ELSEWHERE, {"shortages": [{"code": "QUOTA_EXCEEDED"}]}, Failure.NO_CAPACITY),
        (OWN_ZONES[0], {"shortages": [{}]}, Failure.NO_CAPACITY),
        (ELSEWHERE, {"refusals": [{**INSERT, "message": "The subnetwork is of another region."}]}, Failure.RETRYABLE),
        (ELSEWHERE, {"refusals": [{**INSERT, "status": 412, "message": "It violates a policy."}]}, Failure.RETRYABLE),
        (ELSEWHERE, {"refusals": [{"method": "insert", "status": 503}]}, Failure.RETRYABLE),
        (
            ELSEWHERE,
            {
                "refusals": [
                    {
                        "method": "insert",
                        "status": 403,
                        "message": f"Permission denied on 'locations/{ELSEWHERE}' (or it may not exist).",
                    }
                ]
            },
            Failure.PERMANENT,
        ),
    ],
)
def test_no_zone_that_an_order_names_makes_gcp_rest(
    google: fake_compute.Fake,
    gcp: GcpProvider,
    attempts: Attempts,
    zone: str,
    behaviour: dict[str, Any],
    failure: Failure,
) -> None:
    google.behave(**behaviour)

    assert attempts.failed(gcp, capacity(zone))[1:] == (failure, [])


def test_what_cannot_be_a_zone_is_not_asked_for(
    google: fake_compute.Fake, gcp: GcpProvider, attempts: Attempts
) -> None:
    attempts.failed(gcp, capacity("no-such-zone"))

    assert google.calls() == {}


@pytest.mark.parametrize(
    ("behaviour", "rested"),
    [
        ({"refusals": [{**INSERT, "status": 403, "reason": "forbidden"}]}, ["gcp"]),
        ({"refusals": [{**INSERT, "message": "'projects/p/global/images/i' was not found"}]}, ["gcp"]),
        ({"refusals": [{**INSERT, "message": "The network does not exist."}]}, ["gcp"]),
        ({"refusals": [{"method": "insert", "status": 503}]}, ["gcp"]),
    ],
)
def test_what_is_wrong_with_the_launcher_itself_makes_gcp_rest(
    google: fake_compute.Fake, gcp: GcpProvider, attempts: Attempts, behaviour: dict[str, Any], rested: list[str]
) -> None:
    google.behave(**behaviour)

    assert attempts.failed(gcp, capacity(ANY_ZONE))[2] == rested


@pytest.mark.parametrize("behaviour", [{"shortages": [{}]}, {"lacking": [*OWN_ZONES]}])
def test_a_size_that_the_launcher_s_zones_do_not_have_makes_no_other_size_rest(
    google: fake_compute.Fake, gcp: GcpProvider, attempts: Attempts, tmp_path: Path, behaviour: dict[str, Any]
) -> None:
    google.behave(**behaviour)
    _, _, rested = attempts.failed(gcp, capacity(ANY_ZONE, NodeSize.LLM))
    admission = Admission(tmp_path, Resources(machines=2), lambda: 0, lambda: 1000.0)
    llm, tiny = (Lane(f"gcp:*/capacity/{size}", "gcp", Resources(machines=1)) for size in ("llm", "tiny"))

    admission.rest("gcp", rested)

    assert "gcp" not in rested
    assert (admission.room(llm), admission.room(tiny)) == (0, 2)


@pytest.mark.parametrize("kind", ComputeRefusalKind)
@pytest.mark.parametrize("own_zone", [True, False])
def test_of_compute_engine_s_refusals_only_those_about_the_launcher_concern_others_than_the_order(
    kind: ComputeRefusalKind, own_zone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ComputeRefused, "kind", kind)

    failed = errors.launch_failed([ComputeRefused("any", 400, "any")], names_zone=True, own_zone=own_zone)

    about_launcher = kind in (ComputeRefusalKind.CREDENTIALS, ComputeRefusalKind.IMAGE) or (
        kind is ComputeRefusalKind.OTHER and own_zone
    )
    assert failed.concerns is (Concerns.PROVIDER if about_launcher else Concerns.ORDER)


def test_a_quota_of_the_whole_project_concerns_the_orders_of_the_size() -> None:
    refused = ComputeRefused("CPUS_ALL_REGIONS_QUOTA_EXCEEDED", 403, "any")

    assert errors.launch_failed([refused], names_zone=True).concerns is Concerns.LANE


def test_orders_in_a_zone_that_does_not_exist_one_after_another_delay_nobody(
    google: fake_compute.Fake, gcp: GcpProvider, attempts: Attempts, tmp_path: Path
) -> None:
    """Between any two of a stranger's orders there is room for a victim's."""
    google.behave(no_zones=["us-mars1-a"])
    admission = Admission(tmp_path, Resources(machines=1), lambda: 0, lambda: 1000.0)
    lane = Lane("gcp:*/capacity/tiny", "gcp", Resources(machines=1))
    hostile = dataclasses.replace(attempts.runner(gcp), rest=admission.rest)

    for zone in ["no-such-zone", "us-mars1-a"] * 6:
        claimed = attempts.launcher.server.a_claimed(capacity(zone))
        assignment = an_assignment(claimed)
        hostile.run(assignment, claimed)
        assignment.close()
        assert admission.room(lane) == 1

    failures = [body["failure"] for body in attempts.launcher.server.bodies(UPDATES) if body["status"] == "failed"]
    assert failures == ["permanent"] * 12
    machine = gcp.start(_directory(attempts, gcp, ZONE))
    machine.leave()


def _directory(attempts: Attempts, gcp: GcpProvider, zone: str) -> Any:
    claimed = attempts.launcher.server.a_claimed(capacity(zone))
    return attempts.runner(gcp)._prepare(an_assignment(claimed), claimed, gcp)


@pytest.fixture
def fly(monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_fly.Fake]:
    monkeypatch.setattr(machines_api, "CREATE_SECONDS", 0.5)
    with fake_fly.a_fake() as fake:
        yield fake


def refusing(status: int, message: str) -> dict[str, Any]:
    return {"refusals": [{"method": "create", "status": status, "message": message}]}


@pytest.mark.parametrize(
    ("spec", "behaviour", "failure"),
    [
        (FOREIGN_TASK, refusing(503, "timed out while the image was pulled"), Failure.RETRYABLE),
        (FOREIGN_TASK, refusing(418, "new words"), Failure.RETRYABLE),
        (FOREIGN_TASK, refusing(422, "config.env is too large"), Failure.PERMANENT),
        (TASK, refusing(413, "too large"), Failure.PERMANENT),
        (TASK.model_copy(update={"region": "zzz"}), {}, Failure.PERMANENT),
        (TASK.model_copy(update={"region": "syd"}), {"full": ["syd"]}, Failure.NO_CAPACITY),
        (TASK.model_copy(update={"region": "syd"}), refusing(418, "new words"), Failure.RETRYABLE),
        (FOREIGN_EXPORT.model_copy(update={"image": "nobodys/image:1"}), {}, Failure.PERMANENT),
    ],
)
def test_no_image_region_or_environment_of_an_order_makes_fly_rest(
    fly: fake_fly.Fake,
    attempts: Attempts,
    spec: ExportSpec | TaskSpec,
    behaviour: dict[str, Any],
    failure: Failure,
) -> None:
    fly.behave(**behaviour)

    assert attempts.failed(a_provider(an_options(fly)), spec)[1:] == (failure, [])


@pytest.mark.parametrize("name", ["insufficient", "already_exists", "app", "region", "config.guest", "machine-limit"])
@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_an_image_s_name_made_of_the_words_of_other_refusals_makes_fly_rest_no_more_than_any(
    fly: fake_fly.Fake, attempts: Attempts, name: str, status: int
) -> None:
    image = f"registry.example/{name}:1"
    fly.behave(**refusing(status, f"failed to resolve {image}: request failed"))

    spec = TaskSpec(image=image)
    assert attempts.failed(a_provider(an_options(fly)), spec)[1:] == (Failure.PERMANENT, [])


def test_what_is_wrong_with_the_launcher_itself_makes_fly_rest(fly: fake_fly.Fake, attempts: Attempts) -> None:
    fly.behave(**refusing(401, "unauthorized"))
    assert attempts.failed(a_provider(an_options(fly)), FOREIGN_TASK)[2] == ["fly"]
    fly.behave(**refusing(503, "down"))
    assert attempts.failed(a_provider(an_options(fly)), TASK)[2] == ["fly"]
    fly.behave()
    assert attempts.failed(a_provider(an_options(fly, own_images=("nobodys",))), TASK)[2] == ["fly"]
    assert APP not in FOREIGN_IMAGE


def test_gpus_that_are_missing_make_only_the_orders_that_need_them_rest(tmp_path: Path) -> None:
    """An order of the size with GPUs fails on such a host, and machines without GPUs start there."""
    host = Host(Hypervisor("sh"), root=tmp_path)
    with pytest.raises(LaunchFailed) as failed:
        qemu.require(Case(host, QemuMode.TCG, gpus=("0000:17:00.0",)))
    assert failed.value.concerns is Concerns.LANE
    with pytest.raises(LaunchFailed) as failed:
        qemu.require(Case(Host(Hypervisor("no-such-qemu"), root=tmp_path), QemuMode.TCG, gpus=("0000:17:00.0",)))
    assert failed.value.concerns is Concerns.PROVIDER


def test_a_host_without_room_for_one_size_goes_on_with_the_others() -> None:
    for number, (reason, _) in BY_ERRNO.items():
        assert of_host(OSError(number, "any"), "any").concerns is Concerns.LANE, reason
    assert of_words("cannot set up guest memory 'pc.ram': Cannot allocate memory", "any").concerns is Concerns.LANE
    assert of_words("-device no-such: not a device", "any").concerns is Concerns.PROVIDER
    assert LaunchFailed("any", *OTHER).concerns is Concerns.PROVIDER
    for reason in (Reason.LAUNCH_FAILED, Reason.HYPERVISOR_MISSING, Reason.IMAGE_MISSING, Reason.NO_CAPACITY):
        assert LaunchFailed("any", reason, Failure.PERMANENT).concerns is Concerns.ORDER
