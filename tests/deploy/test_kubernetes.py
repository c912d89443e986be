"""The manifests: rendered by kustomize, and held against the published schemas and against what the service needs."""

import functools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from jsonschema import Draft202012Validator

from consumer.adapters.kafka.shards import topics_of
from consumer.config import PREFIX, Settings
from tests.deploy import service_login
from tests.deploy.dockerfile import of_stage
from tests.deploy.tools import DEPLOY, DOCS, load_yaml, run, schema, tool

KUBERNETES = DEPLOY / "kubernetes"
VERSIONS = ("1.30", "1.36")
"""The oldest version that the manifests are for, and a new one."""
OVERLAYS = ("postgres", "kafka")
"""Those with the service."""
ALL_OVERLAYS = (*OVERLAYS, "gateway", "reconcile", "shards")
DEFINITIONS = {
    "ScaledObject": ("keda.sh_scaledobjects.yaml", "keda"),
    "TriggerAuthentication": ("keda.sh_triggerauthentications.yaml", "keda"),
    "ServiceMonitor": ("monitoring.coreos.com_servicemonitors.yaml", "operator"),
    "PrometheusRule": ("monitoring.coreos.com_prometheusrules.yaml", "operator"),
}

Manifest = dict[str, Any]


@functools.cache
def rendered(overlay: str) -> str:
    """What `kubectl apply -k` would apply."""
    return run([tool("kustomize"), "build", KUBERNETES / "overlays" / overlay]).stdout


@functools.cache
def manifests(overlay: str) -> list[Manifest]:
    """The same, read."""
    return load_yaml(rendered(overlay))


def one(overlay: str, kind: str) -> Manifest:
    """The manifest of a kind of which there is one."""
    (found,) = [manifest for manifest in manifests(overlay) if manifest["kind"] == kind]
    return found


def pods(overlay: str) -> Iterator[tuple[str, Manifest]]:
    """Kind and pod template of each workload."""
    for manifest in manifests(overlay):
        match manifest["kind"]:
            case "Deployment" | "StatefulSet" | "Job":
                yield manifest["kind"], manifest["spec"]["template"]
            case "CronJob":
                yield manifest["kind"], manifest["spec"]["jobTemplate"]["spec"]["template"]
            case _:
                pass


