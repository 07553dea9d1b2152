"""Commands of one client and the replies to them, all read from one stream and given to whoever waits for each.

A command that a lost connection leaves in doubt is written again under its id, which has the effect of once.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import msgspec
from msgspec import structs
from redis.asyncio import Redis

from ibkr_actor.client.connect import patiently
from ibkr_actor.client.errors import MarketDataError, NoAnswer, error_of, named
from ibkr_actor.client.gateways import is_known, others, told
from ibkr_actor.client.reader import Reader
from ibkr_actor.schema.codec import decode_reply, encode_command
from ibkr_actor.schema.commands import AnyCommand, Rejection, Reply
from ibkr_actor.schema.instruments import InstrumentQuery
from ibkr_actor.schema.keys import Keys

_log = logging.getLogger(__name__)
Hearer = Callable[[Reply], None]


class Calls:
    """Sends commands under one client's name. `run` must run for replies to come."""

    def __init__(self, redis: Redis, reader: Reader, keys: Keys, client: str, timeout_s: float) -> None:
        self._redis = redis
        self._reader = reader
        self._keys = keys
        self.client = client
        self._timeout_s = timeout_s
        self._turn = anyio.Lock()
        self._listening = anyio.Event()  # from then on no reply is overlooked
        self._gateway_known = False  # somebody publishes there, or has before
        self.wrote = False  # a command may be there for somebody
        # Command id -> who hears every reply to it, as long as they want to.
        self._hearers: dict[str, Hearer] = {}
        # Who hears the replies that nobody waits for.
        self.on_other: Hearer = lambda reply: None

    async def run(self) -> None:
        """Reads replies for ever, those from now on."""
        replies = self._keys.replies(self.client)
        # The stream of a name that was used before holds what is no business of ours.
        follower = self._reader.follow({replies: await self._reader.newest_id(replies)})
        self._listening.set()
        while True:
            for raw in await follower.read():
                try:
                    reply = decode_reply(raw.fields)
                except (KeyError, msgspec.MsgspecError) as error:
                    _log.warning("reply_unreadable id=%s error=%s", raw.id, error)
                    continue
                self._hearers.get(reply.id, self.on_other)(reply)

    async def reply(self, command: AnyCommand, timeout_s: float | None = None) -> Reply:
        """Sends the command and returns the first reply to it, a refusal too.

        Raises:
            NoAnswer: nothing came within `timeout_s` (that of the client when None).
        """
        found: list[Reply] = []
        came = anyio.Event()

        def hear(reply: Reply) -> None:
            found.append(reply)
            came.set()

        command = self.named(command)
        with self.hearing(command.id, hear):
            await self.send(command, came, timeout_s)
        for later in found[1:]:
            self.on_other(later)  # it came before this task had its turn
        return found[0]

    async def call(self, command: AnyCommand, timeout_s: float | None = None) -> Reply:
        """Sends the command and returns the first reply to it.

        Raises:
            MarketDataError: it was refused; the class says why.
            NoAnswer: nothing came in time.
        """
        reply = await self.reply(command, timeout_s)
        if reply.error is not None:
            raise refusal(command, reply.error)
        return reply

    def named(self, command: AnyCommand) -> AnyCommand:
        """The command with this client's name, and an id if it has none."""
        return structs.replace(command, id=command.id or uuid.uuid4().hex, client=self.client)

    @contextmanager
    def hearing(self, command_id: str, hear: Hearer) -> Iterator[None]:
        """`hear` is called with every reply to this id until the block ends."""
        self._hearers[command_id] = hear
        try:
            yield
        finally:
            del self._hearers[command_id]

    async def send(self, command: AnyCommand, came: anyio.Event, timeout_s: float | None = None) -> None:
        """Writes a command that is `named`, and waits for the event.

        Raises:
            NoAnswer: it did not come in time, or never can: there are sidecars, and none for this gateway.
        """
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        written = False
        with anyio.move_on_after(limit_s):
            await self._check_gateway()
            await self.write(lambda: command)
            written = True
            await came.wait()
        if came.is_set():
            return
        if not written:
            raise NoAnswer(f"Redis did not take {_of(command)} within {limit_s:g} s: is it there?")
        text = f"no answer to {_of(command)} within {limit_s:g} s: is a sidecar running for {self._keys.root}?"
        raise NoAnswer(f"{text} `ibkr-actor doctor` tells")

    async def _check_gateway(self) -> None:
        """A gateway that never was, where there are others, is a mistake; any other may still come.

        Raises:
            NoAnswer: so it is.
        """
        if not self._gateway_known:
            self._gateway_known = await patiently(lambda: is_known(self._redis, self._keys), "gateway")
        if self._gateway_known:
            return
        there = await patiently(lambda: others(self._redis, self._keys), "gateway")
        if there:
            raise NoAnswer(told(self._keys, there))

    async def write(self, decide: Callable[[], AnyCommand | None]) -> None:
        """Writes what `decide` says when its turn comes: commands stand in the order they were decided in.

        The command must be `named`. A server that is away is waited for.
        """
        await self._listening.wait()
        async with self._turn:
            command = decide()
            if command is None:
                return
            entry: Any = {"j": encode_command(command)}
            self.wrote = True
            await patiently(lambda: self._redis.xadd(self._keys.commands(), entry), "commands")


def refusal(command: AnyCommand, rejection: Rejection) -> MarketDataError:
    """The exception for a refused command, naming the instrument that the command is about."""
    instrument = instrument_of(command)
    error = error_of(rejection)
    return named(error, instrument) if instrument else error


def instrument_of(command: AnyCommand) -> str | None:
    """What a command is about, as it was written; None where it is about none."""
    instrument: str | InstrumentQuery | None = getattr(command, "instrument", None)  # not every command has one
    if isinstance(instrument, InstrumentQuery):
        return " ".join(f"{name}={value}" for name, value in msgspec.to_builtins(instrument).items())
    return instrument


def _of(command: AnyCommand) -> str:
    """A command as a person knows it: what is asked, and of what."""
    instrument = instrument_of(command)
    tag = command.__struct_config__.tag
    return f"{tag!r}" if instrument is None else f"{tag!r} of {instrument}"
