"""What Kubernetes would be told: by the manifests, and by the chart as Helm itself renders it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from syncd.contract.read.load import load_contract_set
from syncd.settings import Settings
from tests.unit.test_deploy import DEPLOY, PATHS, PORT, SETTINGS, documents, manifest

helm = pytest.importorskip("helm_python", reason="Helm's library is for Linux on x86-64")

CHART = DEPLOY / "helm" / "syncd"
VERSIONS = ("1.29", "1.33")
NOT_OF_KUBERNETES = {"Kustomization", "PodMonitor"}
CONTRACT = yaml.safe_load((DEPLOY / "kubernetes" / "contracts.yaml").read_text(encoding="utf-8"))["data"]
LEAST: dict[str, Any] = {
    "contracts": CONTRACT,
    "mongoUri": "mongodb://mongo/?replicaSet=rs0",
    "redisUrl": "redis://r",
}
OWN: dict[str, Any] = {
    "existingSecret": "mine",
    "existingContracts": "ours",
    "secretKeys": ["hmac-key", "token", "redis-tls-ca"],
}
DIGEST = "sha256:" + "0123456789abcdef" * 4
EVERYTHING: dict[str, Any] = {
    **LEAST,
    "redisUrl": "rediss+sentinel://s1,s2/main/0",
    "hmacKey": "key",
    "tls": {
        "redis": {"secret": "syncd-redis-tls", "client": True},
        "mongo": {"secret": "syncd-mongo-tls", "client": True},
    },
    "image": {"repository": "registry.example/syncd", "digest": DIGEST},
    "imagePullSecrets": [{"name": "pull"}],
    "settings": {"SYNCD_LEASE_TTL": 20, "SYNCD_LOG_FORMAT": "console"},
    "nodeSelector": {"pool": "data"},
    "tolerations": [{"key": "data", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "podAnnotations": {"team": "data"},
    "networkPolicy": {"enabled": True, "ports": [27018, 6380]},
    "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
}
VALUES: dict[str, dict[str, Any]] = {
    "least": LEAST,
    "everything": EVERYTHING,
    "own objects": OWN,
    "partitions": {**EVERYTHING, "partitions": 4},
}


def rendered(values: dict[str, Any], name: str = "syncd") -> dict[str, dict[str, Any]]:
    """What Helm would install, by kind."""
    with helm.Chart.load(str(CHART)) as chart:
        texts = chart.render(values, name=name, namespace="data")
    found = [yaml.safe_load(text) for path, text in texts.items() if path.endswith(".yaml")]
    return {said["kind"]: said for said in found if said}


def pod(values: dict[str, Any]) -> dict[str, Any]:
    found = rendered(values)
    said: dict[str, Any] = found.get("Deployment", found.get("StatefulSet", {}))["spec"]["template"]["spec"]
    return said


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(DEPLOY.glob("kubernetes*/*.yaml")):
        for said in documents(path):
            yield f"{path.parent.name}/{path.name}: {said['kind']}", said


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_manifest(version: str) -> None:
    """By its own schemas, and no field is unknown."""
    for where, said in manifests():
        if said["kind"] not in NOT_OF_KUBERNETES:
            assert kubernetes_validate.validate(said, version, strict=True) == version, where


@pytest.mark.parametrize("name", VALUES)
def test_kubernetes_takes_what_the_chart_makes(name: str) -> None:
    """With the least that it wants, with all that it takes, with objects of one's own, and with partitions."""
    for kind, said in rendered(VALUES[name]).items():
        if kind not in NOT_OF_KUBERNETES:
            kubernetes_validate.validate(said, VERSIONS[0], strict=True)


@pytest.mark.parametrize("name", VALUES)
def test_helm_finds_nothing_wrong_with_the_chart(name: str) -> None:
    """`helm lint --strict` says nothing."""
    said = helm.lint(str(CHART), VALUES[name], strict=True)
    assert (said["total_charts_linted"], said["messages"], said["errors"]) == (1, [], [])


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({}, "existingSecret|existingContracts"),
        ({"contracts": CONTRACT}, "mongoUri|redisUrl"),
        ({**LEAST, "contracts": {}}, "existingContracts"),
        ({**LEAST, "mongo": "x"}, "mongo"),
        ({**LEAST, "partitions": 1}, "partitions"),
        ({**LEAST, "image": {"repository": "x", "digest": "latest"}}, "digest"),
        ({**LEAST, "settings": {"SYNCD_HTTP": "x"}}, "SYNCD_HTTP"),
        ({**LEAST, "settings": {"LEASE": "x"}}, "LEASE"),
        ({**LEAST, "tls": {"redis": {"ca": "x"}}}, "ca"),
        ({**LEAST, "redisUrl": "redis.example:6379"}, "redisUrl"),
        ({**LEAST, "contracts": {"../x.yaml": "x"}}, "x.yaml"),
    ],
)
def test_the_chart_says_which_value_is_wrong(values: dict[str, Any], word: str) -> None:
    """A value that is missing, unknown or of no use ends the install before anything is changed."""
    with pytest.raises(helm.HelmError, match=word), helm.Chart.load(str(CHART)) as chart:
        chart.validate_schema(chart.merge_values(values))
        chart.render(values, name="syncd", namespace="data")


