"""The Kubernetes manifests: of the published schemas, whole, and true of the program."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from alertmanager.generate import ALERTS, META_ALERTS
from exporter import __version__
from exporter.config.configuration import load_settings
from exporter.config.settings import keys
from tests.support.deployed import KUBERNETES, manifests, settings_of, understood
from tests.support.program import ROOT, RULES

if TYPE_CHECKING:
    from collections.abc import Iterator

KUSTOMIZATION = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
CONFIG = KUBERNETES / "config.yml"
# Kubernetes' own objects have published schemas; of the operator's, the fields that are used here are known.
TEXT = {"type": "string"}
RELABELING = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "sourceLabels": {"type": "array", "items": TEXT},
        "action": {"enum": ["replace", "keep", "drop"]},
        **dict.fromkeys(("regex", "replacement", "targetLabel"), TEXT),
    },
}
TEXTS = {"type": "object", "additionalProperties": TEXT}
OWN_SCHEMAS = {
    "ServiceMonitor": {
        "selector": {"type": "object", "required": ["matchLabels"]},
        "endpoints": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "port": TEXT,
                    "interval": {"type": "string", "pattern": r"^\d+(ms|s|m)$"},
                    "scrapeTimeout": {"type": "string", "pattern": r"^\d+(ms|s|m)$"},
                    "relabelings": {"type": "array", "items": RELABELING},
                    "metricRelabelings": {"type": "array", "items": RELABELING},
                },
            },
        },
    },
    "PrometheusRule": {
        "groups": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "additionalProperties": False,
                "properties": {
                    "name": {"type": "string", "minLength": 1},
                    "interval": TEXT,
                    "rules": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["expr", "alert"],
                            "additionalProperties": False,
                            "properties": {
                                **dict.fromkeys(("alert", "expr", "for", "keep_firing_for"), TEXT),
                                "labels": TEXTS,
                                "annotations": TEXTS,
                            },
                        },
                    },
                },
            },
        },
    },
}


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    return [manifest for manifest in manifests() if manifest["kind"] in kinds]


def named(manifest: dict[str, Any]) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for deployment in of_kind("Deployment"):
        yield deployment["metadata"]["name"], deployment["spec"]["template"]["spec"]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def every_container() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    return ((pod, container) for _, pod in pods() for container in containers(pod))


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container.get("env", [])}


def mounted(pod: dict[str, Any], container: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The pod's volume at each path of the container."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    return {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}


def pod_labels() -> dict[str, dict[str, str]]:
    return {d["metadata"]["name"]: d["spec"]["template"]["metadata"]["labels"] for d in of_kind("Deployment")}


def documented_secrets() -> dict[str, set[str]]:
    """Keys by Secret, as the deployment guide asks for them."""
    text = (ROOT / "docs/deployment.md").read_text().partition("## With Kubernetes")[2].partition("\n## ")[0]
    found: dict[str, set[str]] = {}
    for names, held in re.findall(r"^\| (`[^|]*`) \| (`[^|]*`) \|$", text, re.MULTILINE):
        for name in re.findall(r"`([^`]+)`", names):
            found[name] = set(re.findall(r"`([^`]+)`", held))
    return found


@pytest.mark.parametrize("manifest", [m for m in manifests() if m["kind"] not in OWN_SCHEMAS], ids=named)
def test_an_object_is_of_kubernetes_published_schema(manifest) -> None:
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("manifest", of_kind(*OWN_SCHEMAS), ids=named)
def test_an_object_of_the_prometheus_operator_has_its_shape(manifest) -> None:
    properties = OWN_SCHEMAS[manifest["kind"]]

    assert manifest.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert manifest["apiVersion"] == "monitoring.coreos.com/v1"
    jsonschema.validate(
        manifest["spec"],
        {"type": "object", "required": list(properties), "additionalProperties": False, "properties": properties},
    )


def test_the_kustomization_names_every_file_and_no_other() -> None:
    files = {path.name for path in KUBERNETES.iterdir()}

    maps = {path.split("/")[0] for generated in KUSTOMIZATION["configMapGenerator"] for path in generated["files"]}
    assert {*KUSTOMIZATION["resources"], *maps, "kustomization.yaml"} == files
    assert KUSTOMIZATION.keys() == {
        *("apiVersion", "kind", "namespace", "labels", "images", "configMapGenerator", "resources"),
    }
    assert all(label.keys() == {"pairs"} for label in KUSTOMIZATION["labels"])


def test_the_kustomizations_namespace_is_made() -> None:
    (namespace,) = of_kind("Namespace")

    assert namespace["metadata"]["name"] == KUSTOMIZATION["namespace"]


def test_every_container_runs_the_programs_own_version() -> None:
    (image,) = KUSTOMIZATION["images"]

    assert image == {"name": "dict-rate-limit-exporter", "newTag": __version__}
    assert {container["image"] for _, container in every_container()} == {image["name"]}


def test_names_are_used_once() -> None:
    names = [named(manifest) for manifest in manifests()]

    assert len(set(names)) == len(names)


def test_every_volume_is_declared_once_and_mounted() -> None:
    for _, pod in pods():
        declared = [volume["name"] for volume in pod["volumes"]]
        used = {mount["name"] for container in containers(pod) for mount in container["volumeMounts"]}
        assert len(set(declared)) == len(declared)
        assert set(declared) == used


def test_every_config_map_and_service_account_exists() -> None:
    maps = {generated["name"] for generated in KUSTOMIZATION["configMapGenerator"]}
    accounts = {account["metadata"]["name"] for account in of_kind("ServiceAccount")}

    mapped = [{v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v} for _, pod in pods()]
    assert set().union(*mapped) == maps
    for _, pod in pods():
        assert pod["serviceAccountName"] in accounts
        assert pod["automountServiceAccountToken"] is False


def test_every_secret_and_each_of_its_keys_is_one_that_the_deployment_guide_asks_for() -> None:
    known, used = documented_secrets(), set()

    for pod, container in every_container():
        for path, volume in mounted(pod, container).items():
            if "secret" not in volume:
                continue
            secret = volume["secret"]
            used.add(secret["secretName"])
            files = {item["path"]: item["key"] for item in secret.get("items", [])}
            assert set(files.values()) <= known[secret["secretName"]]
            shown = set(files) or known[secret["secretName"]]
            read = {
                value for value in environment(container).values() if PurePosixPath(value).parent == PurePosixPath(path)
            }
            assert {PurePosixPath(value).name for value in read} <= shown
    assert used == known.keys()


@pytest.mark.parametrize("deployment", [name for name, _ in pods()])
def test_the_program_understands_commands_configuration_and_environment_of(deployment, tmp_path) -> None:
    pod = dict(pods())[deployment]

    for container in containers(pod):
        *words, option, file = container["args"]
        assert understood(container["args"]) == words[0]
        assert (option, PurePosixPath(file).name) == ("--config.file", CONFIG.name)
        assert "configMap" in mounted(pod, container)[str(PurePosixPath(file).parent)]
        settings = settings_of(environment(container), tmp_path, CONFIG)
        if deployment == "reconciler":
            assert settings.database.dsn is not None


def test_the_configuration_names_files_that_are_mounted() -> None:
    settings = load_settings(CONFIG, {})
    files = {"exporter": {"bridge", "feed"}, "reconciler": {"feed"}}

    for name, pod in pods():
        (container,) = pod["containers"]
        for section in files[name]:
            for file in map(PurePosixPath, vars_of(getattr(settings, section).tls)):
                secret = mounted(pod, container)[str(file.parent)]["secret"]["secretName"]
                assert file.name in documented_secrets()[secret]


def vars_of(tls: Any) -> list[str]:
    return [value for name in tls.__struct_fields__ if (value := getattr(tls, name)) is not None]


def test_the_rules_are_a_folder_that_follows_its_config_map_and_are_where_the_image_looks() -> None:
    (rules,) = [generated for generated in KUSTOMIZATION["configMapGenerator"] if "rules" in generated["name"]]
    (looked_at,) = re.findall(r"DICT_RATE_LIMIT_RULES__FILES=(\S+)", (ROOT / "Dockerfile").read_text())
    mounts = [
        (mount["mountPath"], volume["configMap"]["name"], "subPath" in mount)
        for _, pod in pods()
        for container in containers(pod)
        for mount in container["volumeMounts"]
        for volume in pod["volumes"]
        if volume["name"] == mount["name"] == "rules"
    ]

    assert rules["options"] == {"disableNameSuffixHash": True}
    assert rules["files"] == [f"rules/{RULES.name}"]
    assert (KUBERNETES / "rules" / RULES.name).read_text() == RULES.read_text()
    assert mounts == [(str(PurePosixPath(looked_at).parent), rules["name"], False)]
    assert PurePosixPath(looked_at).name == "*.yml"


def test_the_configuration_holds_no_secret() -> None:
    written = yaml.safe_load(CONFIG.read_text())

    assert "dsn" not in written.get("database", {})
    assert "token" not in written["pulsar"]
    assert written.keys() <= {path[0] for path, _, _ in keys()}


def test_selectors_find_pods() -> None:
    labels = pod_labels()

    for deployment in of_kind("Deployment"):
        selected = deployment["spec"]["selector"]["matchLabels"]
        assert selected.items() <= labels[deployment["metadata"]["name"]].items()
        for spread in deployment["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
            assert spread["labelSelector"]["matchLabels"] == selected
    for service in of_kind("Service"):
        assert service["spec"]["selector"].items() <= labels[service["metadata"]["name"]].items()
    for budget in of_kind("PodDisruptionBudget"):
        assert budget["spec"]["selector"]["matchLabels"].items() <= labels[budget["metadata"]["name"]].items()
    for policy in of_kind("NetworkPolicy"):
        chosen = policy["spec"]["podSelector"].get("matchLabels", {})
        assert any(chosen.items() <= found.items() for found in labels.values()), policy["metadata"]["name"]


def test_ports_that_are_named_exist() -> None:
    ports = {name: {p["name"]: p["containerPort"] for p in pod["containers"][0]["ports"]} for name, pod in pods()}
    settings = load_settings(CONFIG, {})

    for name, pod in pods():
        (container,) = pod["containers"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["httpGet"]["port"] in ports[name]
    for service in of_kind("Service"):
        for port in service["spec"]["ports"]:
            assert ports[service["metadata"]["name"]][port["targetPort"]] == port["port"]
    assert all(settings.web.listen_address.endswith(f":{held['http']}") for held in ports.values())
    assert settings.feed.listen_address == f"0.0.0.0:{ports['exporter']['feed']}"
    assert settings.feed.targets == (f"exporter:{ports['exporter']['feed']}",)


def test_probes_ask_for_paths_that_the_program_answers() -> None:
    api = (ROOT / "docs/http-api.md").read_text()

    paths = {c[p]["httpGet"]["path"] for _, c in every_container() for p in c if p.endswith("Probe")}

    assert paths == {"/-/healthy", "/-/ready"}
    assert all(f"`{path}`" in api for path in paths)


def test_the_network_policies_let_through_what_the_configuration_needs() -> None:
    settings = load_settings(CONFIG, {})
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in of_kind("NetworkPolicy")}
    out = {name: {port["port"] for rule in policies[name]["egress"] for port in rule["ports"]} for name in pod_labels()}

    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert port_of(settings.bridge.target) in out["exporter"]
    assert {port_of(settings.pulsar.service_url), 5432, "feed"} <= out["reconciler"]
    (feed,) = [r for r in policies["exporter"]["ingress"] if r["ports"] == [{"protocol": "TCP", "port": "feed"}]]
    assert feed["from"][0]["podSelector"]["matchLabels"].items() <= pod_labels()["reconciler"].items()


def port_of(address: str | None) -> int:
    return int((address or "").rpartition(":")[2])


def test_pods_meet_the_restricted_standard_that_the_namespace_enforces() -> None:
    for pod, container in every_container():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert {
        f"USER {pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" for _, pod in pods()
    } == {line for line in dockerfile.splitlines() if line.startswith("USER ")}


def test_the_service_monitor_finds_the_services_and_gives_them_the_jobs_that_rules_know() -> None:
    (monitor,) = of_kind("ServiceMonitor")
    added = {name: value for label in KUSTOMIZATION["labels"] for name, value in label["pairs"].items()}
    (endpoint,) = monitor["spec"]["endpoints"]
    (relabeling,) = endpoint["relabelings"]
    scraped = {
        j["job_name"] for j in yaml.safe_load((ROOT / "alertmanager/prometheus.yml").read_text())["scrape_configs"]
    }

    services = of_kind("Service")

    assert len(services) == len(pod_labels())
    for service in services:
        labels = service["metadata"]["labels"] | added
        assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
        assert relabeling["replacement"].replace("${1}", service["metadata"]["name"]) in scraped


def test_the_prometheus_rule_holds_what_prometheus_loads_elsewhere() -> None:
    (rule,) = of_kind("PrometheusRule")
    loaded = list(chain.from_iterable(yaml.safe_load(path.read_text())["groups"] for path in (ALERTS, META_ALERTS)))

    assert rule["spec"]["groups"] == loaded
