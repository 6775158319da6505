"""What lies in deploy/ is well-formed, fits together and names only what there is."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from saccade.server.guard import OPEN
from saccade.settings import PREFIX, Settings, load

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
FILES = {str(path.relative_to(DEPLOY)): path.read_text() for path in DEPLOY.rglob("*") if path.is_file()}
DRAIN = Settings.model_fields["drain_seconds"].default


@pytest.mark.parametrize("name", FILES)
def test_variables_are_settings(name: str) -> None:
    for variable in re.findall(rf"\b{PREFIX}[A-Z_]+", FILES[name]):
        assert variable.removeprefix(PREFIX).lower() in Settings.model_fields, variable


@pytest.mark.parametrize("name", FILES)
def test_routes_exist(name: str) -> None:
    routes = set(re.findall(r"/health/\w+", FILES[name]))
    assert routes <= OPEN


# --- Dockerfile ------------------------------------------------------------------------------------------------------

Instruction = tuple[str, str]


def instructions() -> list[Instruction]:
    """(name, the rest) of each instruction, lines joined and comments left out."""
    text = re.sub(r"^\s*#.*\n", "", FILES["Dockerfile"], flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [(name, rest.strip()) for line in lines if line.strip() for name, _, rest in [line.strip().partition(" ")]]


STEPS = instructions()


def rest_of(name: str) -> list[str]:
    return [rest for found, rest in STEPS if found == name]


def test_instructions_of_the_image() -> None:
    known = {"ARG", "FROM", "RUN", "ENV", "WORKDIR", "COPY", "VOLUME", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK"}
    assert {name for name, _ in STEPS} <= known | {"ENTRYPOINT", "CMD"}
    assert FILES["Dockerfile"].startswith("# syntax=docker/dockerfile:1\n")
    for step in rest_of("RUN"):
        assert subprocess.run(["sh", "-n", "-c", step], capture_output=True, check=False).returncode == 0, step
        if "apt-get install" in step:
            assert "--no-install-recommends" in step
            assert "rm -rf /var/lib/apt/lists/*" in step


def test_stages_of_the_image() -> None:
    arguments = dict(rest.split("=") for rest in rest_of("ARG") if "=" in rest)
    stages: list[str] = []
    for rest in rest_of("FROM"):
        image, _, name = rest.partition(" AS ")
        for device in ("cpu", "cuda"):
            filled = image.replace("${PYTHON}", arguments["PYTHON"]).replace("${DEVICE}", device)
            assert filled in stages or re.fullmatch(r"python:\d\.\d+-slim-\w+", filled), rest
        stages.append(name)
    assert {"runtime-cpu", "runtime-cuda"} < set(stages)
    for rest in rest_of("COPY"):
        if rest.startswith("--from="):
            assert rest.removeprefix("--from=").split()[0] in stages
    assert int(arguments["PYTHON"].split(".")[1]) in (11, 12)


def test_what_is_copied_is_there_and_not_left_out() -> None:
    """`.dockerignore` leaves all out but what has a `!`."""
    allowed = [line[1:] for line in FILES["Dockerfile.dockerignore"].splitlines() if line.startswith("!")]
    for rest in rest_of("COPY"):
        if not rest.startswith("--from="):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert any(fnmatch(source, pattern) for pattern in allowed), source


def test_the_image_runs_as_nobody_of_importance() -> None:
    assert rest_of("USER") == ["10001:10001"]
    assert rest_of("STOPSIGNAL") == ["SIGTERM"]
    assert [json.loads(rest) for rest in rest_of("ENTRYPOINT") + rest_of("CMD")] == [["saccade"], ["serve"]]
    last = STEPS.index(("USER", "10001:10001"))
    assert "RUN" not in [name for name, _ in STEPS[last:]], "nothing is installed after that"


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (None, 1)])
def test_the_health_check_of_the_image(status: int | None, code: int) -> None:
    """Run as it stands, against a server that is ready, one that is not, and none."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status or 500 if self.path == "/health/ready" else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    (check,) = rest_of("HEALTHCHECK")
    words = json.loads(check[check.index("[") :])
    assert words[:2] == ["python", "-c"]
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.handle_request)
        if status is not None:
            thread.start()
        else:
            web.socket.close()
        environment = {"SACCADE_PORT": str(web.server_port), "PATH": "/usr/bin"}
        done = subprocess.run([sys.executable, *words[1:]], capture_output=True, env=environment, timeout=20)
        if status is not None:
            thread.join()
    assert done.returncode == code


# --- compose ---------------------------------------------------------------------------------------------------------


COMPOSE = yaml.safe_load(FILES["compose.yaml"])
SERVICES = COMPOSE["services"]


