"""Owns what every action has in common: its name, its shape, and the scene it works on.

Must not hold any particular action; those are in the *_actions modules.
"""

from __future__ import annotations

import dataclasses
import re
from abc import ABCMeta, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import anyio
import msgspec
from ibapi.message import OUT

from ibkr_actor.sim.clock import Entry
from ibkr_actor.sim.desks.lines import Kind, Line
from ibkr_actor.sim.desks.stage import Stage
from ibkr_actor.sim.faults.faults import Answer, Silence
from ibkr_actor.sim.listener import Listener
from ibkr_actor.sim.session import Session
from ibkr_actor.sim.world import World

# What a request is called in scripts -> its message id. Source: ibapi.message.OUT.
MESSAGES: dict[str, int] = {name: int(number) for name, number in OUT.__members__.items()}
InstrumentRef = str | int
MessageRef = str | int


@dataclasses.dataclass(slots=True, eq=False)
class Effect:
    """What an action changed for a while; `end` when it ends by itself, None when only `mend` ends it."""

    undo: Callable[[], None]
    end: Entry | None = None


class Scene:
    """What actions work on: the world, the stage, every connection and the door."""

    def __init__(self, world: World, stage: Stage, connected: dict[int, Session], listener: Listener) -> None:
        self.world = world
        self.stage = stage
        self.listener = listener
        self.effects: list[Effect] = []
        self._connected = connected
        self._moment_s: float | None = None
        self._working = 0
        self._idle = anyio.Event()

    def now_s(self) -> float:
        """The simulated time; for an action that was due, when it was."""
        return self.world.clock.now_s() if self._moment_s is None else self._moment_s

    @contextmanager
    def moment(self, due_s: float | None) -> Iterator[None]:
        """Meanwhile it is `due_s`, so that what lasts ends on time however late the loop came to it."""
        before, self._moment_s = self._moment_s, due_s
        try:
            yield
        finally:
            self._moment_s = before

    def sessions(self, client: int | None) -> list[Session]:
        """The clients that have called startApi, or the one; empty when it is not there."""
        return [it for number, it in self.world.sessions.items() if client is None or number == client]

    def connections(self, client: int | None) -> list[Session]:
        """As `sessions`, with those that have not called startApi yet unless one client is meant."""
        return list(self._connected.values()) if client is None else self.sessions(client)

    def con_ids(self, instrument: InstrumentRef | None) -> frozenset[int] | None:
        """Those the name means, or None for all. Raises: UnknownInstrument."""
        return None if instrument is None else self.world.catalogue.named(instrument)

    def lines(
        self, instrument: InstrumentRef | None = None, kinds: frozenset[Kind] | None = None, client: int | None = None
    ) -> list[Line]:
        """The open lines that fit, in the order they were opened."""
        chosen = Silence(con_ids=self.con_ids(instrument), kinds=kinds, client_id=client)
        return [line for line in self.world.lines if chosen.covers(line)]

    def last(self, for_s: float | None, undo: Callable[[], None]) -> None:
        """Call `undo` after `for_s` of simulated time, or when everything is mended."""
        effect = Effect(undo)
        self.effects.append(effect)
        if for_s is not None:
            effect.end = self.world.control.at(self.now_s() + for_s, lambda _: self.end(effect))

    def end(self, effect: Effect) -> None:
        """Undo it, once."""
        if effect in self.effects:
            self.effects.remove(effect)
            if effect.end is not None:
                effect.end.cancel()
            effect.undo()
            self.world.changed()

    def silence(self, silence: Silence, for_s: float | None) -> None:
        """Keep lines silent for a while."""
        self.world.faults.silences.append(silence)
        self.last(for_s, lambda: self.world.faults.lift(silence, self.world.deliver))

    def answer(self, answer: Answer, for_s: float | None) -> None:
        """Answer requests with an error, or not at all, for a while."""
        answers = self.world.faults.answers
        answers.append(answer)

        def undo() -> None:
            if answer in answers:
                answers.remove(answer)

        self.last(for_s, undo)

    def notice(self, code: int, text: str, client: int | None = None) -> None:
        """An error with id -1."""
        for session in self.sessions(client):
            self.world.error(session, -1, code, text)

    def line_error(self, line: Line, code: int, text: str) -> None:
        self.world.error(line.session, line.req_id, code, text)

    # Work that must await; `settled` tells a stepped clock when it is done.

    def start(self, work: Callable[[], Awaitable[None]]) -> None:
        self._working += 1

        async def run() -> None:
            try:
                await work()
            finally:
                self._working -= 1
                idle, self._idle = self._idle, anyio.Event()
                idle.set()
                self.world.changed()

        self.world.spawn(run)

    @property
    def busy(self) -> bool:
        """Whether anything `start` was given is not done yet."""
        return self._working > 0

    async def settled(self) -> None:
        """Return once everything `start` was given is done."""
        while self._working:
            await self._idle.wait()


class _Abstract(msgspec.StructMeta, ABCMeta):
    """A Struct that cannot be made unless its class says what it does."""


class Action(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, metaclass=_Abstract):
    """One thing that goes wrong. Its name in scripts is that of its class, in snake_case; times are in seconds.

    `instrument` is a symbol, pair, key or con_id, `client` a client id; without them all are meant. `for_s` (`for` in
    scripts) is how long it lasts; without it, until `mend`.
    """

    @classmethod
    def called(cls) -> str:
        """Its name in scripts."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    @abstractmethod
    def do(self, scene: Scene) -> None:
        """Make it happen, now."""


def message_ids(message: MessageRef | list[MessageRef] | None) -> frozenset[int] | None:
    """Ids of requests given by number or by ibapi's name, such as REQ_MKT_DATA; None is None.

    Raises: ValueError for a name that is none.
    """
    if message is None:
        return None
    several = message if isinstance(message, list) else [message]
    return frozenset(_message_id(each) for each in several)


def _message_id(message: MessageRef) -> int:
    if isinstance(message, int):
        return message
    if message not in MESSAGES:
        raise ValueError(
            f"no request is called {message!r}; names are those of ibapi.message.OUT, such as REQ_MKT_DATA"
        )
    return MESSAGES[message]


def kinds_of(kind: str | None) -> frozenset[Kind] | None:
    """The kind of line of that name; None is None.

    Raises: ValueError for a name that is none.
    """
    if kind is None:
        return None
    names = {each.name.lower(): each for each in Kind}
    if kind not in names:
        raise ValueError(f"no kind of line is called {kind!r}; there are {', '.join(names)}")
    return frozenset({names[kind]})


def positive(count: int | None) -> None:
    """Raises: ValueError for a count that is none."""
    if count is not None and count < 1:
        raise ValueError("count must be 1 or more")
