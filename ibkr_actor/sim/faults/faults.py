"""Owns what is wrong with one simulator now: silent lines, requests not answered, texts and frames bent out of shape.

Must not decide when a fault begins or ends; actions do. World, clients, sessions and desks ask here before they act.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import anyio
import msgspec

from ibkr_actor.sim import messages as m
from ibkr_actor.sim.desks.languages import localized
from ibkr_actor.sim.desks.lines import Kind, Line
from ibkr_actor.sim.market.catalogue import Catalogue
from ibkr_actor.sim.market.instruments import Instrument
from ibkr_actor.sim.wire.request_base import Cancel, Request

if TYPE_CHECKING:
    from ibkr_actor.sim.session import Session

# What a gateway does with a client's greeting: answers, says nothing, or hangs up.
ANSWER, SILENCE, HANG_UP = "answer", "silence", "hang_up"


@dataclasses.dataclass(slots=True, eq=False)
class Silence:
    """Lines on which nothing flows. Each field that is not None narrows which lines those are.

    `lines` are particular ones, so that a new subscription is heard again; `sessions` (numbers) particular
    connections. With `remembers` the last value of each kind is kept, and said when the silence ends. `error` is said
    on every line that is opened during the silence.
    """

    con_ids: frozenset[int] | None = None
    client_id: int | None = None
    kinds: frozenset[Kind] | None = None
    lines: frozenset[Line] | None = None
    sessions: frozenset[int] | None = None
    remembers: bool = False
    error: tuple[int, str] | None = None
    kept: dict[Line, dict[tuple[type[m.Message], int], m.Message]] = dataclasses.field(default_factory=dict)

    def covers(self, line: Line) -> bool:
        return (
            (self.con_ids is None or line.instrument.con_id in self.con_ids)
            and (self.client_id is None or line.session.client_id == self.client_id)
            and (self.kinds is None or line.kind in self.kinds)
            and (self.lines is None or line in self.lines)
            and (self.sessions is None or line.session.number in self.sessions)
        )

    def keep(self, line: Line, message: m.Message) -> None:
        """Remember a value; a later one of its kind takes its place."""
        if self.remembers:
            key = (type(message), getattr(message, "tick_type", 0))
            self.kept.setdefault(line, {})[key] = message


@dataclasses.dataclass(slots=True, eq=False)
class Answer:
    """What requests get instead of their answer: an error, or with `code` None nothing.

    `message_ids`, `con_ids` and `client_id` narrow which requests; `left` counts down, None is without end. Cancels
    are meant only when `message_ids` names them.
    """

    code: int | None = None
    text: str = ""
    message_ids: frozenset[int] | None = None
    con_ids: frozenset[int] | None = None
    client_id: int | None = None
    left: int | None = None


@dataclasses.dataclass(slots=True, eq=False)
class HeldClientId:
    """A client id that counts as in use; `client_id` None is any. `left` counts down, None is without end."""

    client_id: int | None = None
    left: int | None = None


class Faults:
    """Each fault is in force while it stands here. Ask through the methods; the collections are for actions."""

    def __init__(self, catalogue: Catalogue, *, language: str = "en") -> None:
        self._catalogue = catalogue
        self.silences: list[Silence] = []
        self.answers: list[Answer] = []
        self._greeting = ANSWER
        self._greeting_changed = anyio.Event()
        self.held_client_ids: list[HeldClientId] = []
        self.language = language
        # The history desk puts here what says 10182 to every query kept up to date, and ends it.
        self.live_updates_lost: list[Callable[[], object]] = []
        self.empty_sizes: list[frozenset[int] | None] = []  # con_ids; None is every instrument
        self.question_marks: list[frozenset[int] | None] = []
        self.year_less = 0  # how many faults want dates without a year

    # What is asked for every message on a line

    def withholds(self, line: Line, message: m.Message) -> bool:
        """Whether a message on a line is not to be sent now; it may be remembered and come later."""
        for silence in self.silences:
            if silence.covers(line):
                silence.keep(line, message)
                return True
        return False

    def bent(self, line: Line, message: m.Message) -> m.Message:
        """The message as it is to look."""
        if self.empty_sizes and isinstance(message, m.TickPrice) and _holds(self.empty_sizes, line.instrument):
            return msgspec.structs.replace(message, size=None)
        return message

    def errors_for(self, line: Line) -> Iterable[tuple[int, str]]:
        """Code and text of what a newly opened line is told."""
        return [each.error for each in self.silences if each.error is not None and each.covers(line)]

    # What is asked for each request and client

    def answer(self, client_id: int | None, request: Request) -> Answer | None:
        """What the request gets instead of its answer, counted down; None when it is to be answered."""
        for answer in self.answers:
            if self._meant(answer, client_id, request):
                if answer.left is not None:
                    answer.left -= 1
                    if answer.left <= 0:
                        self.answers.remove(answer)
                return answer
        return None

    def _meant(self, answer: Answer, client_id: int | None, request: Request) -> bool:
        if answer.message_ids is None:
            if isinstance(request, Cancel):
                return False
        elif request.message_id not in answer.message_ids:
            return False
        if answer.client_id is not None and answer.client_id != client_id:
            return False
        return answer.con_ids is None or self.concerns(request, answer.con_ids)

    def concerns(self, request: Request, con_ids: frozenset[int]) -> bool:
        """Whether the contract of a request is, or may be, one of these instruments."""
        contract = getattr(request, "contract", None)
        if contract is None:
            return False
        return contract.con_id in con_ids or any(each.con_id in con_ids for each in self._catalogue.match(contract))

    def holds_client_id(self, client_id: int) -> bool:
        """Whether the id counts as in use although no such client is connected, counted down: answer 326."""
        for held in self.held_client_ids:
            if held.client_id in (None, client_id):
                if held.left is not None:
                    held.left -= 1
                    if held.left <= 0:
                        self.held_client_ids.remove(held)
                return True
        return False

    @property
    def greeting(self) -> str:
        """What is done with a client's greeting."""
        return self._greeting

    def greet(self, how: str) -> None:
        """From now on greetings get ANSWER, SILENCE or HANG_UP; who waits for an answer is told."""
        self._greeting = how
        changed, self._greeting_changed = self._greeting_changed, anyio.Event()
        changed.set()

    async def greeting_changed(self) -> None:
        """Wait for the next `greet`."""
        await self._greeting_changed.wait()

    # What the makers of texts and bars ask

    def text(self, text: str) -> str:
        """An error's text in the language in force."""
        return localized(self.language, text)

    def question_mark_prices(self, instrument: Instrument) -> bool:
        """For the history desk: whether bars of this instrument carry `?` instead of prices, in text layouts."""
        return bool(self.question_marks) and _holds(self.question_marks, instrument)

    def silent_history(self, session: Session, instrument: Instrument) -> bool:
        """For the history desk, where updates of kept history are no lines: whether they are held back now."""
        return any(
            silence.lines is None
            and (silence.con_ids is None or instrument.con_id in silence.con_ids)
            and (silence.client_id is None or silence.client_id == session.client_id)
            and (silence.sessions is None or session.number in silence.sessions)
            for silence in self.silences
        )

    @property
    def year_less_dates(self) -> bool:
        """For the history desk: whether intraday bars' dates lack the year, whatever formatDate was asked for."""
        return self.year_less > 0

    # How a silence ends

    def lift(self, silence: Silence, deliver: Callable[[Line, m.Message], None]) -> None:
        """End a silence and say what it kept; what another silence covers stays with that one."""
        if silence not in self.silences:
            return
        self.silences.remove(silence)
        for line, kept in silence.kept.items():
            for message in kept.values():
                deliver(line, message)

    def forget(self, line: Line) -> None:
        """The line is closed: nothing kept for it will be said."""
        for silence in self.silences:
            silence.kept.pop(line, None)


def _holds(several: list[frozenset[int] | None], instrument: Instrument) -> bool:
    return any(con_ids is None or instrument.con_id in con_ids for con_ids in several)