def test_profiles_of_compose() -> None:
    assert {name: tuple(service.get("profiles", ())) for name, service in SERVICES.items()} == {
        "server": (),
        "prometheus": ("monitoring",),
        "grafana": ("monitoring",),
        "webui": ("webui",),
    }


@pytest.mark.parametrize("name", SERVICES)
def test_services_of_compose(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert not service["image"].endswith(":latest")
    assert re.search(r":[\w.-]+$", service["image"]), "a tag"
    for port in service["ports"]:
        assert port.startswith("127.0.0.1:"), "open to this machine only"
    for volume in service["volumes"]:
        source = volume.split(":")[0]
        assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], volume
    assert {*service.get("secrets", ())} <= COMPOSE["secrets"].keys()
    assert {*service.get("depends_on", ())} <= SERVICES.keys()


def test_the_server_of_compose() -> None:
    server = SERVICES["server"]
    assert (DEPLOY / server["build"]["context"] / server["build"]["dockerfile"]).is_file()
    assert {*server["build"]["args"]} <= {rest.split("=")[0] for rest in rest_of("ARG")}
    assert int(server["stop_grace_period"][:-1]) > int(server["environment"]["SACCADE_DRAIN_SECONDS"]) == DRAIN
    assert server["read_only"] is True
    assert server["cap_drop"] == ["ALL"]
    assert "docker.sock" not in FILES["compose.yaml"]
    volumes = [volume.split(":")[1] for volume in server["volumes"]]
    assert volumes == rest_of("VOLUME")


def test_the_gpu_file_of_compose_changes_what_is_there() -> None:
    changes = yaml.safe_load(FILES["compose.gpu.yaml"])["services"]
    assert changes.keys() == {"server"}
    assert changes["server"]["build"]["args"] == {"DEVICE": "cuda"}
    assert changes["server"]["environment"]["SACCADE_DEVICE"] == "cuda"


def test_the_parts_of_compose_find_each_other() -> None:
    scrape = yaml.safe_load(FILES["prometheus.yml"])["scrape_configs"]
    targets = [target for job in scrape for config in job["static_configs"] for target in config["targets"]]
    assert "server:8000" in targets
    secret = f"/run/secrets/{SERVICES['prometheus']['secrets'][0]}"
    assert secret in [job.get("authorization", {}).get("credentials_file") for job in scrape]
    sources = yaml.safe_load(FILES["grafana/provisioning/datasources/prometheus.yml"])["datasources"]
    assert sources[0]["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load(FILES["grafana/provisioning/dashboards/saccade.yml"])["providers"]
    mounted = [volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounted
    assert SERVICES["webui"]["environment"]["OPENAI_API_BASE_URL"] == "http://server:8000/v1"


# --- systemd ---------------------------------------------------------------------------------------------------------


def unit() -> dict[str, str]:
    lines = [line for line in FILES["saccade.service"].splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_the_unit_stops_a_server_gently_and_starts_it_again() -> None:
    told = unit()
    assert (told["KillSignal"], told["KillMode"], told["Restart"]) == ("SIGTERM", "mixed", "always")
    assert int(told["TimeoutStopSec"][:-1]) > DRAIN
    assert told["RestartPreventExitStatus"] == "2"
    assert told["User"] != "root"
    assert told["EnvironmentFile"] == "/etc/saccade/saccade.env"


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / "saccade.service"
    copy.write_text(FILES["saccade.service"].replace("/opt/saccade/bin/saccade", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    words = ["systemd-analyze", "security", "--offline=true", "--threshold=30", copy]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-300:]


def test_the_environment_file_is_a_set_of_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("")
    for line in FILES["saccade.env"].splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            monkeypatch.setenv(name, str(keys) if name.endswith("KEY_FILE") else value)
    settings = load({})
    assert settings.allowed_host == ("saccade.example.org", "localhost", "127.0.0.1")
    assert settings.drain_seconds == DRAIN


# --- Kubernetes ------------------------------------------------------------------------------------------------------


def test_the_manifest() -> None:
    parts = {part["kind"]: part for part in yaml.safe_load_all(FILES["kubernetes.yaml"])}
    assert parts.keys() == {"Deployment", "PersistentVolumeClaim", "Service"}
    spec = parts["Deployment"]["spec"]["template"]["spec"]
    (server,) = spec["containers"]
    assert spec["enableServiceLinks"] is False, "or the cluster would set SACCADE_PORT"
    assert spec["terminationGracePeriodSeconds"] > DRAIN
    assert f"{spec['securityContext']['runAsUser']}:{spec['securityContext']['runAsGroup']}" == rest_of("USER")[0]
    assert server["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert server["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert {mount["name"] for mount in server["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
    assert parts["Service"]["spec"]["selector"] == parts["Deployment"]["spec"]["selector"]["matchLabels"]