def test_the_chart_runs_the_pod_of_the_manifests() -> None:
    """They differ in names alone."""
    ours, theirs = pod({**LEAST, "hmacKey": "x"}), manifest("Deployment")["spec"]["template"]["spec"]
    constraint = ours["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]
    assert constraint.pop("app.kubernetes.io/instance") == "syncd"
    assert ours["containers"][0].pop("imagePullPolicy") == "IfNotPresent"
    assert ours == theirs


def test_the_chart_names_settings_that_exist() -> None:
    """Also for each of the keys that a Secret may have."""
    keys = {**OWN, "secretKeys": ["hmac-key", "token", "site"]}
    for values in (EVERYTHING, keys, VALUES["partitions"]):
        named = {entry["name"].removesuffix("_FILE") for entry in pod(values)["containers"][0]["env"]}
        assert named - {"POD_INDEX"} <= SETTINGS


def test_certificates_are_where_the_settings_look() -> None:
    """The chart and the manifests mount the same Secrets at the same places; without a certificate of its own syncd
    gets the authority alone."""
    (kustomization,) = documents(DEPLOY / "kubernetes-tls" / "kustomization.yaml")
    patch = yaml.safe_load(kustomization["patches"][0]["patch"])
    theirs, ours, least = patch["spec"]["template"]["spec"], pod(EVERYTHING), pod(LEAST)
    added = {entry["name"]: entry["value"] for entry in theirs["containers"][0]["env"]}
    assert added.keys() <= {f"{name}_FILE" for name in SETTINGS}
    assert (
        added.items() <= {entry["name"]: entry.get("value") for entry in ours["containers"][0]["env"]}.items()
    )
    mounts = {mount["name"]: mount["mountPath"] for mount in theirs["containers"][0]["volumeMounts"]}
    assert {path.rpartition("/")[0] for path in added.values()} == set(mounts.values())
    assert mounts.keys() == {volume["name"] for volume in theirs["volumes"]}
    for said, whole in (
        (theirs["containers"][0]["volumeMounts"], ours["containers"][0]["volumeMounts"]),
        (theirs["volumes"], ours["volumes"]),
    ):
        assert [one for one in whole if one in said] == sorted(said, key=lambda one: str(one["name"]))
    assert not [entry for entry in least["containers"][0]["env"] if "TLS" in entry["name"]]
    alone = pod({**LEAST, "tls": {"redis": {"secret": "ca", "client": False}}})
    assert [entry["name"] for entry in alone["containers"][0]["env"] if "TLS" in entry["name"]] == [
        "SYNCD_REDIS_TLS_CA_FILE"
    ]


def test_an_image_is_named_by_digest() -> None:
    """Which wins over a tag; without either the tag is the chart's version of syncd."""
    assert pod(EVERYTHING)["containers"][0]["image"] == f"registry.example/syncd@{DIGEST}"
    assert pod(LEAST)["containers"][0]["image"] == "syncd:0.1.0"


def test_partitions_are_counted_as_syncd_counts_them() -> None:
    """From 1 to the number of pods."""
    spec = rendered(VALUES["partitions"])["StatefulSet"]["spec"]
    env = {entry["name"]: entry.get("value") for entry in spec["template"]["spec"]["containers"][0]["env"]}
    last = env["SYNCD_PARTITION"].replace(
        "$(POD_INDEX)", str(spec["ordinals"]["start"] + spec["replicas"] - 1)
    )
    assert Settings.from_environment({"SYNCD_PARTITION": last}).partition_numbers == (4, 4)


def test_contracts_of_the_chart_are_the_files(tmp_path: Path) -> None:
    """As they were written."""
    for name, text in rendered(LEAST)["ConfigMap"]["data"].items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert rendered(LEAST)["ConfigMap"]["data"] == CONTRACT
    assert load_contract_set(tmp_path, {}).contracts


def test_objects_of_the_chart_find_its_pods() -> None:
    """And no pods of another release."""
    found, other = rendered(EVERYTHING), rendered(EVERYTHING, "other")
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert labels != other["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Service"]["spec"]["selector"] == labels
    for kind in ("Deployment", "PodDisruptionBudget", "PodMonitor"):
        assert found[kind]["spec"]["selector"]["matchLabels"] == labels
    assert found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels


def test_a_new_secret_restarts_the_pods_and_a_new_contract_does_not() -> None:
    """Secrets are read at the start, contracts are taken up."""
    first = rendered(LEAST)["Deployment"]["spec"]["template"]
    assert rendered({**LEAST, "redisUrl": "redis://s"})["Deployment"]["spec"]["template"] != first
    assert rendered({**LEAST, "contracts": {"b.yaml": "x"}})["Deployment"]["spec"]["template"] == first


def sidecar() -> tuple[dict[str, Any], dict[str, Any]]:
    """The pod of the application, and the container in it."""
    said = next(d for _, d in manifests() if d.get("metadata", {}).get("name") == "application")
    return said["spec"]["template"], said["spec"]["template"]["spec"]["initContainers"][0]


def test_a_sidecar_never_takes_the_application_out_of_service() -> None:
    """It is a native one, and has no readiness probe, which would count for the whole pod."""
    _, container = sidecar()
    assert container["restartPolicy"] == "Always"
    assert "readinessProbe" not in container
    for name in ("startup", "liveness"):
        probe = container[f"{name}Probe"]["httpGet"]
        assert (probe["path"], probe["port"]) == ("/livez", "syncd")
    assert "/livez" in PATHS


def test_a_sidecar_is_the_container_of_the_deployment() -> None:
    """Same settings, mounts and rights, and nothing that it mounts is missing."""
    template, container = sidecar()
    theirs = manifest("Deployment")["spec"]["template"]["spec"]
    for part in ("image", "args", "env", "volumeMounts", "resources"):
        assert container[part] == theirs["containers"][0][part]
    assert container["ports"] == [{"name": "syncd", "containerPort": PORT}]
    rights = {"seccompProfile": {"type": "RuntimeDefault"}}
    rights |= {name: theirs["securityContext"][name] for name in ("runAsNonRoot", "runAsUser", "runAsGroup")}
    assert container["securityContext"] == {**theirs["containers"][0]["securityContext"], **rights}
    volumes = {volume["name"] for volume in template["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    folder = DEPLOY / "kubernetes-sidecar"
    for name in ("contracts.yaml", "secret.yaml"):
        assert documents(folder / name) == documents(DEPLOY / "kubernetes" / name)
    files = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(documents(folder / "kustomization.yaml")[0]["resources"]) == files


def test_monitors_find_their_pods() -> None:
    """By labels and ports that the pods have."""
    alone, beside = documents(DEPLOY / "kubernetes-monitoring" / "podmonitor.yaml")
    template = manifest("Deployment")["spec"]["template"]
    for monitor, labels, container in (
        (alone, template["metadata"]["labels"], template["spec"]["containers"][0]),
        (beside, sidecar()[0]["metadata"]["labels"], sidecar()[1]),
    ):
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert endpoint["port"] in {port["name"] for port in container["ports"]}
        assert endpoint["path"] in PATHS


def test_a_pod_that_is_not_ready_does_not_block_a_drain() -> None:
    """Nor does any other, one at a time."""
    ours, theirs = manifest("PodDisruptionBudget")["spec"], rendered(LEAST)["PodDisruptionBudget"]["spec"]
    assert ours["unhealthyPodEvictionPolicy"] == theirs["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert ours["minAvailable"] < manifest("Deployment")["spec"]["replicas"]


def test_the_policy_lets_through_what_syncd_needs() -> None:
    """In its metrics; out names, and both stores where the Secret says they are."""
    ours, theirs = manifest("NetworkPolicy")["spec"], rendered(EVERYTHING)["NetworkPolicy"]["spec"]
    assert ours["podSelector"]["matchLabels"] == manifest("Deployment")["spec"]["selector"]["matchLabels"]
    assert ours["ingress"] == theirs["ingress"]
    names, stores = ours["egress"]
    assert {port["port"] for port in names["ports"]} == {53}
    asked = set(map(int, re.findall(r":(\d+)[,/]", str(manifest("Secret")["stringData"]))))
    assert {port["port"] for port in stores["ports"]} == asked
    assert {port["port"] for port in theirs["egress"][1]["ports"]} == {27018, 6380}
