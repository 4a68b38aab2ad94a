"""Dockerfile, compose, Kubernetes, systemd, Prometheus and Grafana name only what syncd has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from syncd import telemetry
from syncd.cli import VERBS
from syncd.contract.read.load import load_contract_set
from syncd.ops.http import application
from syncd.settings import Settings
from syncd.telemetry.metrics import labels_of

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
YAML_FILES = sorted(path for path in DEPLOY.rglob("*.yaml") if path.parent.name != "templates")
SETTINGS = {f"SYNCD_{name.upper()}" for name in Settings.model_fields}
PATHS = {route.path for route in application(None, None).routes}  # type: ignore[arg-type,attr-defined]
PORT = 9399

_METRIC = re.compile(r"(?<![\w:])(syncd_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')


def documents(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return list(yaml.safe_load_all(file))


def manifest(kind: str) -> dict[str, Any]:
    """The Kubernetes object of this kind."""
    found = [
        d for path in (DEPLOY / "kubernetes").glob("*.yaml") for d in documents(path) if d["kind"] == kind
    ]
    assert len(found) == 1
    return found[0]


def container() -> dict[str, Any]:
    spec: dict[str, Any] = manifest("Deployment")["spec"]["template"]["spec"]["containers"][0]
    return spec


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_yaml_file_can_be_read(path: Path) -> None:
    """By a YAML 1.1 reader, as the tools that they are for have."""
    assert all(isinstance(document, dict) for document in documents(path))


def test_no_file_names_a_setting_that_does_not_exist() -> None:
    """A variable with a slip of the pen would be ignored without an error."""
    for path in [ROOT / "Dockerfile", *(path for path in DEPLOY.rglob("*") if path.is_file())]:
        named = set(re.findall(r"\bSYNCD_[A-Z_]*[A-Z]", path.read_text(encoding="utf-8")))
        assert {name.removesuffix("_FILE") for name in named} <= SETTINGS, path


def dockerfile_environment() -> dict[str, str]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    return dict(re.findall(r"^\s*(?:ENV )?(\w+)=(\S+?)(?: \\)?$", text, re.MULTILINE))


def test_the_image_serves_where_it_says() -> None:
    """Address, exposed port and health check agree, and the check asks a page that exists."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    env = dockerfile_environment()
    settings = Settings.from_environment({name: env[name] for name in env.keys() & SETTINGS})
    assert settings.http_address == ("0.0.0.0", PORT)
    assert str(settings.contracts) == "/contracts"
    assert re.findall(r"^EXPOSE (\d+)$", text, re.MULTILINE) == [str(PORT)]
    url = re.search(r"urlopen\('http://127\.0\.0\.1:(\d+)(/\w+)'", text)
    assert url is not None
    assert (int(url[1]), url[2] in PATHS) == (PORT, True)
    assert re.search(r'^ENTRYPOINT \["syncd"\]\nCMD \["run"\]$', text, re.MULTILINE)


