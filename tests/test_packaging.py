"""The package's own papers: the lock files, what a plain install brings, and the changelog.

Reads files only; that the wheel installs and imports on its own is tried by `.ci/run`.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from ibkr_actor import __version__

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements.lock", "docker/requirements.lock")


def project() -> dict[str, Any]:
    loaded: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return loaded


def locked(path: str) -> dict[str, list[Version]]:
    """Name -> versions (more than one where the lock tells Python versions apart)."""
    out: dict[str, list[Version]] = {}
    for name, version in re.findall(r"^([a-z0-9][^=\s]*)==(\S+)", (ROOT / path).read_text(), re.MULTILINE):
        out.setdefault(canonicalize_name(name), []).append(Version(version))
    return out


def requirements(*extras: str) -> list[Requirement]:
    lines = list(project()["dependencies"])
    for extra in extras:
        lines += project()["optional-dependencies"][extra]
    return [found for found in map(Requirement, lines) if found.name != project()["name"]]


@pytest.mark.parametrize(("path", "extras"), [(LOCKS[0], ("sidecar", "dev")), (LOCKS[1], ("sidecar",))])
def test_a_lock_file_holds_everything_the_project_asks_for(path: str, extras: tuple[str, ...]) -> None:
    versions = locked(path)
    for requirement in requirements(*extras):
        assert versions.get(canonicalize_name(requirement.name)), f"{requirement} is not in {path}: just lock"
        assert all(version in requirement.specifier for version in versions[canonicalize_name(requirement.name)])


def test_the_image_runs_the_versions_that_were_tested() -> None:
    tested = locked(LOCKS[0])
    assert {name: versions for name, versions in locked(LOCKS[1]).items() if tested.get(name) != versions} == {}


@pytest.mark.parametrize("path", LOCKS)
def test_a_lock_file_pins_by_hash_and_names_no_host(path: str) -> None:
    text = (ROOT / path).read_text()
    assert not re.search(r"https?:|file:|@ |--(extra-)?index-url|--find-links", text)
    for block in re.split(r"\n(?=[a-z0-9])", text.strip()):
        assert "--hash=sha256:" in block, block.splitlines()[0]


def test_a_plain_install_brings_three_packages() -> None:
    assert {requirement.name for requirement in requirements()} == {"anyio", "msgspec", "redis"}


def test_the_official_client_is_bound_to_one_release() -> None:
    pins = {str(requirement) for requirement in requirements("sidecar")}
    assert {"ibapi-stable==10.50.2", "protobuf<7,>=5.29.6"} <= pins


def test_the_changelog_speaks_of_this_version() -> None:
    assert f"[{__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_types_are_shipped() -> None:
    assert (ROOT / "ibkr_actor" / "py.typed").is_file()
