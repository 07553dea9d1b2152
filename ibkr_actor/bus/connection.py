"""Links: single connections to Redis that repeat nothing by themselves, and the errors they raise.

Never retries a command (redis-py's own retries double XADD and make XREADGROUP skip entries), never reconnects unasked.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, cast

import anyio
import hiredis
from redis.asyncio import Connection, ConnectionPool
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.exceptions import BusyLoadingError as LoadingError

from ibkr_actor.bus.config import RedisConfig
from ibkr_actor.errors import ConfigurationError

Word = str | int | float | bytes

# hiredis' own annotation says a tuple of one word.
_pack: Final[Callable[[tuple[Word, ...]], bytes]] = cast(Any, hiredis.pack_command)

# redis-py strips the code of these from the text; the class still tells it.
_CODES: Final = {
    "NoScriptError": "NOSCRIPT",
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
    "NoPermissionError": "NOPERM",
    "ClusterDownError": "CLUSTERDOWN",
    "MovedError": "MOVED",
    "AskError": "ASK",
    "TryAgainError": "TRYAGAIN",
    "MasterDownError": "MASTERDOWN",
    "ExecAbortError": "EXECABORT",
}


_CODES_IN_TEXT: Final = frozenset({"BUSYGROUP", "NOGROUP", "UNBLOCKED", "WRONGTYPE"})


class Unreachable(Exception):
    """The connection is gone or never came up: whether the last command was done is not known."""


class Refused(Exception):
    """The server answered with an error. `code` is its first word (OOM, NOGROUP, ERR, ...)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message


class Script:
    """A Lua script with its digest."""

    def __init__(self, text: str) -> None:
        self.text = text
        # Redis names scripts by SHA-1; nothing here depends on its strength.
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def call(self, keys: Sequence[Word], args: Sequence[Word] = ()) -> tuple[Word, ...]:
        """The EVALSHA command for these keys and arguments."""
        return ("EVALSHA", self.sha, len(keys), *keys, *args)


def pack(words: Sequence[Word]) -> bytes:
    """One command as RESP bytes."""
    return _pack(tuple(words))


