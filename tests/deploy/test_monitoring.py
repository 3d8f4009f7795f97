"""The dashboard and the alerts: each query is PromQL, and asks for metrics and labels that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import promql_parser
import pytest
import yaml

from orchestrator.api.metrics import METRICS, exposed_names
from tests.deploy.files import (
    DEPLOY,
    Process,
    compose_processes,
    kubernetes_processes,
    objects_of_base,
    systemd_processes,
)

MONITORING: Final = DEPLOY / "monitoring"
OF_PROMETHEUS: Final = {"process_resident_memory_bytes", "process_cpu_seconds_total", "instance"}


def alerts() -> list[dict[str, Any]]:
    text = (MONITORING / "alerts.yaml").read_text(encoding="utf-8")
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((MONITORING / "grafana.json").read_text(encoding="utf-8"))
    return found


def queries() -> list[Any]:
    """Return all queries; the variables of Grafana stand for what it puts in their place."""
    found = [pytest.param(rule["expr"], id=rule["alert"]) for rule in alerts()]
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "5m").replace("$job", ".*")
            found.append(pytest.param(query, id=f"{panel['title']} {target['refId']}"))
    return found


def words(query: str) -> set[str]:
    """Return the names in a query, texts and durations left out."""
    return set(re.findall(r"[a-z_]\w*", re.sub(r'"[^"]*"|\[\w+\]', "", query)))


LANGUAGE: Final = {"by", "on", "group_left", "or", "sum", "max", "rate", "delta", "time", "absent"}


@pytest.mark.parametrize("query", queries())
def test_a_query_is_promql_and_names_what_there_is(query: str) -> None:
    promql_parser.parse(query)
    used = words(query) - LANGUAGE - OF_PROMETHEUS
    metrics = {word for word in used if word.startswith("orchestrator_")}
    labels = {label for one in METRICS.values() for label in one.labels}

    assert metrics <= exposed_names()
    assert used - metrics <= labels


def served(process: Process) -> tuple[str, int]:
    """Return where a worker serves its metrics."""
    return value_of(process, "--metrics-host"), int(value_of(process, "--metrics-port"))


def value_of(process: Process, option: str) -> str:
    return process.argv[process.argv.index(option) + 1]


def workers(found: list[Process]) -> list[Process]:
    return [process for process in found if process.is_fleet and process.argv[1] == "worker"]


def test_each_worker_of_the_files_is_scraped_where_it_serves_its_metrics() -> None:
    """By the names of Compose's services, the name of a pod's port, and the ports of one host with systemd."""
    text = (MONITORING / "prometheus.yaml").read_text(encoding="utf-8")
    of_compose, of_kubernetes, of_systemd = yaml.safe_load(text)["scrape_configs"]
    [names] = of_compose["dns_sd_configs"]
    [keep, _] = of_kubernetes["relabel_configs"]
    [targets] = of_systemd["static_configs"]

    in_compose = workers(compose_processes())
    assert {process.where.rpartition(" ")[2] for process in in_compose} == set(names["names"])
    assert {served(process) for process in in_compose} == {("0.0.0.0", names["port"])}
    on_hosts = [served(process) for process in workers(systemd_processes())]
    assert sorted(f"{host}:{port}" for host, port in on_hosts) == sorted(targets["targets"])
    assert {served(process) for process in workers(kubernetes_processes())} == {("0.0.0.0", 9400)}
    pods = [one["spec"]["template"] for _, one in objects_of_base() if one["kind"] == "Deployment"]
    served_by = [pod for pod in pods if pod["spec"]["containers"][0]["command"][1] == "worker"]
    assert len(served_by) == len(in_compose) == len(on_hosts) == 3
    for pod in served_by:
        assert pod["metadata"]["annotations"] == {"prometheus.io/scrape": "true", "prometheus.io/port": "9400"}
        assert pod["spec"]["containers"][0]["ports"] == [{"name": keep["regex"], "containerPort": 9400}]
    assert (MONITORING / yaml.safe_load(text)["rule_files"][0]).is_file()


def test_each_alert_says_what_it_is_about_and_how_bad_it_is() -> None:
    found = alerts()

    assert len({rule["alert"] for rule in found}) == len(found) > 5
    for rule in found:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, rule
        assert rule["labels"]["severity"] in ("page", "ticket", "info")
        assert rule["annotations"]["summary"]


def test_the_dashboard_is_of_grafanas_form_and_no_panel_lies_over_another() -> None:
    found = dashboard()
    places = list[tuple[int, int]]()
    for panel in found["panels"]:
        place = panel["gridPos"]
        assert panel["type"] in ("stat", "timeseries")
        assert place["x"] + place["w"] <= 24
        places += cells(place)

    assert len({panel["id"] for panel in found["panels"]}) == len(found["panels"])
    assert len(set(places)) == len(places)
    assert {one["name"] for one in found["templating"]["list"]} == {"datasource", "job"}
    assert found["schemaVersion"] >= 36


def cells(place: dict[str, int]) -> Iterator[tuple[int, int]]:
    for x in range(place["x"], place["x"] + place["w"]):
        for y in range(place["y"], place["y"] + place["h"]):
            yield x, y
