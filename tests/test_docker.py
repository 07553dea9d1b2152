"""The container files: what can be held to without an engine.

The Compose file against the public schema and our own settings; the Dockerfile's steps against the tree they copy.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ibkr_actor.cli.main import parser
from ibkr_actor.settings import ENV_PREFIX, Settings

ROOT = Path(__file__).parent.parent
DOCKER = ROOT / "docker"
VARIABLE = re.compile(r"\$\{(?P<name>[A-Z_]+)(?P<rest>[^}]*)\}")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    return loaded


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    lines = (DOCKER / "env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined and comments left out."""
    text = (DOCKER / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines if line and line[0] != "#")]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Name -> instructions of each stage of the Dockerfile, in order; those of its own `FROM` come first."""
    found: dict[str, list[tuple[str, str]]] = {}
    for word, rest in instructions():
        if word == "FROM":
            origin, _, name = rest.partition(" AS ")
            found[name] = list(found.get(origin, []))
        else:
            found[name].append((word, rest))
    return found


def last(word: str, stage: str = "sidecar") -> str:
    return [rest for found, rest in stages()[stage] if found == word][-1]


def test_the_compose_file_is_valid_by_the_public_schema(compose: dict[str, Any]) -> None:
    schema = json.loads((ROOT / "tests/data/compose-spec.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    errors = [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(compose)]
    assert errors == []


def test_every_variable_of_the_compose_file_has_a_default_or_stands_in_the_example(
    compose: dict[str, Any], environment: dict[str, str]
) -> None:
    used = {(match["name"], match["rest"]) for match in VARIABLE.finditer(json.dumps(compose))}
    assert used
    assert [name for name, rest in used if name not in environment and not rest.startswith(":-")] == []


def test_every_setting_in_the_example_is_one_of_ours(environment: dict[str, str]) -> None:
    ours = [name for name in environment if name.startswith(ENV_PREFIX)]
    assert ours
    assert [name for name in ours if name.removeprefix(ENV_PREFIX).lower() not in Settings.model_fields] == []


def test_redis_keeps_everything_and_the_sidecar_waits_for_it(compose: dict[str, Any]) -> None:
    command = compose["services"]["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--appendonly"] == "yes"
    assert compose["services"]["redis"]["volumes"] == ["redis-data:/data"]
    assert compose["services"]["sidecar"]["depends_on"] == {"redis": {"condition": "service_healthy"}}


def test_redis_and_http_are_published_on_the_loopback_address_only(compose: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert set(published) == {"redis", "sidecar"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_http_is_where_the_replaced_system_had_it(compose: dict[str, Any]) -> None:
    sidecar = compose["services"]["sidecar"]
    port = Settings.model_fields["http_port"].default
    assert (last("EXPOSE"), port) == ("8084", 8084)
    assert [port.rpartition(":")[2] for port in sidecar["ports"]] == ["8084"]
    # Its health check as its README prints it; for that the image has curl, and the service listens on every address.
    assert sidecar["healthcheck"]["test"] == ["CMD-SHELL", "curl -fsS http://localhost:8084/health || exit 1"]
    assert "IBKR_HTTP_HOST=0.0.0.0" in last("ENV")
    assert any("install" in rest and "curl" in rest for word, rest in stages()["sidecar"] if word == "RUN")


def test_a_stop_of_the_sidecar_leaves_time_to_drain(compose: dict[str, Any]) -> None:
    seconds = float(compose["services"]["sidecar"]["stop_grace_period"].removesuffix("s"))
    assert seconds > Settings.model_fields["drain_s"].default
    assert last("STOPSIGNAL") == "SIGTERM"


def test_the_containers_run_commands_that_exist(compose: dict[str, Any]) -> None:
    assert json.loads(last("ENTRYPOINT")) == ["ibkr-actor"]
    health = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    assert health[0] == "ibkr-actor"
    services = compose["services"]
    for arguments in (
        json.loads(last("CMD")),
        json.loads(last("CMD", "simulator")),
        health[1:],
        services["sidecar"]["command"],
        services["simulator"]["command"],
    ):
        parser().parse_args(arguments)


def test_the_simulator_is_a_profile_and_the_example_uses_it(
    compose: dict[str, Any], environment: dict[str, str]
) -> None:
    simulator = compose["services"]["simulator"]
    arguments = parser().parse_args(simulator["command"])
    assert simulator["profiles"] == [environment["COMPOSE_PROFILES"]]
    assert environment["IBKR_HOST"] == "simulator"
    assert int(environment["IBKR_PORT"]) == arguments.port


def test_the_sidecar_is_the_image_that_a_build_without_a_target_makes() -> None:
    assert list(stages())[-1] == "sidecar"


def test_each_service_is_built_from_its_own_target(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name in ("sidecar", "simulator"):
        assert services[name]["build"]["target"] == name
        assert name in stages()
        assert last("ENTRYPOINT", name) == '["ibkr-actor"]'
    assert services["sidecar"]["image"] != services["simulator"]["image"]


def test_the_simulators_health_check_greets_it_where_it_listens(compose: dict[str, Any]) -> None:
    arguments = parser().parse_args(json.loads(last("CMD", "simulator")))
    words = json.loads(last("HEALTHCHECK", "simulator").partition("CMD ")[2])
    assert words == ["python", "-m", "ibkr_actor.sim.health", str(arguments.port)]
    assert importlib.util.find_spec(words[2]) is not None
    assert last("EXPOSE", "simulator") == str(arguments.port)
    assert "healthcheck" not in compose["services"]["simulator"]
    assert arguments.port == parser().parse_args(compose["services"]["simulator"]["command"]).port


def test_the_image_copies_only_what_is_there_and_not_ignored() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    allowed = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    assert rules[0] == "*"
    sources = [
        part for word, rest in instructions() if word == "COPY" and "--from" not in rest for part in rest.split()[:-1]
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, rule) for rule in allowed), source


def test_the_image_installs_by_hash_and_runs_as_a_plain_user() -> None:
    installs = [shlex.split(rest) for word, rest in instructions() if word == "RUN" and "pip install" in rest]
    assert all("--require-hashes" in words or "--no-deps" in words for words in installs)
    assert [last("USER", name) for name in ("sidecar", "simulator")] == ["10001:10001", "10001:10001"]
