"""deploy/compose.yaml: what Compose would refuse, and what the program would refuse of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import ROLES, Settings, load

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "hantar:local"}
README = (DEPLOY / "README.md").read_text()

#: Of the Compose Specification what is used here, with the form of each value.
TEXT, LIST, TABLE, FLAG = str, list, dict, bool
SERVICE_KEYS = {
    **dict.fromkeys(("image", "restart", "hostname", "stop_grace_period"), TEXT),
    **dict.fromkeys(("tmpfs", "secrets", "volumes", "entrypoint", "command", "ports"), LIST),
    **dict.fromkeys(("security_opt", "cap_drop"), LIST),
    **dict.fromkeys(("build", "environment", "healthcheck", "depends_on"), TABLE),
    **dict.fromkeys(("init", "read_only"), FLAG),
}
HEALTH_KEYS = {"test", "interval", "timeout", "retries", "start_period", "disable"}
TOP_KEYS = {"name", "services", "secrets", "volumes"}
DURATION = re.compile(r"(\d+(ms|s|m|h))+")
CONDITIONS = {"service_healthy", "service_completed_successfully"}
VARIABLE = re.compile(r"\$\{(\w+)(?::?[-?]([^}]*))?\}")


def test_there_is_nothing_that_compose_does_not_know() -> None:
    assert {key for key in COMPOSE if not key.startswith("x-")} == TOP_KEYS
    for name, service in SERVICES.items():
        for key, value in service.items():
            assert isinstance(value, SERVICE_KEYS[key]), f"{name}.{key}"
        assert service.get("restart", "no") in ("no", "on-failure", "unless-stopped"), name
        assert DURATION.fullmatch(service.get("stop_grace_period", "10s")), name
        for port in service.get("ports", []):
            assert re.fullmatch(r"(127\.0\.0\.1:)?\d+:\d+", port), name


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_an_image_is_pinned_or_built_from_what_is_there(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[\w./-]+:[\w.-]+", service["image"])
    assert not service["image"].endswith(":latest")
    if "build" in service:
        context = (DEPLOY / service["build"]["context"]).resolve()
        assert (context / service["build"]["dockerfile"]).is_file()


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_whoever_stays_is_asked_for_its_health(name: str) -> None:
    service = SERVICES[name]
    health = service.get("healthcheck", {})
    assert health.keys() <= HEALTH_KEYS
    for key in health.keys() & {"interval", "timeout", "start_period"}:
        assert DURATION.fullmatch(health[key])
    if service.get("restart") != "unless-stopped":
        return
    if "build" in service:
        dockerfile = DEPLOY.parent / service["build"]["dockerfile"]
        assert "HEALTHCHECK" in dockerfile.read_text()
    else:
        assert health["test"][0] == "CMD"


def test_whoever_waits_waits_for_what_comes() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] in CONDITIONS, name
            stays = SERVICES[other].get("restart") == "unless-stopped"
            assert stays == (how["condition"] == "service_healthy"), f"{name} waits for {other}"
            assert not stays or "test" in SERVICES[other]["healthcheck"], other


def test_volumes_and_secrets_are_there_and_used() -> None:
    used: set[str] = set()
    for name, service in SERVICES.items():
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), f"{name}: {source}"
            else:
                used.add(source)
    assert used == set(COMPOSE["volumes"])
    assert Path(COMPOSE["secrets"]["seal"]["file"]).name in README


def test_every_role_runs_and_only_the_api_is_open_to_others() -> None:
    commands = [service["command"] for service in OURS.values()]
    assert sorted(each[2] for each in commands if each[0] == "run") == sorted(ROLES)
    assert ["migrate"] in commands
    ports = {port for service in SERVICES.values() for port in service.get("ports", [])}
    assert {port for port in ports if not port.startswith("127.0.0.1:")} == {"8080:8080"}


@pytest.mark.parametrize("name", sorted(OURS))
def test_the_program_takes_its_settings(name: str) -> None:
    environment = OURS[name]["environment"]
    known = {f"HANTAR_{field.upper()}": field for field in Settings.model_fields}
    given = {known[key]: _filled(value) for key, value in environment.items()}
    settings = load(**given)
    assert settings.amqp_url is not None
    users = json.loads((DEPLOY / "rabbitmq/definitions.json").read_text())["users"]
    user = settings.amqp_url.get_secret_value().split("//")[1].split(":")[0]
    role = OURS[name]["command"][-1]
    assert user == f"hantar-{'operator' if role == 'migrate' else role}"
    assert user in {each["name"] for each in users}


def test_what_compose_asks_for_is_said_where_it_is_started() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    wanted = {match[1] for match in re.finditer(r"(?<!\$)\$\{(\w+):\?\}", text)}
    assert wanted == set(re.findall(r"(\w+_PASSWORD)=", README))


def _filled(value: str) -> str:
    """As Compose would give it, with a password for whatever has to be set."""
    return VARIABLE.sub(lambda found: found[2] or ("s3cret" if "?" in found[0] else ""), value)