class Link:
    """One connection under our own control.

    A link is used by one task. A call not answered in time closes the connection and raises `Unreachable`.
    """

    def __init__(self, config: RedisConfig, name: str, scripts: Sequence[Script] = ()) -> None:
        self._config = config
        self._scripts = {script.sha: script for script in scripts}
        self._connection: Connection | None = None  # from open to close or the first trouble
        try:
            address: dict[str, Any] = dict(parse_url(config.url))
            self._pool = ConnectionPool(**address | _options(config, name))
            self._new_connection()  # tells whether there are options that no connection has
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"IBKR_REDIS_URL cannot be used: {_unquoted(error)}") from None

    @property
    def is_open(self) -> bool:
        return self._connection is not None and self._connection.is_connected

    async def open(self) -> None:
        """Connects anew.

        Raises:
            Unreachable: nobody there, or the login was refused; the text says which.
        """
        await self.close()
        connection = self._new_connection()
        try:
            with anyio.fail_after(self._config.connect_timeout_s):
                connect: Callable[[], Awaitable[None]] = connection.connect
                await connect()
        except TimeoutError:
            await _close(connection)
            raise Unreachable(f"no connection within {self._config.connect_timeout_s:g} s") from None
        except (RedisError, OSError) as error:
            await _close(connection)
            prefix = "login refused: " if isinstance(error, AuthenticationError) else ""
            raise Unreachable(prefix + _one_line(error)) from None
        self._connection = connection

    def _new_connection(self) -> Connection:
        make_connection: Callable[[], Connection] = self._pool.make_connection
        return make_connection()

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await _close(connection)

    async def exchange(self, packed: bytes, answers: int, timeout_s: float | None = None) -> list[Any]:
        """Sends bytes and reads that many answers. An error answer stands in the list as a `Refused`.

        Raises:
            Unreachable: the connection ended or the deadline passed before the last answer.
        """
        connection = self._connection
        if connection is None or not connection.is_connected:
            raise Unreachable("not connected")
        limit_s = self._config.answer_timeout_s if timeout_s is None else timeout_s
        try:
            with anyio.fail_after(limit_s):
                await connection.send_packed_command([packed], check_health=False)
                return [await _answer(connection) for _ in range(answers)]
        except TimeoutError:
            await self.close()
            raise Unreachable(f"no answer within {limit_s:g} s") from None
        except (RedisError, OSError) as error:
            await self.close()
            raise Unreachable(_one_line(error)) from None
        except BaseException:
            await self.close()
            raise

    async def pipeline(self, commands: Sequence[Sequence[Word]], timeout_s: float | None = None) -> list[Any]:
        """The answers to these commands, sent together; error answers stand in the list as `Refused`.

        A script the server does not know is loaded and its call sent again, which is safe: it was not run.
        """
        answers = await self.exchange(b"".join(map(pack, commands)), len(commands), timeout_s)
        unknown = [i for i, answer in enumerate(answers) if isinstance(answer, Refused) and answer.code == "NOSCRIPT"]
        if unknown:
            await self.load_scripts()
            again = await self.exchange(b"".join(pack(commands[i]) for i in unknown), len(unknown), timeout_s)
            for i, answer in zip(unknown, again, strict=True):
                answers[i] = answer
        return answers

    async def call(self, *words: Word, timeout_s: float | None = None) -> Any:
        """The answer to one command.

        Raises:
            Refused: the server answered with an error.
            Unreachable: see `exchange`.
        """
        answer = (await self.pipeline([words], timeout_s))[0]
        if isinstance(answer, Refused):
            raise answer
        return answer

    async def load_scripts(self) -> None:
        """Loads every script of this link, which a restart or SCRIPT FLUSH has removed."""
        texts = [script.text for script in self._scripts.values()]
        answers = await self.exchange(b"".join(pack(("SCRIPT", "LOAD", text)) for text in texts), len(texts))
        for answer in answers:
            if isinstance(answer, Refused):
                raise answer


def _options(config: RedisConfig, name: str) -> dict[str, Any]:
    """What must hold on every link, whatever options a URL names (those of `from_url` would win over ours)."""
    return {
        "socket_timeout": None,  # each exchange has a deadline of its own, since some of them block on purpose
        "socket_connect_timeout": config.connect_timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_timeout": False,
        "retry_on_error": [],
        "health_check_interval": 0,  # a PING between commands would take the place of an answer
        "decode_responses": False,
        "client_name": name,
        "protocol": 2,
        "driver_info": None,
    }


async def _answer(connection: Connection) -> Any:
    try:
        return await connection.read_response(timeout=math.inf, disconnect_on_error=True)
    except (ResponseError, LoadingError) as error:
        return refused(error)


def refused(error: RedisError) -> Refused:
    """An error answer with the code that redis-py may have moved from its text into the class."""
    text = str(error)
    if isinstance(error, LoadingError):
        return Refused("LOADING", text)
    code = _CODES.get(type(error).__name__)
    if code is not None:
        return Refused(code, text)
    first, _, rest = text.partition(" ")
    # redis-py takes ERR from the text too, and leaves other codes in it. fakeredis puts ERR before every code.
    is_err = getattr(error, "status_code", None) == "ERR"
    if first in _CODES_IN_TEXT or (not is_err and first.isalpha() and first.isupper()):
        return Refused(first, rest)
    return Refused("ERR", text)


async def _close(connection: Connection) -> None:
    with anyio.CancelScope(shield=True), suppress(RedisError, OSError):
        await connection.disconnect(nowait=True)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _unquoted(error: Exception) -> str:
    """What is wrong with a URL, without a word of it: badly escaped, a part of the password looks like a port."""
    text = _one_line(error)
    if isinstance(error, TypeError):
        return f"{text.rpartition(' ')[2]} is no option of a connection"
    return "its port is no number; escape / ? # @ : in a password with %" if "integer" in text else text
