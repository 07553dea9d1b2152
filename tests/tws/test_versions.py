"""The check of the installed ibapi, in processes whose sys.path holds what the test puts there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ibkr_actor.tws.versions import check_ibapi

PROGRAM = """
import sys
from ibkr_actor.errors import UnsupportedIbapi
from ibkr_actor.tws.versions import check_ibapi
sys.path[:] = [path for path in sys.path if "site-packages" not in path]
sys.path[:0] = sys.argv[1:]
try:
    print("ok", check_ibapi())
except UnsupportedIbapi as error:
    print("refused", error)
"""


def distribution(where: Path, name: str, version: str) -> None:
    info = where / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("ibapi/__init__.py,,\n")
    (info / "top_level.txt").write_text("ibapi\n")


def package(where: Path, common: str, *modules: str, error: str = "") -> None:
    root = where / "ibapi"
    (root / "protobuf").mkdir(parents=True)
    (root / "__init__.py").write_text("")
    (root / "protobuf" / "__init__.py").write_text("")
    (root / "common.py").write_text(common)
    (root / "client.py").write_text("")
    for module in modules:
        (root / "protobuf" / f"{module}.py").write_text(error)
    signature = "self, reqId, errorCode, errorString" if not modules else "self, reqId, errorTime, errorCode"
    (root / "wrapper.py").write_text(f"class EWrapper:\n    def error({signature}): ...\n")


def verdict(where: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(where)], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def test_the_installed_client_will_do() -> None:
    assert check_ibapi().split(" ")[0] in {"ibapi", "ibapi-stable", "ibapi-latest", "nautilus-ibapi"}


def test_a_missing_client_is_refused_with_what_to_install(tmp_path: Path) -> None:
    assert verdict(tmp_path) == (
        "refused the official client ibapi is not installed: pip install 'ibkr-actor[sidecar]'"
    )


def test_two_distributions_of_one_import_are_refused_by_name(tmp_path: Path) -> None:
    package(tmp_path, "PROTOBUF_MSG_ID = 200\n", "TickPrice_pb2")
    distribution(tmp_path, "ibapi-stable", "10.50.2")
    distribution(tmp_path, "nautilus-ibapi", "10.46.1")
    assert verdict(tmp_path) == (
        "refused ibapi-stable 10.50.2 and nautilus-ibapi 10.46.1 both provide the import 'ibapi' and overwrite each "
        "other's files: pip uninstall -y ibapi-stable nautilus-ibapi && pip install 'ibkr-actor[sidecar]'"
    )


def test_the_client_of_2020_is_refused_by_name(tmp_path: Path) -> None:
    package(tmp_path, "TickerId = int\n")
    distribution(tmp_path, "ibapi", "9.81.1.post1")
    said = verdict(tmp_path)
    assert said.startswith("refused ibapi 9.81.1.post1 cannot be used (it knows no protobuf messages), 10.46 or newer")
    assert "pip uninstall -y ibapi && pip install 'ibkr-actor[sidecar]'" in said


@pytest.mark.parametrize(
    ("modules", "error", "reason"),
    [
        ((), "", "import fails: No module named 'ibapi.protobuf.TickPrice_pb2'"),
        (("TickPrice_pb2",), "raise RuntimeError('gencode 7.0 runtime 6.1')", "protobuf does not fit: gencode 7.0"),
    ],
)
def test_a_client_that_does_not_fit_its_protobuf_is_refused(
    tmp_path: Path, modules: tuple[str, ...], error: str, reason: str
) -> None:
    package(tmp_path, "PROTOBUF_MSG_ID = 200\n", *modules, error=error)
    distribution(tmp_path, "ibapi-latest", "10.51.1")
    assert reason in verdict(tmp_path)


def test_an_error_callback_without_a_time_is_refused(tmp_path: Path) -> None:
    package(tmp_path, "PROTOBUF_MSG_ID = 200\n", "TickPrice_pb2")
    wrapper = tmp_path / "ibapi" / "wrapper.py"
    wrapper.write_text("class EWrapper:\n    def error(self, reqId, errorCode, errorString): ...\n")
    distribution(tmp_path, "ibapi", "10.19.4")
    assert "its error callback has no errorTime" in verdict(tmp_path)
