"""docker-compose.yml: of the Compose specification, and true of the programs that it starts."""

from __future__ import annotations

import ast
import contextlib
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

import httpx
import pytest
import yaml

from exporter import __version__
from tests.support.deployed import (
    COMPOSE,
    COMPOSE_FILE,
    PROGRAM,
    SERVICES,
    environment_of,
    expanded,
    health_check,
    mounts_of,
    settings_of,
    understood,
    volumes_of,
)
from tests.support.ports import free_port
from tests.support.program import ROOT, RULES, wait_until

SCRIPTS = sorted((ROOT / "deploy/compose").glob("*.sh"))


def test_the_file_is_of_the_compose_specification() -> None:
    check = Path(sys.executable).with_name("check-jsonschema")

    done = subprocess.run(
        [check, "--builtin-schema", "vendor.compose-spec", COMPOSE_FILE], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout


def test_every_image_is_pinned_and_the_own_one_has_the_programs_version() -> None:
    images = {service["image"] for service in SERVICES.values()}

    assert all(re.fullmatch(r"[\w/.-]+:v?\d+\.\d+[\w.-]*", image) for image in images)
    assert {SERVICES[name]["image"] for name in PROGRAM} == {f"dict-rate-limit-exporter:{__version__}"}


def test_a_service_has_a_health_check_or_ends_and_is_waited_for() -> None:
    waited = [(on, how["condition"]) for s in SERVICES.values() for on, how in s.get("depends_on", {}).items()]

    for name, service in SERVICES.items():
        if service["restart"] == "no":
            assert (name, "service_completed_successfully") in waited, name
            assert "healthcheck" not in service
        else:
            assert service["restart"] == "unless-stopped"
            assert service["healthcheck"]["test"][0] == "CMD", name
    assert {how for on, how in waited if SERVICES[on]["restart"] != "no"} == {"service_healthy"}


def test_the_start_order_has_a_beginning() -> None:
    started: set[str] = set()

    while ready := {n for n, s in SERVICES.items() if s.get("depends_on", {}).keys() <= started} - started:
        started |= ready

    assert started == SERVICES.keys()


def test_no_secret_is_in_the_file() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|TOKEN|SECRET|DSN|_KEY", variable):
                assert variable.endswith("_FILE"), variable
                assert PurePosixPath(value).parent == PurePosixPath("/run/secrets")
                assert PurePosixPath(value).name in service["secrets"], (name, variable)
    assert not re.search(r"://[^\s/]*:[^\s/]*@", COMPOSE_FILE.read_text())


def test_the_secrets_are_those_that_the_script_makes(tmp_path) -> None:
    script, folder = ROOT / "deploy/compose/secrets.sh", tmp_path / "secrets"
    subprocess.run(["sh", script, folder], check=True)
    first = {file.name: file.read_text() for file in folder.iterdir()}
    subprocess.run(["sh", script, folder], check=True)

    assert {file.name: file.read_text() for file in folder.iterdir()} == first
    assert first.keys() == COMPOSE["secrets"].keys()
    assert {expanded(secret["file"]) for secret in COMPOSE["secrets"].values()} == {f"./secrets/{n}" for n in first}
    assert {name for service in SERVICES.values() for name in service.get("secrets", [])} == first.keys()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len({first[f"{role}_password"] for role in ("postgres", "migrator", "writer", "reader")}) == 4


def test_secrets_are_kept_out_of_the_repository_and_of_the_image() -> None:
    ignored = subprocess.run(["git", "check-ignore", "secrets/writer_dsn", ".env"], cwd=ROOT, stdout=-1, check=False)

    assert ignored.stdout.decode().split() == ["secrets/writer_dsn", ".env"]
    assert "*" in (ROOT / ".dockerignore").read_text().splitlines()


def test_volumes_are_named_and_mounts_exist_in_the_repository() -> None:
    assert {name for service in SERVICES for name in volumes_of(service)} == COMPOSE["volumes"].keys()

    sources = [source for service in SERVICES for source in mounts_of(service)]
    tracked = subprocess.run(["git", "ls-files", *sources], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)

    assert sources
    for source in sources:
        assert any(Path(file).is_relative_to(source) for file in tracked.stdout.splitlines()), source


def test_ports_are_of_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports)


@pytest.mark.parametrize("service", PROGRAM)
def test_the_program_understands_the_command_of(service) -> None:
    assert understood(SERVICES[service]["command"]) == SERVICES[service]["command"][0]


@pytest.mark.parametrize("service", PROGRAM)
def test_the_program_takes_the_environment_of(service, tmp_path) -> None:
    settings = settings_of(environment_of(service), tmp_path)

    needed = {
        "simulator": (),
        "exporter": (settings.participants, settings.bridge.target, settings.feed.listen_address),
        "migrate": (settings.database.dsn,),
        "reconciler": (settings.participants, settings.feed.targets, settings.database.dsn),
    }
    assert all(needed[service])


def test_the_override_of_the_deployment_guide_is_right(tmp_path) -> None:
    text = (ROOT / "docs/deployment.md").read_text()
    (block,) = re.findall(r"^```yaml\n(services:.*?)^```$", text, re.MULTILINE | re.DOTALL)

    for service, change in yaml.safe_load(block)["services"].items():
        settings = settings_of(environment_of(service) | change["environment"], tmp_path)
        assert settings.participants == ("12345678",)
    exporter = yaml.safe_load(block)["services"]["exporter"]
    assert exporter["environment"]["DICT_RATE_LIMIT_BRIDGE__TLS__KEY_FILE"].startswith(
        exporter["volumes"][0].split(":")[1]
    )


