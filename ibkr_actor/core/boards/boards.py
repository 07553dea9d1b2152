"""Owns which streams of no instrument (scans, bulletins) there are, from the command to the end of the stream.

Asks IB nothing and reads no data: `core.boards.feed` does.
"""

from __future__ import annotations

from typing import Final

from ibkr_actor.core.boards.board import Board, names_of, read, row
from ibkr_actor.core.boards.feed import BoardFeed
from ibkr_actor.core.boards.scans import SCAN_STREAMS_MAX, read_scan
from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import (
    Answer,
    CloseStream,
    CommandRef,
    Effect,
    HolderWrite,
    Instant,
    Publish,
    SetState,
)
from ibkr_actor.core.held import HeldStreams, StreamHolder
from ibkr_actor.core.lines.book import LineBook
from ibkr_actor.core.replies import rejected
from ibkr_actor.core.subscriptions.waits import Waits
from ibkr_actor.schema.commands import Rejection, Reply
from ibkr_actor.schema.keys import SCAN, Stream
from ibkr_actor.schema.reference_commands import BoardCommand, HoldScan

_BUSY_RETRY_S: Final = 30.0


class Boards:
    """All such streams. Caller: `SubscriptionsCore` and its guests."""

    def __init__(self, config: SubscriptionsConfig, book: LineBook, waits: Waits) -> None:
        self._config = config
        self._book = book
        self._waits = waits
        self._boards: dict[Stream, Board] = {}
        self.held = HeldStreams(config, waits, self._boards, write=Board.write, end=self._end)
        self.feed = BoardFeed(book, self._boards, waits, config.max_asks, self.held.fail)

    def next_s(self) -> float | None:
        """When a lease runs out, or something else is due."""
        times = (self.held.next_s(), self.feed.next_s())
        return min((at_s for at_s in times if at_s is not None), default=None)

    # ---- commands

    def command(self, ref: CommandRef, command: BoardCommand, now: Instant) -> list[Effect]:
        """Accepts a holder, or refuses it, before IB is asked anything."""
        try:
            spec = read_scan(command) if isinstance(command, HoldScan) else None
            lease_s = self.held.lease_s(command.lease_s)
        except ValueError as error:
            return [rejected(ref, Rejection("validation_error", str(error)))]
        board = Board(spec)
        refusal = self._refusal(board.stream)
        if refusal is not None:
            return [rejected(ref, refusal)]
        board = self._boards.setdefault(board.stream, board)
        kept = self.held.hold(board, StreamHolder(ref.client, lease_s, ref.id, now.ns), now)
        name = {} if board.spec is None else {"scan": board.stream.instrument}
        reply = Reply(ref.id, ref.op, "accepted", [self.held.key(board)], result=name or None, note=self._note())
        effects: list[Effect] = [Answer(ref, reply, (kept,)), *self.feed.ask(board, now)]
        waiting, active = ([], [board.stream]) if board.live else ([board.stream], [])
        return effects + self._waits.add(ref, waiting, active)

    def _refusal(self, stream: Stream) -> Rejection | None:
        if stream in self._boards:
            return None
        scans = [board for board in self._boards.values() if board.spec is not None]
        if stream.kind == SCAN and len(scans) >= SCAN_STREAMS_MAX:
            text = f"{len(scans)} scans are streamed ({names_of(scans)}), and IB has {SCAN_STREAMS_MAX + 1} at a time"
            return Rejection("line_limit", f"{text}, one of which `scanner` needs", None, True, _BUSY_RETRY_S)
        if self._waits.count >= self._config.waiting_max:
            text = f"{self._config.waiting_max} commands are waiting for their first data"
            return Rejection("busy", text, None, True, _BUSY_RETRY_S)
        return None

    def _note(self) -> str | None:
        if self._book.conn is None:
            return "there is no connection to IB now; it is asked for as soon as there is"
        return None

    # ---- leaving and time

    def unsubscribe(
        self, client: str, kinds: frozenset[str], name: str, now: Instant
    ) -> tuple[list[str], list[HolderWrite], list[Effect]]:
        """Ends the client's holding of streams of these kinds, or of the scan named: keys, writes, what follows."""
        gone = [
            board
            for board in self._boards.values()
            if client in board.holders and (board.stream.kind in kinds or (name and board.stream == Stream(SCAN, name)))
        ]
        return self.held.leave(gone, client, now)

    def _end(self, board: Board, reason: str, now: Instant) -> list[Effect]:
        del self._boards[board.stream]
        return [
            *self.feed.give_up(board, ended=False),
            Publish([board.end(reason, now.ns)]),
            SetState(board.stream, "ended", reason, now.ns),
            CloseStream(board.stream),
        ]

    def wake_up(self, now: Instant) -> list[Effect]:
        """Ends leases, and does what else is due."""
        return self.held.expire(now) + self.feed.wake_up(now)

    # ---- restart, and what is told

    def states(self) -> list[Effect]:
        """All states, said anew."""
        boards = [board for board in self._boards.values() if board.state]
        return [SetState(board.stream, board.state, board.reason, board.since_ns) for board in boards]

    def restore(self, kept: HolderWrite, now: Instant) -> list[Effect]:
        """Takes up what was held before the process started, with a full lease.

        Raises:
            ValueError, msgspec.MsgspecError: the field is not of such a stream.
        """
        spec, holder = read(kept)
        board = Board(spec)
        board = self._boards.setdefault(board.stream, board)
        board.proven = True
        self.held.hold(board, holder, now)
        return self.feed.ask(board, now)

    def listed(self, client: str, now: Instant) -> list[dict[str, object]]:
        """Rows of a `list`, of all such streams or those that one client holds."""
        return [row(board, self.held.key(board), self.held.rows(board, now)) for board in self.held.of(client)]

    def status(self) -> dict[str, object]:
        """Their part of the status."""
        scans = sum(1 for board in self._boards.values() if board.spec is not None)
        return {"scans": {"taken": scans, "of": SCAN_STREAMS_MAX}, "bulletins": len(self._boards) > scans}
