"""The manifests: valid for Kubernetes, confined, and consistent with the topology that they carry."""

import os
import re
import shutil
from collections import Counter
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from manifests import (
    DEPLOY,
    KUBERNETES,
    OVERLAYS,
    REPOSITORY,
    Manifest,
    generated,
    only,
    pods,
    read,
    render,
    run,
    seconds,
    worker,
)

VERSIONS = ["1.31", "1.37"]
"""Kubernetes versions: the manifests are valid for both and, presumably, for those between."""

CUSTOM = {"PrometheusRule", "ScaledObject", "ServiceMonitor", "TriggerAuthentication"}
"""Kinds that Kubernetes itself does not know: checked against their documentation, below."""


@pytest.fixture(scope="module", params=["base", *OVERLAYS])
def rendered(request: pytest.FixtureRequest) -> list[Manifest]:
    name = request.param
    return render(KUBERNETES / "base" if name == "base" else KUBERNETES / "overlays" / name)


@pytest.fixture(scope="module")
def production() -> list[Manifest]:
    return render(KUBERNETES / "overlays" / "production")


@pytest.fixture(scope="module")
def by_cpu(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """The production overlay with the other way to scale, changed as described in its comment."""
    directory = tmp_path_factory.mktemp("deploy")
    return changed_production(directory, "- ../../components/scale-on-lag ", "- ../../components/scale-on-cpu ")


@pytest.fixture(scope="module")
def exporting(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """The production overlay with the exporter."""
    known = "- ../../components/prometheus-operator "
    directory = tmp_path_factory.mktemp("exporter")
    return changed_production(directory, known, f"- ../../components/exporter\n  {known}")


class TestValidity:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_kubernetes_takes_every_manifest(self, rendered: list[Manifest], version: str) -> None:
        for manifest in rendered:
            if manifest["kind"] not in CUSTOM:
                kubernetes_validate.validate(manifest, version, strict=True)

    @pytest.mark.parametrize("version", VERSIONS)
    def test_the_validation_sees_a_fault(self, version: str) -> None:
        manifest = only(render(KUBERNETES / "base"), "Deployment")
        manifest["spec"]["template"]["spec"]["containers"][0]["readOnlyRoot"] = True
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(manifest, version, strict=True)

    @pytest.mark.parametrize("version", VERSIONS)
    def test_scaling_by_cpu(self, by_cpu: list[Manifest], version: str) -> None:
        for manifest in (each for each in by_cpu if each["kind"] not in CUSTOM):
            kubernetes_validate.validate(manifest, version, strict=True)
        scaler = only(by_cpu, "HorizontalPodAutoscaler")["spec"]
        assert scaler["scaleTargetRef"]["kind"] == "Deployment"
        assert scaler["maxReplicas"] == partitions("spans")
        assert "replicas" not in worker(by_cpu)["spec"]

    def test_names_are_unique_and_in_one_namespace(self, rendered: list[Manifest]) -> None:
        names = Counter((each["kind"], each["metadata"]["name"]) for each in rendered)
        assert set(names.values()) == {1}
        for each in rendered:
            assert each["kind"] == "Namespace" or each["metadata"].get("namespace") == "tailrace", each


class TestConfinement:
    def test_pods_are_restricted(self, rendered: list[Manifest]) -> None:
        """The rules of the namespace's pod security standard; a cluster would refuse violations."""
        labels = only(rendered, "Namespace")["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
        for name, pod in pods(rendered):
            security = pod["securityContext"]
            assert security["runAsNonRoot"] is True, name
            assert security["runAsUser"] > 0 and security["runAsGroup"] > 0, name
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
            assert pod["automountServiceAccountToken"] is False, name
            for container in pod["containers"] + pod.get("initContainers", []):
                own = container["securityContext"]
                assert own["allowPrivilegeEscalation"] is False, name
                assert own["capabilities"] == {"drop": ["ALL"]}, name
                assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
                limits = container["resources"]["limits"]
                assert limits["memory"] == container["resources"]["requests"]["memory"], name

    def test_our_containers_write_nowhere(self, rendered: list[Manifest]) -> None:
        ours = [
            container
            for _, pod in pods(rendered)
            for container in pod["containers"]
            if container["image"].rpartition("/")[2].startswith("tailrace:")
        ]
        assert ours
        for container in ours:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert all(mount["readOnly"] for mount in container.get("volumeMounts", []))

    def test_images_have_a_version(self, rendered: list[Manifest]) -> None:
        for name, pod in pods(rendered):
            for container in pod["containers"]:
                tag = container["image"].rpartition("/")[2].partition(":")[2]
                assert tag and tag != "latest", f"{name}: {container['image']}"

    def test_workers_talk_only_to_brokers_dns_and_prometheus(self, rendered: list[Manifest]) -> None:
        policy = only(rendered, "NetworkPolicy")["spec"]
        assert policy["podSelector"]["matchLabels"].items() <= labels_of_pods(rendered).items()
        assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
        (asking,) = policy["ingress"]
        assert [each["port"] for each in asking["ports"]] == [8080]
        assert all(each.get("podSelector") for each in asking["from"])
        to = [(rule["to"], {port["port"] for port in rule["ports"]}) for rule in policy["egress"]]
        assert [ports for _, ports in to] == [{9092, 9093}, {53}, {5353}]
        # An empty list of peers, or an empty peer, would mean everyone. A node's own DNS cache is not a pod.
        cache = {"ipBlock": {"cidr": "169.254.20.10/32"}}
        for peers, _ in to:
            assert peers and all(peer.get("podSelector") or peer == cache for peer in peers)

    def test_dns_is_reached_wherever_it_is(self, rendered: list[Manifest]) -> None:
        """CoreDNS, NodeLocal DNSCache as pods and as an address, OpenShift's on the port behind its Service."""
        rules = only(rendered, "NetworkPolicy")["spec"]["egress"][1:]
        selected = {
            (peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], port["port"])
            for rule in rules for peer in rule["to"] if "podSelector" in peer for port in rule["ports"]
        }  # fmt: skip
        assert selected == {("kube-system", 53), ("openshift-dns", 5353)}
        assert {"ipBlock": {"cidr": "169.254.20.10/32"}} in rules[0]["to"]
        for rule in rules:
            assert [port["protocol"] for port in rule["ports"]] == ["UDP", "TCP"]

    def test_no_secret_is_written_down(self, rendered: list[Manifest]) -> None:
        assert not [each for each in rendered if each["kind"] == "Secret"]
        for _, pod in pods(rendered):
            for container in pod["containers"]:
                for variable in container.get("env", []):
                    assert "PASSWORD" not in variable["name"] or "valueFrom" in variable


class TestWorkers:
    def test_a_graceful_stop_fits(self, rendered: list[Manifest]) -> None:
        topology = yaml.safe_load(generated(rendered, "tailrace-topology")["topology.yaml"])
        grace = worker(rendered)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        assert seconds(topology["stop_timeout"]) == 25
        assert grace == 40

    def test_memory_covers_what_the_topology_may_take(self, rendered: list[Manifest]) -> None:
        """1.3 times `limits.memory`, and librdkafka's two queues; the rest is in the manifest's comment."""
        topology = yaml.safe_load(generated(rendered, "tailrace-topology")["topology.yaml"])
        queues = topology["kafka"]["queue.buffering.max.kbytes"] * 1024 + 65_536 * 1024
        needed = 1.3 * size(topology["limits"]["memory"]) + queues
        container = worker(rendered)["spec"]["template"]["spec"]["containers"][0]
        assert needed < size(container["resources"]["limits"]["memory"] + "B")

    def test_selectors_find_the_workers(self, rendered: list[Manifest]) -> None:
        labels = labels_of_pods(rendered)
        spec = worker(rendered)["spec"]
        selectors = [spec["selector"], only(rendered, "PodDisruptionBudget")["spec"]["selector"]]
        spread = spec["template"]["spec"]["topologySpreadConstraints"]
        assert {each["topologyKey"] for each in spread} == {
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
        }
        for selector in selectors + [each["labelSelector"] for each in spread]:
            assert selector["matchLabels"].items() <= labels.items()
        others = [
            each["spec"]["template"]["metadata"]["labels"]
            for each in rendered
            if each["kind"] in {"StatefulSet", "Job"} and each["metadata"]["name"] != "tailrace"
        ]
        for other in others:
            assert not spec["selector"]["matchLabels"].items() <= other.items()

    def test_all_references_exist(self, rendered: list[Manifest]) -> None:
        """The Secret is the operator's; everything else is rendered with them."""
        names = {(each["kind"], each["metadata"]["name"]) for each in rendered}
        pod = worker(rendered)["spec"]["template"]["spec"]
        maps = [each["configMap"]["name"] for each in pod["volumes"] if "configMap" in each]
        maps += [each["configMapRef"]["name"] for each in pod["containers"][0]["envFrom"]]
        assert len(maps) == 2
        assert {("ConfigMap", name) for name in maps} <= names
        assert ("ServiceAccount", pod["serviceAccountName"]) in names
        mounts = {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
        assert pod["containers"][0]["args"] == ["run", mounts["topology"] + "/topology.yaml"]

    def test_topologies_find_their_variables(self, rendered: list[Manifest]) -> None:
        topology = generated(rendered, "tailrace-topology")["topology.yaml"]
        wanted = {part.partition("}")[0] for part in topology.split("${")[1:]}
        assert "KAFKA_BROKERS" in wanted
        assert wanted <= environment(rendered).keys()

    def test_the_topology_passes_the_check(self, rendered: list[Manifest], tmp_path: Path) -> None:
        program = Path(os.environ.get("TAILRACE") or REPOSITORY / ".build/release/tailrace").absolute()
        if "TAILRACE" not in os.environ and not program.exists():
            pytest.skip("no program: set TAILRACE, or run `make build`")
        file, certificate = tmp_path / "topology.yaml", tmp_path / "ca.crt"
        file.write_text(generated(rendered, "tailrace-topology")["topology.yaml"])
        variables = environment(rendered)
        is_mounted = variables["KAFKA_CA"].startswith("/")
        if is_mounted:
            variables["KAFKA_CA"] = str(certificate)
            missing = run(program, "check", "--resolve", file, env=variables)
            assert missing.returncode == 2 and str(certificate) in missing.stderr, missing.stderr
            made = run(
                "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=a test", "-keyout",
                tmp_path / "key.pem", "-out", certificate,
            )  # fmt: skip
            assert made.returncode == 0, made.stderr
        done = run(program, "check", "--resolve", file, env=variables)
        assert done.returncode == 0, done.stderr
        assert variables["KAFKA_BROKERS"] in done.stdout
        assert "a secret password" not in done.stdout

    def test_a_certificate_comes_with_its_path(self, rendered: list[Manifest]) -> None:
        self.check_certificate(rendered)

    def test_a_public_authority_needs_no_certificate(self, tmp_path: Path) -> None:
        manifests = changed_production(tmp_path, "\n  - ../../components/own-ca ", "\n  # own-ca ")
        self.check_certificate(manifests)
        assert environment(manifests)["KAFKA_CA"] == "probe"
        keys = only(manifests, "TriggerAuthentication", "tailrace-kafka")["spec"]["secretTargetRef"]
        assert "ca" not in {each["parameter"] for each in keys}

    @staticmethod
    def check_certificate(manifests: list[Manifest]) -> None:
        """A worker that is given a path has the file, or its pod waits and reports for what: nothing is optional."""
        pod = worker(manifests)["spec"]["template"]["spec"]
        volumes = [each for each in pod["volumes"] if "secret" in each]
        path = environment(manifests)["KAFKA_CA"]
        if path == "probe":
            assert not volumes
            return
        (volume,) = volumes
        (mount,) = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] == volume["name"]]
        assert path in {f"{mount['mountPath']}/{item['path']}" for item in volume["secret"]["items"]}
        assert not volume["secret"].get("optional")

    def test_crashes_are_reported_in_the_log_format(self, rendered: list[Manifest]) -> None:
        """The image's settings, which have to be repeated in full, and the format."""
        recipe = (DEPLOY / "Dockerfile").read_text()
        (settings,) = re.findall(r"^ENV SWIFT_BACKTRACE=(\S+)$", recipe, re.MULTILINE)
        topology = yaml.safe_load(generated(rendered, "tailrace-topology")["topology.yaml"])
        assert topology["log"] == {"format": "json"}
        assert environment(rendered)["SWIFT_BACKTRACE"] == f"{settings},format=json"


class TestConsole:
    def test_it_is_in_the_usual_place(self, rendered: list[Manifest]) -> None:
        topology = yaml.safe_load(generated(rendered, "tailrace-topology")["topology.yaml"])
        assert topology["console"] == {"address": "::", "port": 8080}
        container = worker(rendered)["spec"]["template"]["spec"]["containers"][0]
        assert container["ports"] == [{"name": "console", "containerPort": 8080, "protocol": "TCP"}]
        (port,) = only(rendered, "Service", "tailrace-metrics")["spec"]["ports"]
        assert (port["port"], port["targetPort"]) == (8080, "console")
        paths = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
        for probe, path in paths.items():
            assert container[probe]["httpGet"] == {"path": path, "port": "console"}, probe

    def test_the_monitor_finds_the_service(self, production: list[Manifest]) -> None:
        monitor = only(production, "ServiceMonitor")
        assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
        service = only(production, "Service", "tailrace-metrics")
        wanted = monitor["spec"]["selector"]["matchLabels"]
        assert wanted.items() <= service["metadata"]["labels"].items()
        (endpoint,) = monitor["spec"]["endpoints"]
        # The names of prometheus-operator.dev, "Endpoint".
        assert endpoint.keys() <= {"port", "path", "interval"}
        assert endpoint["port"] == service["spec"]["ports"][0]["name"] and endpoint["path"] == "/metrics"
        assert service["spec"]["selector"].items() <= labels_of_pods(production).items()


    def test_the_operators_rules_are_those_of_the_file(self, production: list[Manifest]) -> None:
        rule = only(production, "PrometheusRule")
        assert rule["apiVersion"] == "monitoring.coreos.com/v1"
        (file,) = read(DEPLOY / "prometheus" / "rules.yaml")
        assert rule["spec"] == file

    def test_the_runbook_address_is_set_once(self, tmp_path: Path) -> None:
        """Links are absolute, for readers of an alert elsewhere, and all have the overlay's address."""
        copy = tmp_path / "kubernetes"
        shutil.copytree(KUBERNETES, copy)
        file = copy / "overlays" / "production" / "kustomization.yaml"
        moved = "https://wiki.invalid/tailrace"
        (address,) = re.findall(r"- url=(https://\S+)", file.read_text())
        file.write_text(file.read_text().replace(address, moved))
        rules_file = DEPLOY / "prometheus" / "rules.yaml"
        for spec, expected in [
            (read(rules_file)[0], address),
            (only(render(file.parent), "PrometheusRule")["spec"], moved),
            (only(render(copy / "overlays" / "stable-names"), "PrometheusRule")["spec"], moved),
        ]:
            alerts = [rule for group in spec["groups"] for rule in group["rules"] if "alert" in rule]
            assert len(alerts) == rules_file.read_text().count("- alert: ") > 0
            for rule in alerts:
                assert rule["annotations"]["runbook_url"] == f"{expected}#{rule['alert'].lower()}"


class TestScaling:
    def test_the_lag_scales_up_to_the_partitions(self, production: list[Manifest]) -> None:
        scaled = only(production, "ScaledObject")
        assert scaled["apiVersion"] == "keda.sh/v1alpha1"
        spec = scaled["spec"]
        assert spec.keys() <= {
            "scaleTargetRef", "minReplicaCount", "maxReplicaCount", "advanced", "triggers"
        }  # fmt: skip
        assert spec["scaleTargetRef"]["kind"] == "Deployment"
        assert 1 <= spec["minReplicaCount"] <= spec["maxReplicaCount"] == partitions("spans")
        assert "replicas" not in worker(production)["spec"], "each apply would undo the scaler's count"

    def test_the_trigger_is_the_topology_s_group_and_topic(self, production: list[Manifest]) -> None:
        topology = yaml.safe_load(generated(production, "tailrace-topology")["topology.yaml"])
        (trigger,) = only(production, "ScaledObject")["spec"]["triggers"]
        metadata = trigger["metadata"]
        # The names of keda.sh/docs, "Apache Kafka"; every value is text.
        assert metadata.keys() <= {
            "bootstrapServersFromEnv", "consumerGroup", "topic", "lagThreshold", "offsetResetPolicy",
            "excludePersistentLag", "sasl", "tls",
        }  # fmt: skip
        assert all(isinstance(value, str) for value in metadata.values())
        assert trigger["type"] == "kafka"
        assert metadata["consumerGroup"] == topology["group"]
        assert metadata["topic"] == "spans"
        assert metadata["bootstrapServersFromEnv"] in environment(production)
        assert int(metadata["lagThreshold"]) == 20_000 * seconds(topology["windows"]["decision_wait"])
        assert topology["kafka"]["sasl.mechanism"] == "SCRAM-SHA-512" and metadata["sasl"] == "scram_sha512"
        login = only(production, "TriggerAuthentication", trigger["authenticationRef"]["name"])
        parameters = {each["parameter"] for each in login["spec"]["secretTargetRef"]}
        assert parameters == {"username", "password", "ca"}

    def test_stable_names_are_the_same_pods(self, production: list[Manifest]) -> None:
        stable = render(KUBERNETES / "overlays" / "stable-names")
        assert worker(stable)["kind"] == "StatefulSet"
        assert worker(stable)["spec"]["template"] == worker(production)["spec"]["template"]
        assert only(stable, "ScaledObject")["spec"]["scaleTargetRef"]["kind"] == "StatefulSet"
        assert only(stable, "Service")["metadata"]["name"] == worker(stable)["spec"]["serviceName"]

    def test_the_move_to_stable_names_removes_the_old_workers(self, production: list[Manifest]) -> None:
        """`apply` leaves the Deployment that it no longer finds; both places tell users who move."""
        command = f"kubectl --namespace tailrace delete deployment {worker(production)['metadata']['name']}"
        overlay = (KUBERNETES / "overlays" / "stable-names" / "kustomization.yaml").read_text()
        assert command in overlay
        assert command in (REPOSITORY / "docs" / "scaling.md").read_text()


class TestExporter:
    """The component that sends kept spans to a store, in the production overlay."""

    @pytest.mark.parametrize("version", VERSIONS)
    def test_kubernetes_takes_it(self, exporting: list[Manifest], version: str) -> None:
        for manifest in (each for each in exporting if each["kind"] not in CUSTOM):
            kubernetes_validate.validate(manifest, version, strict=True)

    def test_it_is_as_confined_as_the_workers(self, exporting: list[Manifest]) -> None:
        TestConfinement().test_pods_are_restricted(exporting)
        TestConfinement().test_our_containers_write_nowhere(exporting)
        TestConfinement().test_images_have_a_version(exporting)
        policy = only(exporting, "NetworkPolicy", "tailrace-exporter")["spec"]
        pod = only(exporting, "Deployment", "tailrace-exporter")["spec"]["template"]["metadata"]["labels"]
        assert policy["podSelector"]["matchLabels"].items() <= pod.items()
        assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
        ports = [{port["port"] for port in rule["ports"]} for rule in policy["egress"]]
        assert ports == [{9092, 9093}, {4318}, {53}, {5353}]
        assert all(peer for rule in policy["egress"] for peer in rule["to"])

    def test_prometheus_finds_it(self, exporting: list[Manifest]) -> None:
        monitored = only(exporting, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
        selected = [
            each["spec"]["selector"]
            for each in exporting
            if each["kind"] == "Service" and monitored.items() <= each["metadata"]["labels"].items()
        ]
        pod = only(exporting, "Deployment", "tailrace-exporter")["spec"]["template"]["metadata"]["labels"]
        assert any(selector.items() <= pod.items() for selector in selected)

    def test_its_topology_is_valid_and_fits_its_container(self, exporting: list[Manifest], tmp_path: Path) -> None:
        text = generated(exporting, "tailrace-exporter-topology")["topology.yaml"]
        (file := tmp_path / "topology.yaml").write_text(text)
        given = {**generated(exporting, "tailrace-environment"), **generated(exporting, "tailrace-exporter-environment")}
        secrets = {"POD_NAME": "tailrace-exporter-0", "KAFKA_USERNAME": "u", "KAFKA_PASSWORD": "p"}
        environment = {"PATH": os.environ["PATH"], **given, **secrets}
        done = run(os.environ["TAILRACE"], "check", file, env=environment)
        assert done.returncode == 0, done.stderr
        topology = yaml.safe_load(done.stdout)
        assert topology["kind"] == "export"
        pod = only(exporting, "Deployment", "tailrace-exporter")["spec"]["template"]["spec"]
        assert seconds(topology["stop_timeout"]) < pod["terminationGracePeriodSeconds"]
        (container,) = pod["containers"]
        assert container["ports"][0]["containerPort"] == topology["console"]["port"]
        assert topology["otlp_http"]["traces_endpoint"] == given["STORE_URL"] + "/v1/traces"


def changed_production(directory: Path, old: str, new: str) -> list[Manifest]:
    """The production overlay, rendered from a copy with one change."""
    copy = directory / "kubernetes"
    shutil.copytree(KUBERNETES, copy)
    file = copy / "overlays" / "production" / "kustomization.yaml"
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))
    return render(file.parent)


def labels_of_pods(manifests: list[Manifest]) -> dict[str, str]:
    return worker(manifests)["spec"]["template"]["metadata"]["labels"]


def environment(manifests: list[Manifest]) -> dict[str, str]:
    """The environment of a worker's container; any text for values from a Secret or the pod."""
    container = worker(manifests)["spec"]["template"]["spec"]["containers"][0]
    variables = dict(generated(manifests, "tailrace-environment"))
    for variable in container.get("env", []):
        source = variable["valueFrom"]
        variables[variable["name"]] = (
            "a secret " + source["secretKeyRef"]["key"] if "secretKeyRef" in source else "a-pod"
        )
    return variables


def partitions(topic: str) -> int:
    topics = read(DEPLOY / "kafka" / "topics.yaml")
    return only(topics, "KafkaTopic", topic)["spec"]["partitions"]


def size(text: str) -> int:
    """A size of a topology file, such as `1GiB`; for one of a manifest, append a B."""
    units = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
    return int(text[:-3]) * units[text[-3:]]
