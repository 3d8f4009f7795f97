"""The manifests: core objects by the published schemas, KEDA's by ours, and the threads between them.

Rule 1: what refers to something by name is compared with what bears the name; a cluster would accept a dead reference.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest

from orchestrator.domain.queues import Queue
from tests.deploy import files
from tests.deploy.files import BASE, DEPLOY, KEDA, documents, manifests, name_of, objects_of_base, run_tool

SCHEMAS: Final = Path(__file__).parent / "schemas"
SCHEMA_OF: Final = {"ScaledObject": "scaled-object.json", "TriggerAuthentication": "trigger-authentication.json"}
CORE: Final = sorted({path for path, _ in objects_of_base()})
SCALING: Final = sorted(path for path in KEDA.glob("*.yaml") if path.name != "kustomization.yaml")
YAML: Final = sorted(DEPLOY.rglob("*.yaml"))
YAMLLINT: Final = (
    "{extends: default, rules: {line-length: {max: 120}, document-start: disable, "
    "comments: {min-spaces-from-content: 2}}}"
)


def objects(kind: str) -> dict[str, dict[str, Any]]:
    """Return the objects of a kind by their names."""
    return {
        document["metadata"]["name"]: document
        for _, document in manifests(BASE, KEDA)
        if document["kind"] == kind and "metadata" in document
    }


def deployments() -> dict[str, dict[str, Any]]:
    return objects("Deployment")


def pod_of(deployment: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return pod


def test_core_manifests_have_the_form_of_their_kind() -> None:
    """Unknown keys are refused; a kind without a schema would only be warned about, so that is red as well."""
    checked = run_tool("kubernetes-validate", "--strict", *CORE)

    provider_message = checked.stdout + checked.stderr
    assert [line for line in provider_message.splitlines() if not line.startswith("INFO ")] == []
    assert checked.returncode == 0
    assert provider_message.count(" passed ") == len(objects_of_base())


@pytest.mark.parametrize("kind", SCHEMA_OF)
def test_a_scaling_manifest_has_the_form_of_its_kind(kind: str) -> None:
    paths = [path for path in SCALING if documents(path)[0]["kind"] == kind]
    checked = run_tool("check-jsonschema", "--schemafile", SCHEMAS / SCHEMA_OF[kind], *paths)

    assert paths
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_scaling_manifest_has_one_document_of_a_kind_that_is_checked() -> None:
    assert [len(documents(path)) for path in SCALING] == [1] * len(SCALING)
    assert {documents(path)[0]["kind"] for path in SCALING} == set(SCHEMA_OF)


def test_yaml_is_tidy() -> None:
    """Doubled keys above all: a reader keeps the last one and says nothing."""
    checked = run_tool("yamllint", "--strict", "--format", "parsable", "--config-data", YAMLLINT, *YAML)

    assert checked.stdout == ""
    assert checked.returncode == 0


@pytest.mark.parametrize("folder", [BASE, KEDA], ids=name_of)
def test_a_kustomization_lists_exactly_the_files_there_are(folder: Path) -> None:
    """But for itself and the example of a secret, which nobody should apply by accident."""
    (kustomization,) = documents(folder / "kustomization.yaml")
    there_are = {path.name for path in folder.iterdir()} - {"kustomization.yaml", "secret.example.yaml"}
    beside = [name for name in kustomization["resources"] if "/" in name]

    assert sorted(set(kustomization["resources"]) - set(beside)) == sorted(there_are)
    assert [name for name in beside if not (folder / name / "kustomization.yaml").exists()] == []
    assert kustomization["namespace"] in objects("Namespace")


def test_what_a_pod_reads_its_settings_from_exists() -> None:
    for name, deployment in deployments().items():
        for container in pod_of(deployment)["containers"]:
            maps = {source["configMapRef"]["name"] for source in container["envFrom"] if "configMapRef" in source}
            secrets = {source["secretRef"]["name"] for source in container["envFrom"] if "secretRef" in source}

            assert maps == objects("ConfigMap").keys(), name
            assert secrets == objects("Secret").keys(), name


def test_selectors_find_the_pods_they_are_meant_for() -> None:
    """A deployment its own; a budget for each deployment; the network policy all of them."""
    labels = {name: found["spec"]["template"]["metadata"]["labels"] for name, found in deployments().items()}
    for name, deployment in deployments().items():
        chosen = deployment["spec"]["selector"]["matchLabels"]
        assert [other for other, given in labels.items() if chosen.items() <= given.items()] == [name]
    budgets = objects("PodDisruptionBudget")
    assert budgets.keys() == labels.keys()
    for name, budget in budgets.items():
        assert budget["spec"]["selector"]["matchLabels"].items() <= labels[name].items()
    for policy in objects("NetworkPolicy").values():
        everyone = policy["spec"]["podSelector"]["matchLabels"]
        assert all(everyone.items() <= given.items() for given in labels.values())
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        [incoming] = policy["spec"]["ingress"]
        assert incoming["ports"] == [{"port": 9400, "protocol": "TCP"}], "metrics, and nothing else"
        assert incoming["from"] == [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
        ]


def test_two_beats_keep_to_different_nodes() -> None:
    beat = deployments()["beat"]
    (wish,) = pod_of(beat)["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]

    assert beat["spec"]["replicas"] == 2
    term = wish["podAffinityTerm"]
    assert term["labelSelector"]["matchLabels"].items() <= beat["spec"]["template"]["metadata"]["labels"].items()
    assert term["topologyKey"] == "kubernetes.io/hostname"


def test_a_pod_keeps_to_the_restricted_standard() -> None:
    """The namespace enforces it, so that a pod that does not would never start."""
    (namespace,) = objects("Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, deployment in deployments().items():
        pod = pod_of(deployment)
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name
            assert "memory" in container["resources"]["limits"], name


def test_the_heartbeat_lies_where_a_pod_may_write() -> None:
    (settings,) = objects("ConfigMap").values()
    heartbeat = Path(settings["data"]["ORCHESTRATOR_HEARTBEAT"])
    for name, deployment in deployments().items():
        pod = pod_of(deployment)
        writable = {volume["name"] for volume in pod["volumes"] if "emptyDir" in volume}
        for container in pod["containers"]:
            places = {Path(mount["mountPath"]) for mount in container["volumeMounts"] if mount["name"] in writable}

            assert heartbeat.parent in places, name


def test_the_work_folder_is_one_that_all_pods_see() -> None:
    (settings,) = objects("ConfigMap").values()

    assert settings["data"]["ORCHESTRATOR_WORK"].startswith("s3://")


def test_what_scales_asks_for_the_lanes_that_its_workers_serve() -> None:
    """A worker that is started for work it cannot take never ends the wait."""
    lanes_of = {process.where.split(": ")[1]: process.queues for process in files.kubernetes_processes()}
    scaled = objects("ScaledObject")

    assert scaled.keys() == {name for name, queues in lanes_of.items() if queues}
    for name, scaler in scaled.items():
        assert scaler["spec"]["scaleTargetRef"]["name"] == name
        assert "replicas" not in deployments()[name]["spec"], "an apply would undo what the autoscaler chose"
        (trigger,) = scaler["spec"]["triggers"]
        assert "FROM due_steps " in trigger["metadata"]["query"]
        asked = [Queue(word) for word in re.findall(r"'(\w+)'", trigger["metadata"]["query"])]
        assert sorted(asked) == sorted(lanes_of[name])
        assert trigger["authenticationRef"]["name"] in objects("TriggerAuthentication")


def test_only_control_workers_stay_when_nothing_is_due() -> None:
    """They take the ticks: others hand out work only when they have just finished some."""
    least = {name: scaler["spec"]["minReplicaCount"] for name, scaler in objects("ScaledObject").items()}

    assert least == {"worker-control": 1, "worker-transfer": 0, "worker-heavy": 0}


def test_the_autoscaler_reads_the_ledgers_url_from_the_secret() -> None:
    (secret,) = objects("Secret").values()
    for authentication in objects("TriggerAuthentication").values():
        for reference in authentication["spec"]["secretTargetRef"]:
            assert reference["name"] == secret["metadata"]["name"]
            assert reference["key"] in secret["stringData"]
