"""The command reader: fetches commands, answers those that cannot be done, and hands on the rest.

Does no command itself, and settles none except through the outbox.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NoReturn

import anyio
from msgspec import Struct

from ibkr_actor.bus.config import BusConfig
from ibkr_actor.bus.connection import Link, Refused, Unreachable
from ibkr_actor.bus.epoch import raise_if_fenced
from ibkr_actor.bus.health import Backoff, Health
from ibkr_actor.bus.intake import Bad, Command, Intake
from ibkr_actor.bus.replies import Outbox
from ibkr_actor.bus.run_connected import run_connected
from ibkr_actor.bus.settle import DeadLetter
from ibkr_actor.core.messages import CommandReceived, CommandsReadable
from ibkr_actor.schema.commands import Code, Rejection, Reply, Status
from ibkr_actor.schema.keys import Keys

log = logging.getLogger(__name__)

Deliver = Callable[[CommandReceived | CommandsReadable], Awaitable[None]]

# Answers which mean that a group or a stream is not what it was: make the groups anew and look what is pending.
_GROUP_CODES = frozenset({"NOGROUP", "UNBLOCKED", "WRONGTYPE"})
BUSY_RETRY_AFTER_S = 5.0
PENDING_PAGE = 100


class Fetched(Struct, frozen=True):
    """One entry of a command stream. `deliveries` counts earlier ones."""

    key: str
    entry_id: str
    fields: Mapping[bytes, bytes]
    deliveries: int = 0


class CommandReader:
    """Reads `commands` and each commander's own stream as the one consumer of a group.

    After every connection what is pending to anyone comes first (to us: an answer was lost; to others: they are dead or
    fenced), then what is new. An entry handed on is not handed on again in this process until it is settled.
    """

    def __init__(
        self,
        link: Link,
        config: BusConfig,
        epoch: int,
        outbox: Outbox,
        deliver: Deliver,
        *,
        health: Health | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._link = link
        self._redis = config.redis
        self._config = config.commands
        self._outbox = outbox
        self._deliver = deliver
        self._now_ns = now_ns
        keys = Keys(config.prefix, config.gateway)
        self._intake = Intake(keys, config.commands.commanders)
        self._keys = list(self._intake.clients)  # every command stream
        self._readable: list[str] = []  # those whose group is there
        self._consumer = f"e{epoch}"
        # (key, entry id) -> its fields, from fetching until settled. A stream that was deleted may give an id again.
        self._in_flight: dict[tuple[str, str], Mapping[bytes, bytes]] = {}
        self._room: anyio.Event | None = None  # while waiting for fewer in flight
        self._claimed_at = 0.0
        self._lost = False  # from any trouble until the command streams can be read again
        self.health = health or Health("commands")
        self._counts = {"received": 0, "bad": 0, "dead": 0, "expired": 0, "answered_again": 0, "busy": 0, "claimed": 0}
        outbox.on_settled = self._settled

    def counters(self) -> dict[str, int | float | str | None]:
        counts: dict[str, int | float | str | None] = {f"commands_{name}": n for name, n in self._counts.items()}
        return {**counts, "commands_in_flight": len(self._in_flight), "commands_state": self.health.state}

    async def run(self) -> None:
        """Reads for ever; a Redis that is away is waited for.

        Raises:
            Fenced: a newer sidecar publishes for this gateway.
        """
        backoff = Backoff(self._redis)

        async def work() -> None:
            await self._make_groups()
            if self._lost:
                await self._deliver(CommandsReadable())
                self._lost = False
            self.health.up()
            await self._claim()
            backoff.reset()
            await self._read_for_ever()

        await run_connected(self._link, backoff, work, on_trouble=self._note_trouble)

    def _note_trouble(self, error: Unreachable | Refused) -> None:
        self._lost = True
        if not (isinstance(error, Refused) and error.code in _GROUP_CODES):
            self.health.trouble(error)

    async def _read_for_ever(self) -> NoReturn:
        """New commands, and from time to time those left by a consumer that died or was fenced."""
        while True:
            busy = await self._wait_for_room()
            config = self._config
            words = ["XREADGROUP", "GROUP", config.group, self._consumer, "COUNT", str(config.read_count)]
            words += ["BLOCK", str(config.block_ms), "STREAMS", *self._readable, *[">"] * len(self._readable)]
            timeout_s = config.block_ms / 1000 + self._redis.answer_timeout_s
            answer = await self._link.call(*words, timeout_s=timeout_s)
            fetched = [
                Fetched(key.decode(), entry_id.decode(), _paired(fields))
                for key, entries in answer or ()
                for entry_id, fields in entries
            ]
            await self._handle(fetched, busy=busy)
            if anyio.current_time() - self._claimed_at >= config.claim_every_s:
                await self._make_groups()
                await self._claim()

    async def _wait_for_room(self) -> bool:
        """Waits while too many commands are in flight; True when the backlog is so long that it is answered `busy`."""
        while len(self._in_flight) >= self._config.in_flight_max:
            lengths = await self._link.pipeline([("XLEN", key) for key in self._readable])
            if any(isinstance(length, int) and length > self._config.backlog_max for length in lengths):
                return True
            self._room = anyio.Event()
            with anyio.move_on_after(1.0):
                await self._room.wait()
            self._room = None
        return False

    def _settled(self, key: str, entry_id: str) -> None:
        self._in_flight.pop((key, entry_id), None)
        if self._room is not None and len(self._in_flight) < self._config.in_flight_max:
            self._room.set()

    # -- groups and what is pending in them

    async def _make_groups(self) -> None:
        """Groups begin at 0: commands written while no sidecar ran are done.

        Raises:
            Refused: no stream can be read.
        """
        commands = [("XGROUP", "CREATE", key, self._config.group, "0", "MKSTREAM") for key in self._keys]
        answers = await self._link.pipeline(commands)
        readable = []
        for key, answer in zip(self._keys, answers, strict=True):
            # Out of memory a group cannot be made, but the one that is there can be read.
            if not isinstance(answer, Refused) or answer.code in ("BUSYGROUP", "OOM"):
                readable.append(key)
            elif key in self._readable or not self._readable:
                log.warning("commands_unreadable key=%s error=%s", key, answer)
        if not readable:
            raise next(answer for answer in answers if isinstance(answer, Refused))
        self._readable = readable

    async def _claim(self) -> None:
        """Takes over and handles whatever is pending and not in flight here."""
        for key in self._readable:
            start = "-"
            while True:
                page = await self._link.call("XPENDING", key, self._config.group, start, "+", PENDING_PAGE)
                if not page:
                    break
                start = "(" + page[-1][0].decode()
                ours = [(row[0].decode(), row[3]) for row in page if (key, row[0].decode()) not in self._in_flight]
                if ours:
                    await self._handle(await self._fetch_pending(key, ours))
            await self._forget_consumers(key)
        self._claimed_at = anyio.current_time()

    async def _fetch_pending(self, key: str, rows: Sequence[tuple[str, int]]) -> list[Fetched]:
        """The entries, now ours. Their deliveries are counted only here: lost answers must not make dead letters.

        Entries that are gone (trimmed, deleted) are acknowledged: there is nothing left to do or to answer.
        """
        group, me = self._config.group, self._consumer
        answers = await self._link.pipeline([("XRANGE", key, entry_id, entry_id) for entry_id, _ in rows])
        fetched: list[Fetched] = []
        marks: list[tuple[str, ...]] = []
        for (entry_id, deliveries), answer in zip(rows, answers, strict=True):
            if isinstance(answer, Refused):
                raise answer
            if not answer:
                marks.append(("XACK", key, group, entry_id))
                continue
            fetched.append(Fetched(key, entry_id, _paired(answer[0][1]), deliveries))
            marks.append(("XCLAIM", key, group, me, "0", entry_id, "RETRYCOUNT", str(deliveries + 1), "JUSTID"))
        await self._link.pipeline(marks)
        self._counts["claimed"] += len(fetched)
        return fetched

    async def _forget_consumers(self, key: str) -> None:
        """Removes the names of earlier epochs, which have nothing pending any more."""
        rows = await self._link.call("XINFO", "CONSUMERS", key, self._config.group)
        infos = [dict(zip(row[::2], row[1::2], strict=True)) for row in rows]
        names = [info[b"name"].decode() for info in infos if info[b"pending"] == 0]
        old = [name for name in names if name != self._consumer]
        if old:
            await self._link.pipeline([("XGROUP", "DELCONSUMER", key, self._config.group, name) for name in old])

    # -- one command after the other

    async def _handle(self, fetched: Sequence[Fetched], *, busy: bool = False) -> None:
        """Answers what can be answered here and hands on the rest, in order."""
        left = {(entry.key, entry.entry_id): entry for entry in fetched}
        left = {place: entry for place, entry in left.items() if self._in_flight.get(place) != entry.fields}
        self._in_flight.update((place, entry.fields) for place, entry in left.items())
        try:
            await self._handle_each(left, busy=busy)
        finally:
            # What was not handed on, on the way out, stays pending and is found there after the next connection.
            for place in left:
                self._in_flight.pop(place, None)

    async def _handle_each(self, left: dict[tuple[str, str], Fetched], *, busy: bool) -> None:
        """Affects: `left`, from which each entry is removed as soon as it is handed on or its answer queued."""
        commands: list[Command] = []
        for place, entry in list(left.items()):
            self._counts["received"] += 1
            understood = self._intake.understand(entry.key, entry.entry_id, entry.fields)
            if isinstance(understood, Bad):
                self._refuse(understood, entry)
                del left[place]
            elif entry.deliveries >= self._config.attempts_max:
                self._bury(understood, entry)
                del left[place]
            else:
                commands.append(understood)
        again = await self._answered_again([command for command in commands if command.has_own_id])
        for command in commands:
            if command.ref.entry_id not in again:
                await self._hand_on(command, busy=busy)
                del left[(command.ref.key, command.ref.entry_id)]

    async def _hand_on(self, command: Command, *, busy: bool) -> None:
        if command.is_expired(self._now_ns() // 1_000_000):
            self._counts["expired"] += 1
            self._reject(command, "expired", "the command's deadline_ms had passed when it was read")
        elif busy:
            self._counts["busy"] += 1
            self._reject(command, "busy", "too many commands wait for their answer: try again later")
        else:
            await self._deliver(CommandReceived(command.ref, command.command))

    async def _answered_again(self, commands: Sequence[Command]) -> set[str]:
        """Entry ids of those whose answer was remembered; it has been sent again."""
        if not commands:
            return set()
        answers = await self._link.pipeline([self._outbox.again(command.ref) for command in commands])
        again = set()
        for command, answer in zip(commands, answers, strict=True):
            raise_if_fenced(answer)
            if isinstance(answer, Refused) and answer.code != "OOM":
                raise answer
            if answer == 1:
                again.add(command.ref.entry_id)
        self._counts["answered_again"] += len(again)
        return again

    def _refuse(self, bad: Bad, entry: Fetched) -> None:
        self._counts["bad"] += 1
        reply = Reply(bad.ref.id, bad.ref.op, "rejected", error=Rejection(bad.code, bad.message))
        self._outbox.answer(bad.ref, reply, remember=False, dead=self._letter(bad.message, entry))

    def _bury(self, command: Command, entry: Fetched) -> None:
        """A command that was handed on often enough and never settled."""
        self._counts["dead"] += 1
        message = f"the command failed {entry.deliveries} times and is not tried again"
        log.warning("command_dead key=%s id=%s op=%s", entry.key, entry.entry_id, command.ref.op)
        reply = Reply(command.ref.id, command.ref.op, "rejected", error=Rejection("internal", message))
        self._outbox.answer(command.ref, reply, dead=self._letter(message, entry))

    def _reject(self, command: Command, code: Code, message: str) -> None:
        retry_after_s = BUSY_RETRY_AFTER_S if code == "busy" else None
        error = Rejection(code, message, retryable=code == "busy", retry_after_s=retry_after_s)
        status: Status = "expired" if code == "expired" else "rejected"
        reply = Reply(command.ref.id, command.ref.op, status, error=error)
        self._outbox.answer(command.ref, reply, remember=code != "busy")

    def _letter(self, reason: str, entry: Fetched) -> DeadLetter:
        payload = entry.fields.get(b"j") or entry.fields.get(b"d") or b""
        return DeadLetter(reason[:500], payload, self._config.dead_max)


def _paired(fields: Any) -> Mapping[bytes, bytes]:
    """Fields of an entry; empty for one that was deleted while pending."""
    return dict(zip(fields[::2], fields[1::2], strict=True)) if fields else {}
