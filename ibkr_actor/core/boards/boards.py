"""Owns who holds which stream that is of no instrument (scans, bulletins), from the command to the end of the stream.

Asks IB nothing and reads no data: `core.boards.feed` does.
"""

from __future__ import annotations

import math
from typing import Final

from msgspec import UNSET, structs

from ibkr_actor.core.boards.board import Board, BoardHolder, names_of, read, row
from ibkr_actor.core.boards.feed import BoardFeed
from ibkr_actor.core.boards.scans import SCAN_STREAMS_MAX, read_scan
from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.deadlines import Deadlines
from ibkr_actor.core.effects import (
    Answer,
    CloseStream,
    CommandRef,
    Effect,
    HolderWrite,
    Instant,
    Notify,
    Publish,
    SetState,
    WriteHolders,
)
from ibkr_actor.core.lines.book import LineBook
from ibkr_actor.core.replies import rejected
from ibkr_actor.core.subscriptions.waits import Waits
from ibkr_actor.schema.commands import Rejection, Reply
from ibkr_actor.schema.keys import SCAN, Stream
from ibkr_actor.schema.reference_commands import BoardCommand, HoldScan

_BUSY_RETRY_S: Final = 30.0


class Boards:
    """All such streams with their holders and leases. Caller: `SubscriptionsCore` and its guests."""

    def __init__(self, config: SubscriptionsConfig, book: LineBook, waits: Waits) -> None:
        self._config = config
        self._book = book
        self._waits = waits
        self.feed = BoardFeed(book, waits, config.max_asks, self._fail)
        self._leases = Deadlines[tuple[Stream, str]]()

    @property
    def _boards(self) -> dict[Stream, Board]:
        return self.feed.boards

    def next_s(self) -> float | None:
        """When a lease runs out, or something else is due."""
        times = (self._leases.next_s(), self.feed.next_s())
        return min((at_s for at_s in times if at_s is not None), default=None)

    # ---- commands

    def command(self, ref: CommandRef, command: BoardCommand, now: Instant) -> list[Effect]:
        """Accepts a holder, or refuses it, before IB is asked anything."""
        try:
            spec = read_scan(command) if isinstance(command, HoldScan) else None
            holder = self._holder(ref, command, now)
        except ValueError as error:
            return [rejected(ref, Rejection("validation_error", str(error)))]
        board = Board(spec)
        refusal = self._refusal(board.stream)
        if refusal is not None:
            return [rejected(ref, refusal)]
        board = self._boards.setdefault(board.stream, board)
        known = board.holders.get(ref.client)
        if known is not None:
            holder = structs.replace(holder, since_ns=known.since_ns)
        kept = self._hold(board, holder, now)
        name = {} if board.spec is None else {"scan": board.stream.instrument}
        reply = Reply(ref.id, ref.op, "accepted", [self._key(board)], result=name or None, note=self._note())
        effects: list[Effect] = [Answer(ref, reply, (kept,)), *self.feed.ask(board, now)]
        waiting, active = ([], [board.stream]) if board.live else ([board.stream], [])
        return effects + self._waits.add(ref, waiting, active)

    def _holder(self, ref: CommandRef, command: BoardCommand, now: Instant) -> BoardHolder:
        lease_s = self._config.lease_s if command.lease_s is UNSET else command.lease_s
        if not math.isfinite(lease_s) or lease_s < 0:
            raise ValueError("lease_s is a number of seconds, 0 for until unsubscribed")
        return BoardHolder(ref.client, min(lease_s, self._config.lease_max_s), ref.id, now.ns)

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

    def _hold(self, board: Board, holder: BoardHolder, now: Instant) -> HolderWrite:
        board.holders[holder.client] = holder
        self._start_lease(board, holder, now)
        return board.write(holder)

    def _start_lease(self, board: Board, holder: BoardHolder, now: Instant) -> None:
        if holder.lease_s > 0:
            self._leases.set((board.stream, holder.client), now.s + holder.lease_s)
        else:
            self._leases.clear((board.stream, holder.client))

    def _note(self) -> str | None:
        if self._book.conn is None:
            return "there is no connection to IB now; it is asked for as soon as there is"
        return None

    def _key(self, board: Board) -> str:
        return self._config.keys.stream(board.stream.kind, board.stream.instrument)

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
        effects: list[Effect] = []
        for board in gone:
            effects += self._leave(board, client, "no_holders", now)
        return [self._key(board) for board in gone], [board.delete(client) for board in gone], effects

    def _leave(self, board: Board, client: str, reason: str, now: Instant) -> list[Effect]:
        del board.holders[client]
        self._leases.clear((board.stream, client))
        effects = self._waits.drop(board.stream, client)
        return effects if board.holders else effects + self._end(board, reason, now)

    def _end(self, board: Board, reason: str, now: Instant) -> list[Effect]:
        del self._boards[board.stream]
        return [
            *self.feed.give_up(board, ended=False),
            Publish([board.end(reason, now.ns)]),
            SetState(board.stream, "ended", reason, now.ns),
            CloseStream(board.stream),
        ]

    def _fail(self, board: Board, rejection: Rejection, now: Instant) -> list[Effect]:
        """IB refuses it: every holder is told, and it ends."""
        effects: list[Effect] = [*self._waits.failed([board.stream], rejection)]
        told = {(effect.client, effect.reply.id) for effect in effects if isinstance(effect, Notify)}
        writes = []
        for client, holder in list(board.holders.items()):
            writes.append(board.delete(client))
            self._leases.clear((board.stream, client))
            if (client, holder.command_id) not in told:
                reply = Reply(holder.command_id, _op(board), "rejected", [self._key(board)], error=rejection)
                effects.append(Notify(client, reply))
        return [*effects, WriteHolders(tuple(writes)), *self._end(board, "failed", now)]

    def renew(self, client: str, now: Instant) -> list[str]:
        """Starts every lease of a client anew; the keys of what it holds."""
        held = [board for board in self._boards.values() if client in board.holders]
        for board in held:
            self._start_lease(board, board.holders[client], now)
        return [self._key(board) for board in held]

    def renew_all(self, now: Instant) -> None:
        """Starts every lease anew."""
        for board in self._boards.values():
            for holder in board.holders.values():
                self._start_lease(board, holder, now)

    def wake_up(self, now: Instant) -> list[Effect]:
        """Ends leases, and does what else is due."""
        effects: list[Effect] = []
        writes = []
        for stream, client in self._leases.due(now.s):
            board = self._boards[stream]
            holder = board.holders[client]
            writes.append(board.delete(client))
            effects += self._leave(board, client, "expired", now)
            reply = Reply(holder.command_id, _op(board), "expired", [self._key(board)], note="the lease has run out")
            effects.append(Notify(client, reply))
        effects += self.feed.wake_up(now)
        return [*effects, WriteHolders(tuple(writes))] if writes else effects

    # ---- restart, and what is told

    def writes(self) -> tuple[HolderWrite, ...]:
        """Everything of these streams that the `subscriptions` hash should hold."""
        return tuple(board.write(holder) for board in self._boards.values() for holder in board.holders.values())

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
        self._hold(board, holder, now)
        return self.feed.ask(board, now)

    def listed(self, client: str, now: Instant) -> list[dict[str, object]]:
        """Rows of a `list`, of all such streams or those that one client holds."""
        held = [board for board in self._boards.values() if not client or client in board.holders]
        return [row(board, self._key(board), self._leases, now) for board in held]

    def status(self) -> dict[str, object]:
        """Their part of the status."""
        scans = sum(1 for board in self._boards.values() if board.spec is not None)
        return {"scans": {"taken": scans, "of": SCAN_STREAMS_MAX}, "bulletins": len(self._boards) > scans}


def _op(board: Board) -> str:
    return "bulletins" if board.spec is None else "scan"