def test_every_address_is_a_service_that_listens_there() -> None:
    listens = {
        "simulator:50051", "exporter:9863", "exporter:9862", "reconciler:9862", "postgres:5432", "pulsar:6650",
        "pulsar:8080", "prometheus:9090", "alertmanager:9093", "alert-log:9880",
    }  # fmt: skip
    names = "|".join(SERVICES)
    files = ["docker-compose.yml", "deploy/compose/secrets.sh", "deploy/compose/pulsar-init.sh"]
    files += ["alertmanager/prometheus.yml", "alertmanager/alertmanager.yml"]

    named = {found for f in files for found in re.findall(rf"\b(?:{names}):\d{{4,5}}\b", (ROOT / f).read_text())}

    assert named == listens
    assert SERVICES["simulator"]["command"][-1] == "0.0.0.0:50051"
    assert environment_of("exporter")["DICT_RATE_LIMIT_FEED__LISTEN_ADDRESS"] == "0.0.0.0:9863"
    assert SERVICES["alert-log"]["command"] == ["9880"]


def test_a_health_check_asks_where_its_service_listens() -> None:
    port = {
        "simulator": 50051, "exporter": 9862, "reconciler": 9862, "prometheus": 9090, "alertmanager": 9093,
        "grafana": 3000, "alert-log": 9880,
    }  # fmt: skip

    asked = {name: int(re.search(r"127\.0\.0\.1\D+(\d+)", " ".join(health_check(name)))[1]) for name in port}

    assert asked == port


@pytest.mark.parametrize(
    "service", [name for name, s in SERVICES.items() if "python" in s.get("healthcheck", {}).get("test", [])]
)
def test_a_health_check_in_python_is_python(service) -> None:
    kind, interpreter, option, code = health_check(service)

    assert (kind, interpreter, option) == ("CMD", "python", "-c")
    ast.parse(code)


def test_the_rules_are_edited_where_the_image_looks_for_them() -> None:
    (looked_at,) = re.findall(r"DICT_RATE_LIMIT_RULES__FILES=(\S+)", (ROOT / "Dockerfile").read_text())

    assert mounts_of("reconciler") == {"rules": str(PurePosixPath(looked_at).parent)}
    assert list((ROOT / "rules").glob(PurePosixPath(looked_at).name)) == [RULES]


def test_notifications_tell_the_local_time_of_one_zone() -> None:
    assert {SERVICES[name]["environment"]["TZ"] for name in ("prometheus", "alertmanager")} == {
        "${TZ:-America/Sao_Paulo}"
    }


def test_prometheus_and_alertmanager_find_their_files_where_they_are_mounted() -> None:
    for service in ("prometheus", "alertmanager"):
        (flag,) = (f for f in SERVICES[service]["command"] if f.startswith("--config.file="))
        ((source, target),) = mounts_of(service).items()
        file = PurePosixPath(flag.partition("=")[2]).relative_to(target)
        content = yaml.safe_load((ROOT / source / file).read_text())
        for pattern in content.get("rule_files", []) + content.get("templates", []):
            assert list((ROOT / source / file).parent.glob(pattern)), pattern


def test_alertmanagers_secrets_are_mounted() -> None:
    text = (ROOT / "alertmanager/alertmanager.yml").read_text()

    assert set(re.findall(r": /run/secrets/(\w+)", text)) == set(SERVICES["alertmanager"]["secrets"])


def test_grafana_has_the_variables_and_secrets_that_its_data_sources_read() -> None:
    text = (ROOT / "grafana/provisioning/datasources/datasources.yml").read_text()
    text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))

    assert set(re.findall(r"\$\{(\w+)\}", text)) == {n for n in environment_of("grafana") if not n.startswith("GF_")}
    assert set(re.findall(r"\$__file\{/run/secrets/(\w+)\}", text)) <= set(SERVICES["grafana"]["secrets"])


def test_grafana_opens_on_a_dashboard_that_is_mounted() -> None:
    home = PurePosixPath(environment_of("grafana")["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])

    ((source, target),) = ((s, t) for s, t in mounts_of("grafana").items() if home.is_relative_to(t))

    assert (ROOT / source / home.relative_to(target)).is_file()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_shell_script_parses(script) -> None:
    subprocess.run(["sh", "-n", script], check=True)


def test_every_script_of_a_service_is_mounted_where_it_is_called() -> None:
    called = {name: s["entrypoint"] for name, s in SERVICES.items() if s.get("entrypoint")}

    assert {argv[1] for argv in called.values()} == {"/opt/roles.sh", "/opt/pulsar-init.sh", "/opt/alert-log.py"}
    for name, argv in called.items():
        assert argv[1] in mounts_of(name).values()


def test_what_is_posted_to_the_alert_log_is_a_line(tmp_path) -> None:
    output = tmp_path / "log"
    script = ROOT / "deploy/compose/alert-log.py"
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    def listens() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(url).text == "ok"
        return False

    with output.open("w") as log, subprocess.Popen([sys.executable, script, str(port)], stdout=log) as process:
        try:
            wait_until(listens, what="the alert log to listen")
            answer = httpx.post(f"{url}/slack", content=b'{"text": "low"}', timeout=30)
            lines = wait_until(lambda: output.read_text().splitlines())
        finally:
            process.terminate()

    assert (answer.status_code, answer.text) == (200, "ok")
    assert lines == ['/slack {"text": "low"}']
