"""The embedded Redis server: started, watched, restarted and ended by us.

Never used when a URL is given; writes nothing into the server.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

import anyio
from anyio.abc import Process, TaskGroup
from msgspec import Struct

from ibkr_actor.bus.config import MIB, RedisConfig
from ibkr_actor.bus.connection import Link, Refused, Unreachable
from ibkr_actor.bus.data_dir import DataDir, free_port
from ibkr_actor.bus.server_binary import ServerBinary, ServerKind, find_server
from ibkr_actor.errors import ConfigurationError

log = logging.getLogger(__name__)

SUPERVISOR: Final = str(Path(__file__).with_name("supervisor.py"))
RESTART_WAIT_MIN_S: Final = 0.05
RESTART_WAIT_MAX_S: Final = 5.0
PING_EVERY_S: Final = 0.02
LOCK_EVERY_S: Final = 0.05


class EmbeddedConfig(Struct, frozen=True, kw_only=True):
    """Where and how the server runs. With `url` set nothing is started and that server is used."""

    data_dir: Path
    url: str = ""
    port: int = 0
    memory_max_bytes: int = 1024 * MIB
    start_timeout_s: float = 10.0
    stop_timeout_s: float = 10.0
    # How long a server left by a killed sidecar may take to end before its data directory counts as taken.
    lock_timeout_s: float = 15.0


class EmbeddedRedis:
    """One server process under our supervision: `async with EmbeddedRedis(config) as server`.

    `url` is TCP on loopback, for people and other programs; `own_url` is what the sidecar itself uses: the private
    unix socket, where there is one. Both stay the same while the server is restarted.
    """

    def __init__(self, config: EmbeddedConfig, binary: ServerBinary | None = None) -> None:
        self._config = config
        self._binary = binary
        self._dir: DataDir | None = None
        self._process: Process | None = None  # the supervisor
        self._tasks: TaskGroup | None = None
        self.kind: ServerKind = "given"
        self.url = config.url
        self.own_url = config.url
        self.socket_path = ""
        self.password = ""
        self.port = 0
        self.pid = 0  # of the server; changes with every restart
        self.restarts = 0

    @property
    def supervisor_pid(self) -> int:
        """The process between this one and the server; 0 when there is none."""
        return self._process.pid if self._process is not None else 0

    async def __aenter__(self) -> Self:
        if self._config.url:
            return self
        binary = self._binary or find_server()
        self.kind, self._binary = binary.kind, binary
        self._dir = DataDir(self._config.data_dir)
        await self._take_lock(self._dir)
        try:
            self._configure(self._dir, binary)
            await self._start()
        except BaseException:
            await self._end_process()
            self._dir.unlock()
            raise
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._watch)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._dir is None or self._tasks is None:
            return
        try:
            self._tasks.cancel_scope.cancel()
            await self._tasks.__aexit__(None, None, None)
        finally:
            with anyio.CancelScope(shield=True):
                await self._shut_down()
                await self._end_process()
            self._dir.remove_address()
            self._dir.unlock()
        log.info("embedded_redis_stopped kind=%s pid=%d", self.kind, self.pid)

    async def _take_lock(self, directory: DataDir) -> None:
        """Waits for a server that is ending after its sidecar was killed; a living owner is an error at once."""
        with anyio.move_on_after(self._config.lock_timeout_s):
            while True:
                owner = directory.lock()
                if owner is None:
                    return
                if owner != 0:
                    raise ConfigurationError(
                        f"IBKR_DATA_DIR={directory.path} is in use by process {owner}: stop it or set another directory"
                    )
                await anyio.sleep(LOCK_EVERY_S)  # no event tells of a file lock
        raise ConfigurationError(f"IBKR_DATA_DIR={directory.path} is locked by a server that does not end: kill it")

    def _configure(self, directory: DataDir, binary: ServerBinary) -> None:
        if binary.kind == "fake":
            self.port = free_port(self._config.port)
            self.url = self.own_url = f"redis://127.0.0.1:{self.port}/0"
            log.warning("embedded_redis_is_fake: no Redis server was found, so fakeredis stands in for it")
            log.warning("embedded_redis_is_fake: it is slow, keeps nothing on disk and is for trying things out only")
            return
        self.port, self.socket_path, self.password = directory.configure(
            port=self._config.port, memory_max_bytes=self._config.memory_max_bytes
        )
        # With a user: `redis-cli -u` before version 7.2 logs in as nobody without one.
        self.url = f"redis://default:{self.password}@127.0.0.1:{self.port}/0"
        self.own_url = f"unix://:{self.password}@{quote(self.socket_path)}?db=0"

    async def _start(self) -> None:
        """Starts the process and waits until it answers."""
        assert self._dir is not None
        assert self._binary is not None
        argument = str(self.port) if self.kind == "fake" else str(self._dir.path.resolve() / "redis.conf")
        # A session of its own: Ctrl-C in the terminal must not end the server before the sidecar has drained.
        self._process = await anyio.open_process(
            [sys.executable, "-I", "-S", SUPERVISOR, "5", *self._binary.command, argument],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(self._dir.lock_fd,) if sys.platform != "win32" else (),
        )
        assert self._process.stdout is not None
        try:
            with anyio.fail_after(self._config.start_timeout_s):
                self.pid = int(await self._process.stdout.receive(32))
        except (TimeoutError, anyio.EndOfStream):
            raise ConfigurationError(f"{self._binary.command[0]} cannot be started") from None
        await self._wait_until_it_answers(self._process)
        self._dir.write_address(
            url=self.url, socket=self.socket_path, password=self.password, pid=self.pid, port=self.port
        )
        log.info("embedded_redis_started kind=%s pid=%d port=%d dir=%s", self.kind, self.pid, self.port, self._dir.path)

    async def _wait_until_it_answers(self, process: Process) -> None:
        assert self._dir is not None
        link = Link(RedisConfig(url=self.own_url), "ibkr-actor-ping")
        deadline = anyio.current_time() + self._config.start_timeout_s
        try:
            while anyio.current_time() < deadline:
                if process.returncode is not None:
                    raise ConfigurationError(f"the embedded Redis ended at once: {self._dir.last_log_line()}")
                answer = await _ping(link)
                if answer == "PONG":
                    return
                if answer == "LOADING":  # it reads a large file from disk: that is progress
                    deadline = anyio.current_time() + self._config.start_timeout_s
                await anyio.sleep(PING_EVERY_S)
        finally:
            await link.close()
        raise ConfigurationError(
            f"the embedded Redis does not answer after {self._config.start_timeout_s:g} s: {self._dir.last_log_line()}"
        )

    async def _watch(self) -> None:
        """Restarts the server whenever it ends, with the same address and data."""
        wait_s = RESTART_WAIT_MIN_S
        while True:
            if self._process is not None:
                status = await self._process.wait()
                log.warning("embedded_redis_ended pid=%d status=%d restarts=%d", self.pid, status, self.restarts)
                await self._end_process()
            started = anyio.current_time()
            self.restarts += 1
            try:
                await self._start()
                wait_s = RESTART_WAIT_MIN_S
            except ConfigurationError as error:
                wait_s = min(wait_s * 2, RESTART_WAIT_MAX_S)
                log.warning("embedded_redis_restart_failed wait_s=%.2f error=%s", wait_s, error)
                await self._end_process()
            await anyio.sleep_until(started + wait_s)

    async def _shut_down(self) -> None:
        """Asks the server to write everything and end."""
        link = Link(RedisConfig(url=self.own_url), "ibkr-actor-shutdown")
        try:
            await link.open()
            await link.call("SHUTDOWN", timeout_s=self._config.stop_timeout_s)
        except (Unreachable, Refused):
            pass  # no answer is the answer: it has ended, or the closed pipe will end it
        finally:
            await link.close()

    async def _end_process(self) -> None:
        """Closes the pipe, on which the supervisor ends what still runs."""
        process, self._process = self._process, None
        if process is None:
            return
        with anyio.CancelScope(shield=True):
            if process.stdin is not None:
                await process.stdin.aclose()
            with anyio.move_on_after(self._config.stop_timeout_s):
                await process.wait()
            if process.returncode is None:
                process.kill()
            await process.aclose()


async def _ping(link: Link) -> str:
    """PONG, the code of an error answer, or nothing."""
    try:
        if not link.is_open:
            await link.open()
        answer = await link.call("PING", timeout_s=1.0)
    except Unreachable:
        return ""
    except Refused as error:
        return error.code
    return "PONG" if answer in (b"PONG", "PONG") else ""