def closed(node: Any) -> Any:
    """A structural schema that lets no field pass which it does not name, as the API server prunes them."""
    if isinstance(node, list):
        return [closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    shut = {name: closed(value) for name, value in node.items()}
    open_ended = node.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in node
    if node.get("type") == "object" and isinstance(node.get("properties"), dict) and not open_ended:
        shut["additionalProperties"] = False
    return shut


def errors(definition: Manifest, manifest: Manifest) -> list[str]:
    """What a custom resource definition has against a manifest."""
    served = {version["name"]: version["schema"]["openAPIV3Schema"] for version in definition["spec"]["versions"]}
    own = closed(served[manifest["apiVersion"].rpartition("/")[2]])
    own["properties"]["metadata"] = {"type": "object"}
    return [error.message for error in Draft202012Validator(own).iter_errors(manifest)]


class TestSchemas:
    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("overlay", ALL_OVERLAYS)
    def test_core_kinds(self, overlay: str, version: str, tmp_path: Path) -> None:
        """Kubernetes knows each field, and each field that it requires is there."""
        rest = [part for part in rendered(overlay).split("\n---\n") if kind_of(part) not in DEFINITIONS]
        (tmp_path / "core.yaml").write_text("\n---\n".join(rest), encoding="utf-8")
        said = run([tool("kubernetes-validate"), "--strict", "-k", version, tmp_path / "core.yaml"])
        assert "WARN" not in said.stdout + said.stderr
        assert (said.stdout + said.stderr).count(" passed for resource ") == len(rest)

    @pytest.mark.parametrize("overlay", OVERLAYS)
    def test_custom_kinds(self, overlay: str) -> None:
        """KEDA and the Prometheus operator know each field of theirs."""
        custom = [manifest for manifest in manifests(overlay) if manifest["kind"] in DEFINITIONS]
        assert {"ScaledObject", "ServiceMonitor", "PrometheusRule"} <= {manifest["kind"] for manifest in custom}
        for manifest in custom:
            assert errors(schema(*DEFINITIONS[manifest["kind"]]), manifest) == []

    def test_the_check_of_custom_kinds_finds_mistakes(self) -> None:
        """A misspelt field and a wrong type are found, so that the test above means something."""
        good = one("postgres", "ScaledObject")
        definition = schema(*DEFINITIONS["ScaledObject"])
        assert errors(definition, {**good, "spec": {**good["spec"], "maxReplicas": 3}})
        assert errors(definition, {**good, "spec": {**good["spec"], "maxReplicaCount": "3"}})

    def test_no_kind_is_left_out(self) -> None:
        """What is expected of the base is rendered in both overlays."""
        for overlay in OVERLAYS:
            kinds = {manifest["kind"] for manifest in manifests(overlay)}
            assert kinds >= {
                "Deployment",
                "Service",
                "ServiceMonitor",
                "PrometheusRule",
                "PodDisruptionBudget",
                "NetworkPolicy",
                "Job",
                "CronJob",
                "ScaledObject",
            }


def kind_of(text: str) -> str:
    """The kind of a manifest that is still text."""
    found = re.search(r"^kind: (\w+)$", text, re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("overlay", ALL_OVERLAYS)
class TestPods:
    def test_are_restricted(self, overlay: str) -> None:
        """Each field that the pod security standard `restricted` asks for, and some that it does not."""
        for kind, template in pods(overlay):
            pod = template["spec"]
            assert pod["securityContext"]["runAsNonRoot"] is True, kind
            assert pod["securityContext"]["runAsUser"] >= 10_000
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & pod.keys()
            assert {next(iter(volume.keys() - {"name"})) for volume in pod["volumes"]} <= {"secret", "configMap"}
            assert pod["automountServiceAccountToken"] is False
            assert "initContainers" not in pod
            for container in pod["containers"]:
                context = container["securityContext"]
                assert context["allowPrivilegeEscalation"] is False
                assert context["capabilities"] == {"drop": ["ALL"]}
                assert context["readOnlyRootFilesystem"] is True
                assert not {"privileged", "procMount", "seLinuxOptions", "windowsOptions"} & context.keys()
                assert not [port for port in container.get("ports", []) if "hostPort" in port]

    def test_are_the_user_of_the_image(self, overlay: str) -> None:
        """The number is the Dockerfile's, and the secret's files are readable to its group."""
        user = of_stage(1, "USER")[0]
        for _, template in pods(overlay):
            context = template["spec"]["securityContext"]
            assert f"{context['runAsUser']}:{context['runAsGroup']}" == user
            assert context["fsGroup"] == context["runAsGroup"]
            for volume in template["spec"]["volumes"]:
                assert volume["secret"]["defaultMode"] == 0o440

    def test_are_bounded(self, overlay: str) -> None:
        """Each asks for what it needs, and cannot take all the memory of its node."""
        for _, template in pods(overlay):
            for container in template["spec"]["containers"]:
                assert container["resources"]["requests"].keys() == {"cpu", "memory"}
                assert "memory" in container["resources"]["limits"]

    def test_know_their_settings(self, overlay: str) -> None:
        """Each variable is one that the program has, and no service link can be mistaken for one."""
        settings = one(overlay, "ConfigMap")["data"]
        assert {name.removeprefix(PREFIX).lower() for name in settings} <= Settings.model_fields.keys()
        Settings(_env_file=None, **{name.removeprefix(PREFIX).lower(): value for name, value in settings.items()})
        for _, template in pods(overlay):
            assert template["spec"]["enableServiceLinks"] is False
            (container,) = template["spec"]["containers"]
            settings_of, *secrets = container["envFrom"]
            assert settings_of == {"configMapRef": {"name": one(overlay, "ConfigMap")["metadata"]["name"]}}
            of_the_gateway = overlay == "gateway" and "gateway" in {port["name"] for port in container.get("ports", [])}
            assert secrets == ([{"secretRef": {"name": "webhook-router-gateway"}}] if of_the_gateway else [])
            (mount,) = container["volumeMounts"]
            own = {variable["name"]: variable.get("value") for variable in container.get("env", [])}
            assert {name.removeprefix(PREFIX).lower() for name in own} - {"shard"} <= Settings.model_fields.keys()
            url = f"{mount['mountPath']}/url" + "-$(SHARD)" * (overlay == "shards")
            assert (settings | own)[f"{PREFIX}DATABASE_URL_FILE"] == url

    def test_only_the_migration_knows_the_owner(self, overlay: str) -> None:
        """The service and the sweep get the URL of the service's own login."""
        secrets = {kind: template["spec"]["volumes"][0]["secret"]["secretName"] for kind, template in pods(overlay)}
        assert secrets.pop("Job") == "webhook-router-database-owner"
        assert set(secrets.values()) == {"webhook-router-database"}


@pytest.mark.parametrize("overlay", OVERLAYS)
class TestService:
    def test_probes(self, overlay: str) -> None:
        """Start and life are asked of /livez, readiness of /readyz, at the port that the settings name."""
        (container,) = one(overlay, "Deployment")["spec"]["template"]["spec"]["containers"]
        paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
        assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}
        (port,) = container["ports"]
        settings = one(overlay, "ConfigMap")["data"]
        assert str(port["containerPort"]) == settings[f"{PREFIX}HTTP_PORT"]
        assert settings[f"{PREFIX}HTTP_HOST"] == "0.0.0.0"

    def test_has_the_time_to_drain(self, overlay: str) -> None:
        """Killed later than the service gives up waiting for its batch."""
        pod = one(overlay, "Deployment")["spec"]["template"]["spec"]
        grace = float(one(overlay, "ConfigMap")["data"][f"{PREFIX}SHUTDOWN_GRACE"])
        assert pod["terminationGracePeriodSeconds"] > grace + 10

    def test_selectors_find_what_they_are_for(self, overlay: str) -> None:
        """Deployment, service, budget and policy mean the service's pods, and no selector means the jobs' as well."""
        labels = {kind: template["metadata"]["labels"] for kind, template in pods(overlay)}
        service = one(overlay, "Service")
        for selector in (
            one(overlay, "Deployment")["spec"]["selector"]["matchLabels"],
            one(overlay, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
            service["spec"]["selector"],
        ):
            assert selector.items() <= labels["Deployment"].items()
            assert not selector.items() <= labels["Job"].items()
            assert not selector.items() <= labels["CronJob"].items()
        policy = one(overlay, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
        assert all(policy.items() <= own.items() for own in labels.values())
        monitor = one(overlay, "ServiceMonitor")["spec"]
        assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert monitor["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
        assert service["metadata"]["name"] == "webhook-router"  # which the operator makes the job of the alerts

    def test_keda_alone_says_how_many(self, overlay: str) -> None:
        """The deployment names no number that would be put in force again by each apply."""
        assert "replicas" not in one(overlay, "Deployment")["spec"]
        scaled = one(overlay, "ScaledObject")["spec"]
        assert scaled["scaleTargetRef"]["name"] == one(overlay, "Deployment")["metadata"]["name"]
        assert 1 <= scaled["minReplicaCount"] <= scaled["fallback"]["replicas"] <= scaled["maxReplicaCount"]

    def test_rules_are_those_of_prometheus(self, overlay: str) -> None:
        """Operators of Kubernetes get the alerts that the other tests are about."""
        (rules,) = load_yaml(DEPLOY / "prometheus" / "rules.yml")
        assert one(overlay, "PrometheusRule")["spec"] == rules, "write it again: the command is at its top"


def test_keda_measures_the_lag_of_what_is_read() -> None:
    """Brokers, group and topic of the scaler are those of the service, and no replica would be idle for want of one."""
    (trigger,) = one("kafka", "ScaledObject")["spec"]["triggers"]
    settings = one("kafka", "ConfigMap")["data"]
    assert settings[f"{PREFIX}SOURCE"] == "kafka"
    assert trigger["metadata"]["bootstrapServers"] == settings[f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS"]
    assert trigger["metadata"]["consumerGroup"] == settings[f"{PREFIX}KAFKA_GROUP_ID"]
    assert trigger["metadata"]["topic"] == settings[f"{PREFIX}KAFKA_TOPICS"]
    ports = {port["port"] for rule in one("kafka", "NetworkPolicy")["spec"]["egress"] for port in rule["ports"]}
    assert {5432, int(settings[f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS"].rpartition(":")[2])} <= ports


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    """A file in the place of what a secret has."""
    file = tmp_path / "kafka-password"
    file.write_text("a password", encoding="utf-8")
    return str(file)


def test_brokers_prove_who_they_are(password_file: str) -> None:
    """Service and scaler encrypt, log in as the same user, and take its password and the authority from one secret."""
    settings = one("kafka", "ConfigMap")["data"]
    given = {name.removeprefix(PREFIX).lower(): value for name, value in settings.items()}
    connection, _ = Settings(_env_file=None, **(given | {"kafka_sasl_password_file": password_file})).kafka()
    assert (connection.security_protocol, connection.sasl_username) == ("SASL_SSL", "webhook-router")
    (trigger,) = one("kafka", "ScaledObject")["spec"]["triggers"]
    assert trigger["metadata"]["tls"] == "enable"
    assert trigger["metadata"]["sasl"] == given["kafka_sasl_mechanism"].lower().replace("scram-sha-", "scram_sha")
    authentication = one("kafka", "TriggerAuthentication")
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    (volume,) = one("kafka", "Deployment")["spec"]["template"]["spec"]["volumes"]
    (mount,) = one("kafka", "Deployment")["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    keys = {reference["parameter"]: reference["key"] for reference in authentication["spec"]["secretTargetRef"]}
    assert {reference["name"] for reference in authentication["spec"]["secretTargetRef"]} == {
        volume["secret"]["secretName"]
    }
    assert given["kafka_sasl_password_file"] == f"{mount['mountPath']}/{keys['password']}"
    assert given["kafka_ssl_cafile"] == f"{mount['mountPath']}/{keys['ca']}"
    page = (DOCS / "kafka.md").read_text(encoding="utf-8")
    assert all(f"--from-file={key}" in page for key in keys.values())


class TestShards:
    def test_each_pod_has_a_database_and_a_topic_of_its_own(self, password_file: str) -> None:
        """The topics are those that `produce --shards` writes; no two pods share a group or a file with a URL."""
        stateful = one("shards", "StatefulSet")["spec"]
        (container,) = stateful["template"]["spec"]["containers"]
        in_common = one("shards", "ConfigMap")["data"]
        settings = [in_common | expanded(container["env"], number) for number in range(stateful["replicas"])]
        topic = in_common[f"{PREFIX}KAFKA_TOPICS"]
        assert tuple(own[f"{PREFIX}KAFKA_TOPICS"] for own in settings) == topics_of(topic, stateful["replicas"])
        for name in ("DATABASE_URL_FILE", "KAFKA_TOPICS", "KAFKA_GROUP_ID", "KAFKA_DEAD_LETTER_TOPIC"):
            assert len({own[PREFIX + name] for own in settings}) == stateful["replicas"], name
        for own in settings:
            given = {name.removeprefix(PREFIX).lower(): value for name, value in own.items() if name.startswith(PREFIX)}
            Settings(_env_file=None, **(given | {"kafka_sasl_password_file": password_file})).kafka()

    def test_migration_and_sweep_reach_every_database(self) -> None:
        """By the same names; the sweep of one does not wait for another, and the migration goes one by one."""
        count = one("shards", "StatefulSet")["spec"]["replicas"]
        migration, sweep = one("shards", "Job")["spec"], one("shards", "CronJob")["spec"]["jobTemplate"]["spec"]
        for job in (migration, sweep):
            assert (job["completionMode"], job["completions"]) == ("Indexed", count)
            (container,) = job["template"]["spec"]["containers"]
            files = {expanded(container["env"], n)[f"{PREFIX}DATABASE_URL_FILE"] for n in range(count)}
            assert len(files) == count
        assert (migration["parallelism"], sweep["parallelism"]) == (1, count)
        assert "backoffLimit" not in sweep
        assert sweep["backoffLimitPerIndex"] == 1

    def test_alerts_are_about_one_database(self) -> None:
        """Each pod is a job of its own to the rules, which look at jobs; they know its name."""
        (endpoint,) = one("shards", "ServiceMonitor")["spec"]["endpoints"]
        assert endpoint["relabelings"] == [{"sourceLabels": ["__meta_kubernetes_pod_name"], "targetLabel": "job"}]
        stateful = one("shards", "StatefulSet")
        patterns = re.findall(r'job=~?"([^"]*)"', str(one("shards", "PrometheusRule")["spec"]))
        assert patterns
        for number in range(stateful["spec"]["replicas"]):
            assert all(re.fullmatch(pattern, f"{stateful['metadata']['name']}-{number}") for pattern in patterns)

    def test_nothing_changes_how_many_there_are(self) -> None:
        """No scaler is left, the headless service is the set's, and the page names every key of the secrets."""
        kinds = {manifest["kind"] for manifest in manifests("shards")}
        assert not kinds & {"Deployment", "ScaledObject", "TriggerAuthentication"}
        assert one("shards", "StatefulSet")["spec"]["serviceName"] == one("shards", "Service")["metadata"]["name"]
        assert one("shards", "Service")["spec"]["clusterIP"] == "None"
        page = (DOCS / "more-than-one-database.md").read_text(encoding="utf-8")
        for number in range(one("shards", "StatefulSet")["spec"]["replicas"]):
            assert page.count(f"--from-file=url-{number}=") == 2

    def test_the_page_tells_how_to_change_the_number(self, tmp_path: Path) -> None:
        """Its command leaves no place out."""
        page = (DOCS / "more-than-one-database.md").read_text(encoding="utf-8")
        (edit,) = re.findall(r"^ *(sed .*)$", page, re.MULTILINE)
        shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
        place = tmp_path / "kubernetes" / "overlays" / "shards"
        run(["sh", "-c", edit], cwd=place)
        made = run([tool("kustomize"), "build", place]).stdout
        assert re.findall(r"(?:replicas|completions|parallelism): (\d+)", made) == ["8", "8", "8", "8", "1"]


def expanded(env: list[Manifest], number: int) -> dict[str, str]:
    """The variables of the container of a pod or an index, as Kubernetes makes them."""
    of_number = {
        "metadata.labels['apps.kubernetes.io/pod-index']",
        "metadata.annotations['batch.kubernetes.io/job-completion-index']",
    }
    made: dict[str, str] = {}
    for variable in env:
        if "valueFrom" in variable:
            assert variable["valueFrom"]["fieldRef"]["fieldPath"] in of_number
            made[variable["name"]] = str(number)
        else:  # only those in front of it are known to it
            made[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda found: made[found[1]], variable["value"])
    return made


def test_the_sweep_can_be_all_there_is() -> None:
    """The third overlay is the migration and a sweep each minute, and nothing that would need KEDA or Prometheus."""
    kinds = [manifest["kind"] for manifest in manifests("reconcile")]
    assert sorted(kinds) == ["ConfigMap", "CronJob", "Job", "NetworkPolicy", "ServiceAccount"]
    assert one("reconcile", "CronJob")["spec"]["schedule"] == "* * * * *"
    assert one("reconcile", "CronJob")["spec"]["concurrencyPolicy"] == "Forbid"


def test_keda_asks_what_the_service_may_ask(database: str) -> None:
    """The scaler's query gives one number, to the service's own login."""
    (trigger,) = one("postgres", "ScaledObject")["spec"]["triggers"]
    with service_login.made(database) as (_, dsn), psycopg.connect(dsn) as connection:
        rows = connection.execute(trigger["metadata"]["query"].encode()).fetchall()
    assert rows == [(0,)]
