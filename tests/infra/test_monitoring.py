"""The alerts and the dashboard read what there is: log events of the closed list, with fields that the code writes."""

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import promql_parser
import pytest
from typer.main import get_command

from cli.app import build
from shared.log_events import LogEvent
from tests.infra.rehearsal import FILES, ROOT
from tests.infra.terraform import Terraform
from tests.infra.tools import Tools

pytestmark = [pytest.mark.infra, pytest.mark.terraform]

EVENT: Final = re.compile(r'jsonPayload\.event="(\w+)"')
FIELD: Final = re.compile(r"EXTRACT\(jsonPayload\.(\w+)\)")
OF_LOGS: Final = "logging_googleapis_com:user_"
OF_GOOGLE: Final = frozenset(
    {
        "pubsub_googleapis_com:subscription_num_undelivered_messages",
        "run_googleapis_com:container_instance_count",
        "run_googleapis_com:request_count",
    }
)
"""https://docs.cloud.google.com/monitoring/api/metrics_gcp"""
QUEUED_MINUTES: Final = 7
GIVEN: Final[Mapping[str, Any]] = {
    "project_id": "launchyard-test",
    "project_number": "123456789012",
    "region": "us-central1",
    "firestore_location": "nam5",
    "name": "launchyard-dev",
    "outputs": {"kind": "gcs", "bucket": "outputs-of-launchyard", "location": "US"},
    "secrets": {"LAUNCHYARD_CALLBACK_SECRET": "0" * 64},
    "monitoring": {
        "emails": ["a@launchyard.example", "b@launchyard.example"],
        "queued_minutes": QUEUED_MINUTES,
        "billing_account": "012345-6789AB-CDEF01",
        "budget": 99.5,
    },
}


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory, tools: Tools) -> Sequence[Mapping[str, Any]]:
    """Return the planned resources of the root module."""
    scratch = tmp_path_factory.mktemp("monitoring")
    terraform = Terraform(FILES, scratch, tools)
    terraform.init()
    bundle = scratch / "functions.zip"
    bundle.write_bytes(b"")
    planned = terraform.plan({**GIVEN, "bundle": str(bundle)})["planned_values"]
    return list(planned["root_module"]["resources"])


