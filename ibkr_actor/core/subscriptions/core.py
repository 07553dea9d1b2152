"""Owns the desired subscriptions and what becomes of them: commands in, requests out, market data through.

Resolves no contract and times no request: contracts come resolved, and requests leave through pacing.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from ibkr_actor.core.boards.boards import Boards
from ibkr_actor.core.chains.chains import Chains
from ibkr_actor.core.chains.messages import ChainFound, ChainNotFound
from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import (
    Answer,
    Effect,
    Instant,
    Publish,
    Tell,
)
from ibkr_actor.core.events import (
    ContractDetails,
    ContractDetailsEnd,
    ErrorNotice,
    MarketDataEvent,
    Rerouted,
    TickSnapshotEnd,
)
from ibkr_actor.core.guests import Guests
from ibkr_actor.core.history.events import HistoricalBars, HistoricalBarsEnd
from ibkr_actor.core.lines.book import LineBook
from ibkr_actor.core.lines.depth import DepthBooks
from ibkr_actor.core.lines.errors import LineErrors
from ibkr_actor.core.lines.known_hours import KnownHours
from ibkr_actor.core.lines.line import Item, Line
from ibkr_actor.core.lines.live_bars import LiveBars
from ibkr_actor.core.lines.publishing import DATA, PUBLISH
from ibkr_actor.core.lines.silences import Silences
from ibkr_actor.core.messages import (
    CommandsReadable,
    ContractRefreshed,
    DataLost,
    FarmChanged,
    GatewayMute,
    MarketData,
    PastDone,
    PastRows,
    Reconfigure,
    RedisForgot,
    RequestRefused,
    RequestSent,
    ResolvedCommand,
    RestoreHolders,
    SessionDown,
    SessionUp,
    Start,
    StatusQuery,
    Stop,
    UpstreamDown,
    UpstreamUp,
    WakeUp,
)
from ibkr_actor.core.past.backfills import Backfills
from ibkr_actor.core.reference.calcs import Calcs
from ibkr_actor.core.reference.events import NewsBulletin, ScanEnd, ScanRow
from ibkr_actor.core.replies import rejected
from ibkr_actor.core.subscriptions.fallbacks import Fallbacks
from ibkr_actor.core.subscriptions.fronts import Fronts
from ibkr_actor.core.subscriptions.holdings import Holdings
from ibkr_actor.core.subscriptions.keeping import Keeping
from ibkr_actor.core.subscriptions.leaving import Leaving
from ibkr_actor.core.subscriptions.listing import listed
from ibkr_actor.core.subscriptions.snapshots import Snapshots
from ibkr_actor.core.subscriptions.subscribing import Subscribing
from ibkr_actor.core.subscriptions.waits import Waits
from ibkr_actor.schema.commands import List, Rejection, Renew, Reply, Snapshot, Subscribe, Unsubscribe
from ibkr_actor.schema.records import FLAG_SNAPSHOT
from ibkr_actor.schema.reference_commands import CalcIv, CalcPrice, HoldBulletins, HoldScan
from ibkr_actor.schema.reference_commands import Chain as ChainCommand


class SubscriptionsCore:
    """Holder sets with leases on one side, lines to IB on the other."""

    def __init__(self, config: SubscriptionsConfig) -> None:
        self._config = config
        self._book = LineBook(config)
        self._depth = DepthBooks(self._book)
        self._fallbacks = Fallbacks(self._book)
        self._bars = LiveBars(self._book)
        self._snapshots = Snapshots(config, self._book.req_ids)
        self._waits = Waits(config.keys)
        self._chains = Chains(config, self._book, self._waits)
        self._boards = Boards(config, self._book, self._waits)
        calcs = Calcs(config, self._book.req_ids)
        self._guests = Guests(self._book, self._snapshots, calcs, self._chains, self._boards)
        self._backfills = Backfills(config)
        self._holdings = Holdings(config, self._book, self._waits, self._backfills)
        self._errors = LineErrors(config, self._book, self._holdings, self._waits, self._fallbacks)
        self._subscribing = Subscribing(
            config, self._book, self._holdings, self._waits, self._backfills, self._fallbacks
        )
        self._leaving = Leaving(config, self._holdings, self._chains, self._boards)
        self._keeping = Keeping(self._book, self._holdings, self._subscribing, self._chains, self._boards)
        self._silences = Silences(config, self._book, self._chains.silences)
        self._hours = KnownHours(config, self._book)
        self._fronts = Fronts(config, self._book)
        # Events of requests that are over, and of requests never made here.
        self._late = self._foreign = 0
        self._handlers: dict[type[Struct], Callable[..., list[Effect]]] = {
            MarketData: self._market_data,
            ContractDetails: self._fronts.details,
            ContractDetailsEnd: self._fronts.details_end,
            HistoricalBars: self._kept_bars,
            HistoricalBarsEnd: self._nothing,
            ScanRow: self._boards.feed.scan_row,
            ScanEnd: self._boards.feed.scan_end,
            NewsBulletin: self._boards.feed.bulletin,
            ErrorNotice: self._error,
            RequestSent: self._request_sent,
            RequestRefused: self._refused,
            ResolvedCommand: self._command,
            StatusQuery: self._status_query,
            SessionUp: self._session_up,
            SessionDown: self._session_down,
            DataLost: self._data_lost,
            UpstreamDown: self._upstream_down,
            UpstreamUp: self._upstream_up,
            FarmChanged: self._farm,
            GatewayMute: self._silences.gateway_mute,
            ContractRefreshed: self._hours.refreshed,
            Reconfigure: self._subscribing.reconfigure,
            RestoreHolders: self._keeping.restore,
            CommandsReadable: self._leaving.readable,
            RedisForgot: self._keeping.say_again,
            PastRows: self._backfills.rows,
            PastDone: self._backfills.done,
            ChainFound: self._chains.look_ups.found,
            ChainNotFound: self._chains.look_ups.not_found,
            WakeUp: self._wake_up,
            Start: self._nothing,
            Stop: self._stop,
        }

    def handle(self, message: Struct, now: Instant) -> list[Effect]:
        """Decides what a command, an event or the time changes."""
        effects = self._handlers[type(message)](message, now)
        return effects + self._fallbacks.look(now) if self._fallbacks else effects

    def next_wakeup_s(self) -> float | None:
        """When the next lease runs out or a line is looked at again."""
        times = (
            self._holdings.leases.next_s(),
            self._book.timers.next_s(),
            self._backfills.next_wakeup_s(),
            self._guests.next_s(),
            self._silences.next_s(),
            self._fallbacks.next_s(),
            self._fronts.next_s(),
            self._hours.next_s(),
            self._errors.words.next_s(),
        )
        return min((at_s for at_s in times if at_s is not None), default=None)

    # ---- market data

    def _market_data(self, message: MarketData, now: Instant) -> list[Effect]:
        """Every event of a burst becomes its records, in order and in one effect."""
        items: list[Item] = []
        effects: list[Effect] = []
        by_req, publish = self._book.by_req, PUBLISH
        for event in message.events:
            line = by_req.get(event.req_id)
            if line is None:
                effects += self._unlined(event, now)
                continue
            line.newest_ns = event.received_ns
            if line.watched:
                effects += self._watch(line, event, now)
            publish[type(event)](line, event, items)
        if self._book.books:
            effects += self._depth.after_burst(now)
        if self._book.bars:
            self._bars.after_burst(now)
        if self._backfills.open or self._backfills.heals.cuts:
            effects += self._backfills.look(now)
        effects += self._chains.after_burst(now)
        return [Publish(items), *effects] if items else effects

    def _kept_bars(self, message: HistoricalBars, now: Instant) -> list[Effect]:
        """IB's answer to a request that it keeps up to date."""
        line = self._book.by_req.get(message.req_id)
        if line is None or not message.bars:  # an answer without bars is no data; the first update is
            self._late += line is None
            return []
        line.newest_ns = message.received_ns
        effects = [] if line.live else self._alive(line, now)
        line.watched = False
        published = self._bars.answer(line, message)
        self._bars.after_burst(now)
        if self._backfills.open or self._backfills.heals.cuts:
            effects += self._backfills.look(now)
        return published + effects

    def _watch(self, line: Line, event: MarketDataEvent, now: Instant) -> list[Effect]:
        """The first data after a request or a loss, and the end of a snapshot."""
        if type(event) not in DATA:
            if isinstance(event, Rerouted):
                return self._errors.rerouted(line, event, now)
            if type(event) is TickSnapshotEnd and line.flags & FLAG_SNAPSHOT:
                return self._holdings.complete(line, now)
            return []
        effects: list[Effect] = []
        if line.candidate is not None and event.req_id == line.candidate.req_id:
            effects += self._book.promote(line)
        if not line.live:
            effects += self._alive(line, now)
        line.watched = line.candidate is not None or bool(line.flags & FLAG_SNAPSHOT)
        return effects

    def _alive(self, line: Line, now: Instant) -> list[Effect]:
        line.live = line.proven = True
        line.asks = 0
        line.doubt = None
        self._book.clear_timers(line)
        for channel in line.channels.values():
            channel.published = True
        effects = self._book.set_state(line, "live", "", now) + self._silences.heard(line, now)
        return effects + self._waits.came(line.streams)

    def _unlined(self, event: MarketDataEvent, now: Instant) -> list[Effect]:
        """An event that is no line's: of a snapshot or a chain, of a request that is over, or foreign."""
        taken = self._guests.take(event, now)
        if taken is not None:
            return taken
        if self._book.req_ids.was_ours(event.req_id):
            self._late += 1
        else:
            self._foreign += 1
        return []

    def _error(self, event: ErrorNotice, now: Instant) -> list[Effect]:
        taken = self._guests.error(event, now)
        if taken is None and self._fronts.refused(event.req_id):
            return []
        return self._errors.handle(event, now) if taken is None else taken

    def _refused(self, message: RequestRefused, now: Instant) -> list[Effect]:
        taken = self._guests.refused(message, now)
        if taken is None and self._fronts.refused(message.req_id):
            return []
        return self._errors.refused(message, now) if taken is None else taken

    # ---- the connection

    def _session_up(self, message: SessionUp, now: Instant) -> list[Effect]:
        self._book.conn = message.conn
        asked = [effect for line in self._book.by_priority() for effect in self._book.ask(line, now)]
        return asked + self._guests.session_up(now)

    def _session_down(self, message: SessionDown, now: Instant) -> list[Effect]:
        self._silences.session_over()
        self._fronts.session_over()
        return self._book.session_over(message.at_ns, now) + self._guests.session_over(message.at_ns, now)

    def _data_lost(self, message: DataLost, now: Instant) -> list[Effect]:
        return self._book.data_lost(message.at_ns, now) + self._guests.data_lost(message.at_ns, now)

    def _upstream_down(self, message: UpstreamDown, now: Instant) -> list[Effect]:
        return self._book.upstream_down(message.at_ns, now) + self._guests.upstream_down(message.at_ns, now)

    def _upstream_up(self, message: UpstreamUp, now: Instant) -> list[Effect]:
        return self._book.upstream_up(now) + self._guests.upstream_up(now)

    def _farm(self, message: FarmChanged, now: Instant) -> list[Effect]:
        silenced = self._silences.farm(message, now) if message.family == "market" else []
        return silenced + self._guests.farm(message, now)

    def _request_sent(self, message: RequestSent, now: Instant) -> list[Effect]:
        line = self._book.by_req.get(message.req_id)
        if line is not None and message.req_id == line.req_id:
            line.sent = True
        return self._guests.sent(message.req_id, now) if line is None else []

    def _stop(self, message: Stop, now: Instant) -> list[Effect]:
        """Gives the lines back but keeps the holders, which the next start restores; then pacing and session stop."""
        effects = self._backfills.stop_all(now) + self._guests.stop(now)
        for line in self._book.lines.values():
            effects += self._book.unask(line, ended=False) + self._book.set_state(line, "starved", "stopped", now)
        effects += self._silences.stop(now)
        self._book.conn = None
        return [*effects, Tell("pacing", Stop())]

    # ---- commands

    def _command(self, message: ResolvedCommand, now: Instant) -> list[Effect]:
        ref, command = message.ref, message.command
        match command:
            case Subscribe():
                assert message.contract is not None
                return self._subscribing.subscribe(ref, command, message.contract, now)
            case Unsubscribe():
                instrument = message.contract.instrument if message.contract is not None else None
                return self._leaving.unsubscribe(ref, command, instrument, now)
            case Snapshot() | ChainCommand() | HoldScan() | HoldBulletins() | CalcIv() | CalcPrice():
                return self._guests.command(ref, command, message.contract, now)
            case Renew():
                return self._leaving.renew(ref, now)
            case List():
                rows = listed(self._book.lines.values(), self._holdings, command.of_client, now)
                rows += self._chains.listed(command.of_client, now) + self._boards.listed(command.of_client, now)
                return [Answer(ref, Reply(ref.id, ref.op, "result", result={"subscriptions": rows}))]
            case _:
                text = f"{type(command).__name__} is not served here"
                return [rejected(ref, Rejection("unsupported", text))]

    # ---- time

    def _wake_up(self, message: WakeUp, now: Instant) -> list[Effect]:
        effects = self._holdings.expire(now) + self._backfills.wake_up(now) + self._guests.wake_up(now)
        for key, timer in self._book.timers.due(now.s):
            line = self._book.lines.get(key)
            if line is None:
                continue
            if timer == "prove":
                effects += self._errors.unproven(line, now)
            elif timer == "show":
                effects += self._depth.show(line)
            elif timer == "close":
                effects += self._bars.close(line, now)
            else:
                effects += self._silences.ask_again(line, now)
        effects += self._errors.words.wake_up(now)
        return effects + self._hours.look(now) + self._fronts.look(now) + self._silences.sweep(now)

    def _nothing(self, message: Struct, now: Instant) -> list[Effect]:
        return []

    # ---- what is told

    def _status_query(self, message: StatusQuery, now: Instant) -> list[Effect]:
        return [Tell("history", StatusQuery(message.ref, {**message.parts, "subscriptions": self.status()}))]

    def status(self) -> dict[str, object]:
        """This core's part of the status."""
        return {
            **self._book.status(),
            "holders": self._holdings.count + self._chains.held.count + self._boards.held.count,
            "books": {"bad_rows": self._depth.bad_rows, "restarted": self._depth.healed},
            "freshness": self._silences.counts(),
            "commands_waiting": self._waits.count,
            "snapshots": len(self._snapshots),
            "chains": self._chains.status(),
            **self._boards.status(),
            "backfills": self._backfills.status(),
            "late_events": self._late + self._errors.late,
            "foreign_events": self._foreign,
        }
