"""Owns the actions on subscriptions, requests and notices: what IB itself does to a client on a bad day.

Must not touch sockets or bytes; those are in wire_actions.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ibkr_actor.sim import messages as m
from ibkr_actor.sim.desks import feed
from ibkr_actor.sim.desks.languages import LANGUAGES
from ibkr_actor.sim.desks.lines import Kind, Line
from ibkr_actor.sim.faults.action import Action, InstrumentRef, MessageRef, Scene, kinds_of, message_ids, positive
from ibkr_actor.sim.faults.faults import Answer, Silence

_LOST = "Connectivity between IB and Trader Workstation has been lost."
_RESTORED = "Connectivity between IB and Trader Workstation has been restored"
_OTHER_SESSION = "Trading TWS session is connected from a different IP address"
_HMDS = "Historical Market Data Service error message:"
# What each farm is called, its codes when broken and when well again, and an ordinary member.
_FARMS = {
    "market_data": ("Market data farm connection is", 2103, 2104, "usfarm"),
    "history": ("HMDS data farm connection is", 2105, 2106, "ushmds"),
    "definitions": ("Sec-def data farm connection is", 2157, 2158, "secdefnj"),
}
_HISTORY = message_ids(["REQ_HISTORICAL_DATA", "REQ_HEAD_TIMESTAMP", "REQ_HISTOGRAM_DATA", "REQ_HISTORICAL_TICKS"])
_DEFINITIONS = message_ids(["REQ_CONTRACT_DATA", "REQ_SEC_DEF_OPT_PARAMS", "REQ_MATCHING_SYMBOLS"])


class SendNotice(Action, frozen=True, kw_only=True):
    """An error with id -1, such as 1100 or 2110."""

    code: int
    text: str
    client: int | None = None

    def do(self, scene: Scene) -> None:
        scene.notice(self.code, self.text, self.client)


class SendError(Action, frozen=True, kw_only=True):
    """An error on every line that fits; the lines stay open. `kind`: market_data, tick_by_tick, depth, ..."""

    code: int
    text: str
    instrument: InstrumentRef | None = None
    kind: str | None = None
    client: int | None = None

    def __post_init__(self) -> None:
        kinds_of(self.kind)

    def do(self, scene: Scene) -> None:
        for line in scene.lines(self.instrument, kinds_of(self.kind), self.client):
            scene.line_error(line, self.code, self.text)


class EndLines(Action, frozen=True, kw_only=True):
    """An error on every line that fits, which is then dead: a cancel of it gets 300. Without `code` it ends unsaid."""

    code: int | None = None
    text: str = ""
    instrument: InstrumentRef | None = None
    kind: str | None = None
    client: int | None = None

    def __post_init__(self) -> None:
        kinds_of(self.kind)

    def do(self, scene: Scene) -> None:
        for line in scene.lines(self.instrument, kinds_of(self.kind), self.client):
            _end(scene, line, self.code, self.text)


class Bust(Action, frozen=True, kw_only=True):
    """10225 on streaming lines, which IB has then deactivated: subscribe again."""

    instrument: InstrumentRef | None = None

    def do(self, scene: Scene) -> None:
        text = (
            "Bust event occurred, current subscription is deactivated. Please resubscribe real-time bars immediately."
        )
        for line in scene.lines(self.instrument):
            if line.kind in (Kind.MARKET_DATA, Kind.TICK_BY_TICK, Kind.REAL_TIME_BARS):
                _end(scene, line, 10225, text)


class DepthHalt(Action, frozen=True, kw_only=True):
    """316 on every book, which is then dead: subscribe again."""

    instrument: InstrumentRef | None = None

    def do(self, scene: Scene) -> None:
        for line in scene.lines(self.instrument, frozenset({Kind.DEPTH})):
            _end(scene, line, 316, "Market depth data has been HALTED. Please re-subscribe.")


class DepthReset(Action, frozen=True, kw_only=True):
    """317 on every book: it is to be emptied, and is inserted anew."""

    instrument: InstrumentRef | None = None

    def do(self, scene: Scene) -> None:
        text = "Market depth data has been RESET. Please empty deep book contents before applying any new entries."
        for line in scene.lines(self.instrument, frozenset({Kind.DEPTH})):
            scene.line_error(line, 317, text)
            scene.stage.open(line)


class LiveUpdatesLost(Action, frozen=True, kw_only=True):
    """10182 on all history that is kept up to date; no update follows."""

    def do(self, scene: Scene) -> None:
        for lost in scene.world.faults.live_updates_lost:
            lost()


class Zombie(Action, frozen=True, kw_only=True):
    """Lines fall silent without a word while requests, currentTime too, are answered as ever.

    `cure` is what makes data flow again before the end: a new subscription, a new connection, or nothing.
    """

    instrument: InstrumentRef | None = None
    client: int | None = None
    cure: Literal["resubscribe", "reconnect", "none"] = "resubscribe"
    for_s: float | None = msgspec.field(name="for", default=None)

    def do(self, scene: Scene) -> None:
        silence = Silence(con_ids=scene.con_ids(self.instrument), client_id=self.client)
        if self.cure == "resubscribe":
            silence.lines = frozenset(scene.lines(self.instrument, client=self.client))
        elif self.cure == "reconnect":
            silence.sessions = frozenset(each.number for each in scene.sessions(self.client))
        scene.silence(silence, self.for_s)


class CompetingSession(Action, frozen=True, kw_only=True):
    """Someone logs in elsewhere: 10197 on each market data line, old and new, and silence on all lines.

    New tick-by-tick requests get 10189, bars 420, history 162. At the end data flow on the lines still open.
    """

    instrument: InstrumentRef | None = None
    for_s: float | None = msgspec.field(name="for", default=None)

    def do(self, scene: Scene) -> None:
        con_ids = scene.con_ids(self.instrument)
        said = (10197, "No market data during competing live session")
        level_1 = frozenset({Kind.MARKET_DATA})
        for line in scene.lines(self.instrument, level_1):
            scene.line_error(line, *said)
        scene.silence(Silence(con_ids=con_ids, kinds=level_1, remembers=True, error=said), self.for_s)
        scene.silence(Silence(con_ids=con_ids, kinds=frozenset(set(Kind) - level_1)), self.for_s)
        for message, code, text in (
            ("REQ_TICK_BY_TICK_DATA", 10189, f"Failed to request tick-by-tick data:{_OTHER_SESSION}"),
            ("REQ_REAL_TIME_BARS", 420, f"Invalid Real-time Query:{_OTHER_SESSION}"),
            ("REQ_HISTORICAL_DATA", 162, f"{_HMDS}{_OTHER_SESSION}"),
        ):
            scene.answer(Answer(code, text, message_ids(message), con_ids), self.for_s)


class FarmBroken(Action, frozen=True, kw_only=True):
    """2103, 2105 or 2157, and at the end 2104, 2106 or 2158; `name` is the farm's.

    While a market data farm is broken lines are silent (only `instrument`'s, if given), and then say where they are;
    while one of history is, history gets 162; while one of definitions is, contract requests are not answered.
    """

    farm: Literal["market_data", "history", "definitions"] = "market_data"
    name: str | None = None
    instrument: InstrumentRef | None = None
    for_s: float | None = msgspec.field(name="for", default=None)

    def do(self, scene: Scene) -> None:
        what, broken, well, usual = _FARMS[self.farm]
        name = self.name or usual
        con_ids = scene.con_ids(self.instrument)
        scene.notice(broken, f"{what} broken:{name}")
        scene.last(self.for_s, lambda: scene.notice(well, f"{what} OK:{name}"))
        if self.farm == "market_data":
            scene.silence(Silence(con_ids=con_ids, remembers=True), self.for_s)
        elif self.farm == "history":
            text = f"{_HMDS}HMDS server disconnect occurred.  Attempting reconnection..."
            scene.answer(Answer(162, text, _HISTORY, con_ids), self.for_s)
        else:
            scene.answer(Answer(None, "", _DEFINITIONS, con_ids), self.for_s)


class ConnectionLost(Action, frozen=True, kw_only=True):
    """1100 and silence; at the end 1102 and data again, or with `data = "lost"` 1101 and every line is dead."""

    data: Literal["kept", "lost"] = "kept"
    for_s: float | None = msgspec.field(name="for", default=None)

    def do(self, scene: Scene) -> None:
        scene.notice(1100, _LOST)

        def restored() -> None:
            if self.data == "kept":
                farms = "All data farms are connected: usfarm; ushmds; secdefnj."
                scene.notice(1102, f"{_RESTORED} - data maintained. {farms}")
                return
            for line in scene.lines():
                _end(scene, line, None, "")
            for forget in scene.world.on_forgotten:
                forget()
            scene.notice(1101, f"{_RESTORED} - data lost.")

        scene.last(self.for_s, restored)
        scene.silence(Silence(remembers=True), self.for_s)


class Refuse(Action, frozen=True, kw_only=True):
    """The next `count` requests that fit are answered with this error; without `count` all, for a while.

    `message` is a request's name or id, or a list of them: `REQ_HISTORICAL_DATA`.
    """

    code: int
    text: str
    message: MessageRef | list[MessageRef] | None = None
    instrument: InstrumentRef | None = None
    client: int | None = None
    count: int | None = None
    for_s: float | None = msgspec.field(name="for", default=None)

    def __post_init__(self) -> None:
        message_ids(self.message)
        positive(self.count)

    def do(self, scene: Scene) -> None:
        con_ids = scene.con_ids(self.instrument)
        ids = message_ids(self.message)
        scene.answer(Answer(self.code, self.text, ids, con_ids, self.client, self.count), self.for_s)


class Ignore(Action, frozen=True, kw_only=True):
    """The next `count` requests that fit are never answered; without `count` all, for a while."""

    message: MessageRef | list[MessageRef] | None = None
    instrument: InstrumentRef | None = None
    client: int | None = None
    count: int | None = None
    for_s: float | None = msgspec.field(name="for", default=None)

    def __post_init__(self) -> None:
        message_ids(self.message)
        positive(self.count)

    def do(self, scene: Scene) -> None:
        con_ids = scene.con_ids(self.instrument)
        scene.answer(Answer(None, "", message_ids(self.message), con_ids, self.client, self.count), self.for_s)


class Emit(Action, frozen=True, kw_only=True):
    """A tick on every market data line of the instrument: `price` (and `size`), or `size` alone, or `value`."""

    instrument: InstrumentRef
    tick_type: int
    price: float | None = None
    size: float | str | None = None
    value: float | str | None = None

    def __post_init__(self) -> None:
        if (self.value is not None) == (self.price is not None or self.size is not None):
            raise ValueError("give price, size or both, or else value")

    def do(self, scene: Scene) -> None:
        message = self._message()
        for line in scene.lines(self.instrument):
            if feed.wants(line, message):
                scene.world.deliver(line, message)

    def _message(self) -> m.Message:
        if self.price is not None:
            return m.TickPrice(tick_type=self.tick_type, price=self.price, size=self.size)
        if isinstance(self.value, str):
            return m.TickString(tick_type=self.tick_type, value=self.value)
        if self.value is not None:
            return m.TickGeneric(tick_type=self.tick_type, value=self.value)
        return m.TickSize(tick_type=self.tick_type, size=self.size)


class Localize(Action, frozen=True, kw_only=True):
    """Errors and notices come in another language: `de` or `zh`; `en` is IB's own."""

    language: str
    for_s: float | None = msgspec.field(name="for", default=None)

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES:
            raise ValueError(f"no language {self.language!r}; there are {', '.join(LANGUAGES)}")

    def do(self, scene: Scene) -> None:
        before = scene.world.faults.language
        scene.world.faults.language = self.language
        scene.last(self.for_s, lambda: setattr(scene.world.faults, "language", before))


class EmptySizes(Action, frozen=True, kw_only=True):
    """Prices come without their sizes, as those of indices do."""

    instrument: InstrumentRef | None = None
    for_s: float | None = msgspec.field(name="for", default=None)

    def do(self, scene: Scene) -> None:
        _list_for_a_while(scene, scene.world.faults.empty_sizes, scene.con_ids(self.instrument), self.for_s)


class QuestionMarkPrices(Action, frozen=True, kw_only=True):
    """Historical bars come with `?` in place of prices, as some of the LME do; seen below server version 208."""

    instrument: InstrumentRef | None = None
    for_s: float | None = msgspec.field(name="for", default=None)

    def do(self, scene: Scene) -> None:
        _list_for_a_while(scene, scene.world.faults.question_marks, scene.con_ids(self.instrument), self.for_s)


class YearLessDates(Action, frozen=True, kw_only=True):
    """Historical bars of a day or less come with month, day and time only."""

    for_s: float | None = msgspec.field(name="for", default=None)

    def do(self, scene: Scene) -> None:
        faults = scene.world.faults
        faults.year_less += 1

        def undo() -> None:
            faults.year_less -= 1

        scene.last(self.for_s, undo)


def _end(scene: Scene, line: Line, code: int | None, text: str) -> None:
    """An error if there is one, and no more of the line."""
    if code is not None:
        scene.line_error(line, code, text)
    scene.world.lines.remove(line)


def _list_for_a_while(
    scene: Scene, several: list[frozenset[int] | None], con_ids: frozenset[int] | None, for_s: float | None
) -> None:
    several.append(con_ids)
    scene.last(for_s, lambda: several.remove(con_ids))
