"""Owns the commands of this process: one client's name for all requests, and who hears what is said after an answer.

Decides nothing about a command; writing it, and reading the replies, is the SDK's.
"""

from __future__ import annotations

from collections.abc import Callable

from redis.asyncio import Redis
from redis.exceptions import RedisError

from ibkr_actor.client.calls import Calls
from ibkr_actor.client.errors import MarketDataError, NoAnswer
from ibkr_actor.client.gateways import nobody
from ibkr_actor.client.reader import Reader
from ibkr_actor.http.errors import HttpError, of_redis, of_rejection
from ibkr_actor.schema.commands import AnyCommand, Reply
from ibkr_actor.schema.keys import Keys

OnReply = Callable[[Reply], None]


class Asking:
    """Commands under one client's name. `run` must run."""

    def __init__(self, redis: Redis, keys: Keys, client: str, *, timeout_s: float) -> None:
        self._redis = redis
        self._keys = keys
        self._reader = Reader(redis)
        self._calls = Calls(redis, self._reader, keys, client, timeout_s)
        self._calls.on_other = self._heard
        # Command id -> who hears the replies that follow the first, until `forget`.
        self._later: dict[str, OnReply] = {}
        self.client = client

    async def ask(self, command: AnyCommand, *, later: OnReply | None = None) -> Reply:
        """The first reply to a command; those that follow it go to `later` until `forget`.

        Raises:
            HttpError: it was refused, nobody answers, or Redis is away.
        """
        await self._require_sidecar()
        command = self._calls.named(command)
        if later is not None:
            self._later[command.id] = later
        answered = False
        try:
            reply = await self._calls.call(command)
            answered = reply.status != "expired"
        except NoAnswer as error:
            raise HttpError("timeout", str(error)) from None
        except MarketDataError as error:
            raise of_rejection(error.rejection) from None
        except (RedisError, OSError) as error:
            raise of_redis(error) from None
        finally:
            if not answered:
                self.forget(command.id)
        if not answered:
            raise HttpError("expired", "the command expired before it was done")
        return reply

    async def send(self, command: AnyCommand) -> None:
        """Writes a command whose answer nobody waits for, once Redis is there. Raises: RedisError: it refuses."""
        command = self._calls.named(command)
        await self._calls.write(lambda: command)

    def forget(self, command_id: str) -> None:
        """Later replies to this command go to nobody."""
        self._later.pop(command_id, None)

    async def run(self) -> None:
        """Reads replies for ever; a Redis that is away is waited for."""
        async with self._reader:
            await self._calls.run()

    def _heard(self, reply: Reply) -> None:
        later = self._later.get(reply.id)
        if later is not None:
            later(reply)

    async def _require_sidecar(self) -> None:
        """Raises: HttpError at once, where the SDK would wait for Redis or the sidecar."""
        try:
            if not await self._redis.exists(self._keys.heartbeat):
                raise HttpError("no_sidecar", await nobody(self._redis, self._keys))
        except (RedisError, OSError) as error:
            raise of_redis(error) from None