def test_the_image_gets_all_that_it_is_built_from() -> None:
    """What the Dockerfile copies is let through by .dockerignore, and exists."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    allowed = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    copied = [
        name for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE) for name in line.split()
    ]
    assert sorted(copied) == sorted(allowed)
    assert all((ROOT / name).exists() for name in copied)


def test_compose_mounts_contracts_where_the_image_looks() -> None:
    """And waits for both servers."""
    services = documents(DEPLOY / "compose.yaml")[0]["services"]
    source, target, mode = services["syncd"]["volumes"][0].split(":")
    assert (target, mode) == (dockerfile_environment()["SYNCD_CONTRACTS"], "ro")
    assert load_contract_set((DEPLOY / source).resolve(), {}).contracts
    assert all("healthcheck" in services[name] for name in services["syncd"]["depends_on"])
    assert services["syncd"]["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    assert (DEPLOY / services["syncd"]["build"]["context"] / "Dockerfile").is_file()
    set_name = services["mongo"]["command"][services["mongo"]["command"].index("--replSet") + 1]
    assert services["syncd"]["environment"]["SYNCD_MONGO_URI"].endswith(f"replicaSet={set_name}")
    assert f'_id: "{set_name}"' in services["mongo"]["healthcheck"]["test"][-1]


def test_kubernetes_probes_ask_pages_that_exist() -> None:
    """On the port that syncd serves: alive means the lanes run, ready means the contracts hold."""
    spec = container()
    ports = {port["name"]: port["containerPort"] for port in spec["ports"]}
    env = {entry["name"]: entry["value"] for entry in spec["env"]}
    assert env["SYNCD_HTTP"] == f"0.0.0.0:{ports['http']}"
    probes = {name: spec[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {probe["port"] for probe in probes.values()} <= ports.keys()
    assert [probe["path"] for probe in probes.values()] == ["/livez", "/livez", "/readyz"]
    assert {"/livez", "/readyz", "/metrics"} <= PATHS
    assert manifest("Service")["spec"]["ports"][0]["targetPort"] == "http"


def test_kubernetes_files_are_mounted_where_the_settings_look() -> None:
    """Contracts as a directory, secrets under the keys that the Secret has."""
    spec = container()
    mounts = {mount["name"]: mount for mount in spec["volumeMounts"]}
    env = {entry["name"]: entry["value"] for entry in spec["env"]}
    assert mounts["contracts"]["mountPath"] == env["SYNCD_CONTRACTS"]
    assert "subPath" not in mounts["contracts"]
    keys = manifest("Secret")["stringData"]
    for name, value in env.items():
        if name.endswith("_FILE"):
            folder, _, key = value.rpartition("/")
            assert (folder, key in keys) == (mounts["secrets"]["mountPath"], True), name
    volumes = {v["name"]: v for v in manifest("Deployment")["spec"]["template"]["spec"]["volumes"]}
    assert volumes["contracts"]["configMap"]["name"] == manifest("ConfigMap")["metadata"]["name"]
    assert volumes["secrets"]["secret"]["secretName"] == manifest("Secret")["metadata"]["name"]
    assert spec["args"][0] in {verb.__name__ for verb in VERBS}


def test_kubernetes_contracts_pass_the_checks(tmp_path: Path) -> None:
    """The ConfigMap is a contract directory that `syncd check` takes."""
    for name, text in manifest("ConfigMap")["data"].items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert load_contract_set(tmp_path, {}).contracts


def test_kubernetes_selectors_find_the_pods() -> None:
    """Deployment, Service, budget and spread mean the same pods; every file is in the kustomization."""
    deployment = manifest("Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    assert manifest("Service")["spec"]["selector"] == labels
    assert manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    files = {path.name for path in (DEPLOY / "kubernetes").glob("*.yaml")} - {"kustomization.yaml"}
    assert set(manifest("Kustomization")["resources"]) == files


def test_a_pod_for_each_partition() -> None:
    """The StatefulSet counts from 1 to its number of replicas, and is the Deployment's pod in all else."""
    folder = DEPLOY / "kubernetes-partitions"
    (stateful,) = documents(folder / "statefulset.yaml")
    spec, pod = stateful["spec"], stateful["spec"]["template"]["spec"]
    variables = {entry["name"]: entry for entry in pod["containers"][0]["env"]}
    del variables["POD_INDEX"]
    said = variables.pop("SYNCD_PARTITION")["value"].replace("$(POD_INDEX)", str(spec["replicas"]))
    numbers = Settings.from_environment({"SYNCD_PARTITION": said}).partition_numbers
    assert numbers == (spec["replicas"], spec["replicas"])
    assert spec["ordinals"]["start"] == 1
    pod["containers"][0]["env"] = list(variables.values())
    assert spec["template"] == manifest("Deployment")["spec"]["template"]
    assert spec["serviceName"] == manifest("Service")["metadata"]["name"]
    (kustomization,) = documents(folder / "kustomization.yaml")
    assert all((folder / name).exists() for name in kustomization["resources"])