@pytest.fixture
def metrics(plan: Sequence[Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    """Return the metrics of log lines by their names."""
    return {one["values"]["name"]: one["values"] for one in plan if one["type"] == "google_logging_metric"}


@pytest.fixture
def alerts(plan: Sequence[Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    return {one["index"]: one["values"] for one in plan if one["type"] == "google_monitoring_alert_policy"}


@pytest.fixture
def queries(plan: Sequence[Mapping[str, Any]], alerts: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    """Return the queries of all alerts and charts."""
    (dashboard,) = (one["values"] for one in plan if one["type"] == "google_monitoring_dashboard")
    tiles = json.loads(dashboard["dashboard_json"])["mosaicLayout"]["tiles"]
    charted = [data["timeSeriesQuery"] for tile in tiles for data in tile["widget"]["xyChart"]["dataSets"]]
    return [*map(query_of, alerts.values()), *(query["prometheusQuery"] for query in charted)]


def query_of(alert: Mapping[str, Any]) -> str:
    (condition,) = alert["conditions"]
    (promql,) = condition["condition_prometheus_query_language"]
    return str(promql["query"])


def logged(event: str) -> Iterator[frozenset[str]]:
    """Yield for each line of the control plane's code that logs the event the fields that it names."""
    for file in sorted((ROOT / "functions").rglob("*.py")):
        if event.upper() in (text := file.read_text(encoding="utf-8")):
            calls = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
            for call in calls:
                if any(isinstance(one, ast.Attribute) and one.attr == event.upper() for one in call.args):
                    yield frozenset(keyword.arg for keyword in call.keywords if keyword.arg)


def selected(query: str) -> frozenset[str]:
    """Return the metrics that a query reads. Raises ValueError if it is not PromQL."""
    promql_parser.parse(query)
    return frozenset(re.findall(r"\b(\w+:\w+)", query))


def test_metrics_count_events_that_the_control_plane_logs(metrics: Mapping[str, Mapping[str, Any]]) -> None:
    counted = {name: EVENT.findall(metric["filter"]) for name, metric in metrics.items()}

    assert [name for name, events in counted.items() if not events] == ["launchyard_dev_errors"]
    for event in sum(counted.values(), start=list[str]()):
        assert event in [*LogEvent]
        assert [*logged(event)], f"no function logs {event}"


def test_metrics_read_fields_that_these_lines_have(metrics: Mapping[str, Mapping[str, Any]]) -> None:
    read = 0
    for metric in metrics.values():
        extracts = [metric["value_extractor"] or "", *(metric["label_extractors"] or {}).values()]
        fields = {field for extract in extracts for field in FIELD.findall(extract)}
        read += len(fields)
        for event in EVENT.findall(metric["filter"]):
            assert all(fields <= line for line in logged(event)), f"{event} lacks one of {sorted(fields)}"
    assert read > 1


def test_metrics_read_the_lines_of_this_deployments_functions_alone(metrics: Mapping[str, Mapping[str, Any]]) -> None:
    for metric in metrics.values():
        names = re.search(r'service_name=~"([^"]+)"', metric["filter"])
        assert names is not None
        assert re.match(names[1], "launchyard-dev-sweep")
        assert not re.match(names[1], "launchyard-sweep")
        assert not re.match(names[1], "launchyard-dev-sweep-2")


def test_alerts_and_charts_read_metrics_that_exist_and_all_of_them(
    queries: Sequence[str], metrics: Mapping[str, Mapping[str, Any]]
) -> None:
    exist = set(OF_GOOGLE)
    for name, metric in metrics.items():
        (descriptor,) = metric["metric_descriptor"]
        suffixes = ("_bucket", "_count") if descriptor["value_type"] == "DISTRIBUTION" else ("",)
        exist |= {f"{OF_LOGS}{name}{suffix}" for suffix in suffixes}

    assert frozenset[str]().union(*map(selected, queries)) == exist


def test_the_limit_of_waiting_is_the_bound_of_a_bucket(
    metrics: Mapping[str, Mapping[str, Any]], alerts: Mapping[str, Mapping[str, Any]]
) -> None:
    """So the percentile is above it exactly if as many sweeps found an older order."""
    (buckets,) = metrics["launchyard_dev_oldest_queued"]["bucket_options"]
    bounds = buckets["explicit_buckets"][0]["bounds"]

    assert bounds == sorted(set(bounds))
    assert 60 * QUEUED_MINUTES in bounds
    assert query_of(alerts["oldest_queued"]).endswith(f"> {60 * QUEUED_MINUTES}")


def test_each_alert_says_what_it_means_and_what_to_do_first(alerts: Mapping[str, Mapping[str, Any]]) -> None:
    headings = re.findall(r"^### (.+)$", (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8"), re.MULTILINE)

    for alert in alerts.values():
        (documentation,) = alert["documentation"]
        (condition,) = alert["conditions"]
        meaning, first, _ = documentation["content"].split("\n\n")
        assert meaning.endswith(".")
        assert first.startswith("**First:** ")
        assert condition["display_name"] in headings


def test_commands_in_alerts_exist(alerts: Mapping[str, Mapping[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "a-project")  # as an operator's shell has it
    texts = [alert["documentation"][0]["content"] for alert in alerts.values()]
    typed = [command.split() for command in re.findall(r"`launchyard ([^`]+)`", "\n".join(texts))]

    assert typed
    for words in typed:
        command: Any = get_command(build())
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        command.make_context(command.name, words)


def test_whoever_is_to_be_told_is_told(
    plan: Sequence[Mapping[str, Any]], alerts: Mapping[str, Mapping[str, Any]]
) -> None:
    channels = [one["values"] for one in plan if one["type"] == "google_monitoring_notification_channel"]

    assert sorted(one["labels"]["email_address"] for one in channels) == GIVEN["monitoring"]["emails"]
    assert all(len(alert["notification_channels"]) == len(channels) for alert in alerts.values())


def test_a_budget_is_of_this_project_and_no_less_than_asked(plan: Sequence[Mapping[str, Any]]) -> None:
    (budget,) = (one["values"] for one in plan if one["type"] == "google_billing_budget")

    assert budget["budget_filter"][0]["projects"] == ["projects/123456789012"]
    assert budget["amount"][0]["specified_amount"][0]["units"] == "100"
