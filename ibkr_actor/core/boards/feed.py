"""Owns what IB is asked for the streams that are of no instrument, and what becomes of it.

Knows no command and no lease; who holds what is `core.boards.boards`'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ibkr_actor.core.boards.board import Board
from ibkr_actor.core.boards.scans import NOTHING_FOUND, SETTLE_S, ranking, refusal_of
from ibkr_actor.core.codes.meaning import lookup
from ibkr_actor.core.deadlines import Deadlines
from ibkr_actor.core.effects import Effect, Instant, Publish, Tell
from ibkr_actor.core.events import ErrorNotice
from ibkr_actor.core.lines.book import LineBook
from ibkr_actor.core.messages import Enqueue, FarmChanged, RateExceeded, RequestEnded, RequestRefused, Withdraw
from ibkr_actor.core.reference.events import NewsBulletin, ScanEnd, ScanRow
from ibkr_actor.core.session.farm_watch import FarmWatch
from ibkr_actor.core.subscriptions.waits import Waits
from ibkr_actor.schema.commands import Rejection
from ibkr_actor.schema.keys import ALL_BULLETINS, BULLETIN, Stream

_AGAIN_DEFAULT_S: Final = 5.0
# A scan that is silent for so long is asked for anew, and ever more rarely as long as only that brings a ranking: IB
# ranks about every 30 s, and need not while markets are closed. Source: IBKR, TWS API, "Market Scanner".
_SILENT_S: Final = 180.0
_SILENCES_MAX: Final = 4
# More rows than IB sends in one ranking.
_ROWS_MAX: Final = 1_000

Fail = Callable[[Board, Rejection, Instant], list[Effect]]


class BoardFeed:
    """The requests of all boards. Caller: `Boards`, and the guests for IB's words. `fail` ends one that IB refuses."""

    def __init__(self, book: LineBook, boards: dict[Stream, Board], waits: Waits, asks_max: int, fail: Fail) -> None:
        self._book = book
        self._waits = waits
        self._asks_max = asks_max
        self._fail = fail
        self._boards = boards
        # req_id -> board; set when asked, cleared when withdrawn, ended or the session is over.
        self._by_req: dict[int, Board] = {}
        # When to ask anew, and when a ranking that found nothing is taken for complete.
        self._again = Deadlines[Stream]()
        self._settling = Deadlines[Stream]()
        self._farms = FarmWatch()
        # Whether TWS is without IB: what is asked then may be answered by nobody, ever.
        self._upstream_lost = False

    def next_s(self) -> float | None:
        """When something is to be asked or told."""
        times = (self._again.next_s(), self._settling.next_s())
        return min((at_s for at_s in times if at_s is not None), default=None)

    # ---- asking

    def ask(self, board: Board, now: Instant) -> list[Effect]:
        """Asks for it, unless that is done; what is to be asked again at a set time keeps that time."""
        return [] if board.req_id is not None or board.stream in self._again else self._ask(board, now)

    def _ask(self, board: Board, now: Instant) -> list[Effect]:
        if self._book.conn is None:
            return board.set_state("starved", "disconnect", now)
        if self._upstream_lost:
            return board.set_state("starved", "upstream", now)
        if board.spec is not None and self._farms.none_there:
            return board.set_state("starved", "farm", now)
        board.req_id = self._book.req_ids.next()
        board.asks += 1
        board.sent, board.rows, board.rankings = False, [], 0
        self._by_req[board.req_id] = board
        # What was up before is asked again in the name of nobody; a new wish in its client's turn.
        client = "" if board.proven else next(iter(board.holders), "")
        effects = [] if board.live else board.set_state("pending", "", now)
        return [*effects, Tell("pacing", Enqueue(board.request(board.req_id), client=client, conn=self._book.conn))]

    def give_up(self, board: Board, *, ended: bool) -> list[Effect]:
        """The request is no more: taken back, or, when IB `ended` it, only forgotten."""
        self._again.clear(board.stream)
        self._settling.clear(board.stream)
        req_id, board.req_id = board.req_id, None
        if req_id is None:
            return []
        self._by_req.pop(req_id, None)
        return [Tell("pacing", RequestEnded(req_id) if ended else Withdraw(req_id))]

    def _ask_anew(self, board: Board, now: Instant) -> list[Effect]:
        """Asks once more while IB may still serve the request.

        A cancel of bulletins names no request, and IB takes a second request of them for the first.
        """
        return self.give_up(board, ended=board.spec is None) + self._ask(board, now)

    def sent(self, req_id: int, now: Instant) -> list[Effect]:
        """Pacing let a request go. IB need not say anything to one for bulletins: nothing is missing any more."""
        board = self._by_req.get(req_id)
        if board is None:
            return []
        board.sent = True
        return self._alive(board, now) if board.spec is None else []

    def _alive(self, board: Board, now: Instant) -> list[Effect]:
        board.asks = 0
        if board.live:
            return []
        board.live = board.proven = True
        return board.set_state("live", "", now) + self._waits.came([board.stream])

    # ---- data

    def owns(self, req_id: int) -> bool:
        """Whether the request is one of a scan or for bulletins."""
        return req_id in self._by_req

    def scan_row(self, event: ScanRow, now: Instant) -> list[Effect]:
        """A row of a ranking."""
        board = self._by_req.get(event.req_id)
        if board is not None and len(board.rows) < _ROWS_MAX:
            board.rows.append(event)
        return []

    def scan_end(self, event: ScanEnd, now: Instant) -> list[Effect]:
        """A ranking is complete."""
        board = self._by_req.get(event.req_id)
        return [] if board is None else self._ranked(board, event.received_ns, now)

    def _ranked(self, board: Board, received_ns: int, now: Instant) -> list[Effect]:
        record, board.rows = ranking(board.rows, received_ns), []
        board.rankings += 1
        if board.rankings > 1:
            board.silences = 0
        self._settling.clear(board.stream)
        self._again.set(board.stream, now.s + _SILENT_S * 2**board.silences)
        return [Publish(board.items(record)), *self._alive(board, now)]

    def bulletin(self, event: NewsBulletin, now: Instant) -> list[Effect]:
        """A bulletin, if anybody wants it and it was not told before."""
        board = self._boards.get(Stream(BULLETIN, ALL_BULLETINS))
        items = [] if board is None or board.req_id is None else board.bulletin(event)
        return [Publish(items)] if items else []

    # ---- refusals

    def error(self, event: ErrorNotice, now: Instant) -> list[Effect]:
        """What IB says of a request."""
        board = self._by_req[event.req_id]
        row = lookup(event.code, event.req_id)
        if event.code == NOTHING_FOUND:
            self._settling.set(board.stream, now.s + SETTLE_S)
            return []
        effects: list[Effect] = [Tell("pacing", RateExceeded(event.code))] if row.effect == "slow_down" else []
        if not (row.ends_request or row.effect in ("slow_down", "reconnect")):
            return effects
        effects += self.give_up(board, ended=True)
        board.lose("disconnect", event.received_ns)
        if row.effect in ("new_id", "slow_down", "resubscribe") and board.asks < self._asks_max:
            return effects + self._ask(board, now)
        rejection = refusal_of(row, event, proven=board.proven)
        if row.effect in ("retry", "reconnect"):
            return effects + self._starve(board, rejection, now)
        return effects + self._refused(board, rejection, now)

    def refused(self, message: RequestRefused, now: Instant) -> list[Effect]:
        """Pacing had no room for a request."""
        board = self._by_req[message.req_id]
        effects = self.give_up(board, ended=True)
        rejection = Rejection("busy", message.reason, None, True, message.retry_after_s)
        return effects + self._refused(board, rejection, now)

    def _refused(self, board: Board, rejection: Rejection, now: Instant) -> list[Effect]:
        """Ends it; what was up before and may come back is kept and asked for again."""
        if board.proven and rejection.retryable:
            return self._starve(board, rejection, now)
        return self._fail(board, rejection, now)

    def _starve(self, board: Board, rejection: Rejection, now: Instant) -> list[Effect]:
        self._again.set(board.stream, now.s + (rejection.retry_after_s or _AGAIN_DEFAULT_S))
        return board.set_state("starved", rejection.code, now)

    # ---- time

    def wake_up(self, now: Instant) -> list[Effect]:
        """Asks again, and takes rankings of nothing for complete."""
        effects: list[Effect] = []
        for stream in self._settling.due(now.s):
            effects += self._ranked(self._boards[stream], now.ns, now)
        for stream in self._again.due(now.s):
            board = self._boards[stream]
            if board.live:
                board.silences = min(_SILENCES_MAX, board.silences + 1)
            effects += self._ask_anew(board, now)
        return effects

    # ---- the connection

    def session_up(self, now: Instant) -> list[Effect]:
        """Everything is asked for."""
        return [effect for board in self._boards.values() for effect in self.ask(board, now)]

    def session_over(self, at_ns: int, now: Instant) -> list[Effect]:
        """The connection is gone and every request with it."""
        self._farms.clear()
        self._upstream_lost = False
        effects: list[Effect] = []
        for board in self._boards.values():
            effects += self._lost(board, at_ns, ended=True) + board.set_state("starved", "disconnect", now)
        return effects

    def data_lost(self, at_ns: int, now: Instant) -> list[Effect]:
        """IB forgot what was asked: it is asked again."""
        self._upstream_lost = False
        effects: list[Effect] = []
        for board in self._boards.values():
            # Whether a request was sent may not be known yet: only what surely was needs no cancel.
            effects += self._lost(board, at_ns, ended=board.sent) + self._ask(board, now)
        return effects

    def _lost(self, board: Board, at_ns: int, *, ended: bool) -> list[Effect]:
        effects = self.give_up(board, ended=ended)
        board.lose("disconnect", at_ns)
        board.asks = 0
        return effects

    def upstream_down(self, at_ns: int, now: Instant) -> list[Effect]:
        """TWS lost IB: nothing comes, and nothing is asked."""
        self._upstream_lost = True
        effects: list[Effect] = []
        for board in self._boards.values():
            self._again.clear(board.stream)
            self._settling.clear(board.stream)
            if board.live:
                board.lose("disconnect", at_ns)
            effects += board.set_state("starved", "upstream", now)
        return effects

    def upstream_up(self, now: Instant) -> list[Effect]:
        """IB is back. It is asked anew: rankings come late else, and bulletins of meanwhile not at all."""
        self._upstream_lost = False
        return self._again_after("upstream", now)

    def farm(self, message: FarmChanged, now: Instant) -> list[Effect]:
        """A farm of history, which serves scans, went or is back."""
        came_back = self._farms.note(message)
        if came_back:
            return self._again_after("farm", now)
        if not self._farms.none_there:
            return []
        effects: list[Effect] = []
        for board in self._boards.values():
            if board.spec is not None and board.live:
                board.lose("farm", message.at_ns)
                effects += board.set_state("starved", "farm", now)
        return effects

    def _again_after(self, reason: str, now: Instant) -> list[Effect]:
        back = [board for board in self._boards.values() if (board.state, board.reason) == ("starved", reason)]
        return [effect for board in back for effect in self._ask_anew(board, now)]

    def stop(self, now: Instant) -> list[Effect]:
        """Takes the requests back but keeps the holders, which the next start restores."""
        effects: list[Effect] = []
        for board in self._boards.values():
            effects += self.give_up(board, ended=False) + board.set_state("starved", "stopped", now)
        return effects