def test_there_is_time_to_finish_what_is_under_way() -> None:
    """Kubernetes does not kill syncd before it has given up waiting for its lanes."""
    from syncd.daemon.supervisor import STOP_TIMEOUT_S

    unit = (DEPLOY / "systemd" / "syncd.service").read_text(encoding="utf-8")
    stop = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert stop is not None
    assert int(stop[1]) > STOP_TIMEOUT_S
    assert (
        manifest("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > STOP_TIMEOUT_S
    )
    compose = documents(DEPLOY / "compose.yaml")[0]["services"]["syncd"]["stop_grace_period"]
    assert int(compose.removesuffix("s")) > STOP_TIMEOUT_S


def test_the_unit_reads_the_credentials_that_it_loads() -> None:
    """And runs a verb that exists."""
    unit = (DEPLOY / "systemd" / "syncd.service").read_text(encoding="utf-8")
    loaded = set(re.findall(r"^LoadCredential=([\w-]+):", unit, re.MULTILINE))
    assert set(re.findall(r"^Environment=SYNCD_\w+_FILE=%d/([\w-]+)$", unit, re.MULTILINE)) == loaded
    verb = re.search(r"^ExecStart=\S+/syncd (\w+)$", unit, re.MULTILINE)
    assert verb is not None
    assert verb[1] in {verb.__name__ for verb in VERBS}


def series() -> dict[str, dict[str, set[str]]]:
    """Every series that /metrics can show: its labels, and their values where these are known beforehand."""
    known: dict[str, dict[str, set[str]]] = {}
    telemetry.contract_known("m", 1.0, store="both")
    try:
        for metric in telemetry.REGISTRY.metrics:
            family = next(iter(metric.collect()))
            ends = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
            values = {label: {s.labels[label] for s in family.samples} for label in labels_of(metric)}
            for end in ends:
                known[family.name + end] = values | ({"le": set()} if end == "_bucket" else {})
    finally:
        telemetry.contract_gone("m")
    return known


def expressions() -> Iterator[tuple[str, str]]:
    """Every PromQL expression, with the file that it is in."""
    for group in documents(DEPLOY / "prometheus" / "rules.yaml")[0]["groups"]:
        yield from (("rules", rule["expr"]) for rule in group["rules"])
    dashboard = json.loads((DEPLOY / "grafana" / "syncd.json").read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        yield from (("dashboard", target["expr"]) for target in panel.get("targets", ()))
    for variable in dashboard["templating"]["list"]:
        yield "dashboard", variable.get("definition", "")


def test_rules_and_dashboard_name_series_that_exist() -> None:
    """With labels that they have, and values that these can take."""
    known, seen = series(), set()
    for where, expression in expressions():
        for name, matchers in _METRIC.findall(expression):
            seen.add(name)
            assert name in known, f"{where}: {expression}"
            for label, _, value in _MATCHER.findall(matchers):
                assert label in known[name], f"{where}: {expression}"
                if "$" not in value and label != "contract":
                    assert set(value.split("|")) <= known[name][label], f"{where}: {expression}"
    assert len(seen) > 10


def test_every_metric_is_on_the_dashboard() -> None:
    """What is measured can be seen."""
    text = " ".join(expression for where, expression in expressions() if where == "dashboard")
    missing = [name for name in series() if name.removesuffix("_sum").removesuffix("_count") not in text]
    assert not missing


def test_the_holder_of_a_lease_is_a_partition() -> None:
    """Of two daemons with --split each may hold some parts of a contract and stand by for others."""
    holders = [expression for _, expression in expressions() if "syncd_lease_held == 1" in expression]
    assert len(holders) > 6
    assert all("on (contract, instance, partition) syncd_lease_held" in expression for expression in holders)


def test_recorded_names_that_alerts_use_are_recorded() -> None:
    """Prometheus takes an alert on a series that never exists without an error."""
    rules = [
        rule
        for group in documents(DEPLOY / "prometheus" / "rules.yaml")[0]["groups"]
        for rule in group["rules"]
    ]
    recorded = {rule["record"] for rule in rules if "record" in rule}
    used = {name for rule in rules for name in re.findall(r"contract:\w+:\w+", rule["expr"])}
    assert used == recorded


def test_every_alert_says_what_to_do() -> None:
    """A summary and an action, at night."""
    for group in documents(DEPLOY / "prometheus" / "rules.yaml")[0]["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                assert {"summary", "action"} <= rule["annotations"].keys()
                assert rule["labels"]["severity"] in ("warning", "critical")
