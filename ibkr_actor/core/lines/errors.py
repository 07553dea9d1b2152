"""Owns what an IB code does to the line it names: nothing, a doubt, a silence, a new request, or its end.

Which code does what stands in `core.codes.table`; no code is named here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ibkr_actor.core.codes.ib_words import IbWords
from ibkr_actor.core.codes.meaning import ROWS, CodeRow, lookup
from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import Announce, Effect, HolderWrite, Instant, Publish, Tell, WriteHolders
from ibkr_actor.core.events import ErrorNotice, Rerouted
from ibkr_actor.core.history.errors import OTHER_SHOW_EXPECTED, READ_HERE, judge, of_other_login
from ibkr_actor.core.holders import holder_delete
from ibkr_actor.core.kinds import LineType
from ibkr_actor.core.lines.book import LineBook
from ibkr_actor.core.lines.line import Line
from ibkr_actor.core.lines.publishing import emptied_book
from ibkr_actor.core.messages import ForgetContract, PacingViolated, RateExceeded, RequestRefused
from ibkr_actor.core.replies import rejection_of
from ibkr_actor.core.subscriptions.fallbacks import Fallbacks
from ibkr_actor.core.subscriptions.holdings import Holdings
from ibkr_actor.core.subscriptions.waits import Waits
from ibkr_actor.schema.commands import Rejection
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.records import System

_AGAIN_DEFAULT_S: Final = 5.0
# IB had no bars at all for so long a time before now: that may take until the market opens.
_NO_BARS_AGAIN_S: Final = 60.0
# Codes of bars that say more than their row does.
_READ_HERE: Final[dict[LineType, frozenset[int]]] = {"kept": READ_HERE, "bars": frozenset({OTHER_SHOW_EXPECTED})}
# Another login takes all data, but IB says so of level 1 only, and of others when they are asked for anew.
_SILENCED: Final = frozenset({"tick_by_tick", "bars", "kept"})


class LineErrors:
    """IB's answers that are not data, by the effect of their row."""

    def __init__(
        self, config: SubscriptionsConfig, book: LineBook, holdings: Holdings, waits: Waits, fallbacks: Fallbacks
    ) -> None:
        self._config = config
        self._fallbacks = fallbacks
        self._book = book
        self._holdings = holdings
        self._waits = waits
        self.late = 0
        self.words = IbWords()
        self._doings: dict[str, Callable[[Line, CodeRow, ErrorNotice, Instant], list[Effect]]] = {
            "empty": self._empty,
            "prove": self._prove,
            "starve": self._starve,
            "resubscribe": self._resubscribe,
            "new_id": self._new_id,
            "slow_down": self._slow_down,
            "retry": self._retry,
            # The connection's own trouble told for one request: it is asked again, at the latest on the next one.
            "reconnect": self._retry,
            "fail": self._fail,
        }

    def handle(self, event: ErrorNotice, now: Instant) -> list[Effect]:
        """Does what the code's row says. Codes for requests that are over are counted."""
        line = self._book.by_req.get(event.req_id)
        if line is None:
            self.late += 1
            return []
        row = lookup(event.code, event.req_id)
        if event.code in _READ_HERE.get(line.row.line_type, ()):
            return self._bars(line, row, event, now)
        if row.effect == "note":
            return []
        effects: list[Effect] = [*self.words.say(line.streams[0].name, line.key[0], row, event, now)]
        if line.candidate is not None and event.req_id == line.candidate.req_id:
            return effects + self._candidate(line, row, event, now)
        # Level 1 has notices of its own, and new ones come: after an unknown code it is kept if data come all the same.
        is_known = event.code in ROWS or line.row.line_type != "level1"
        doing = self._doings.get(row.effect if is_known else "prove")
        return effects + doing(line, row, event, now) if doing is not None else effects

    def refused(self, message: RequestRefused, now: Instant) -> list[Effect]:
        """Pacing had no room for the request."""
        line = self._book.by_req.get(message.req_id)
        if line is None:
            return []
        rejection = Rejection("busy", message.reason, None, True, message.retry_after_s)
        if line.candidate is not None and message.req_id == line.candidate.req_id:
            return self._revert(line, rejection, now)
        return self._give_up(line, rejection, "busy", now)

    def unproven(self, line: Line, now: Instant) -> list[Effect]:
        """No data came in time after a warning. The request is open at IB still, so it is cancelled."""
        doubt = line.doubt or Rejection("internal", "no data came in time")
        return self._book.unask(line, ended=False) + self._holdings.fail(line, doubt, now)

    def rerouted(self, line: Line, event: Rerouted, now: Instant) -> list[Effect]:
        """A CFD has no data of its own: IB names the contract to ask for, and this request is over."""
        if line.route is not None or event.req_id != line.req_id:
            text = "IB names another contract for this one's data, and that another again"
            return self._holdings.fail(line, Rejection("unsupported", text), now)
        route = Contract(event.con_id, "", "", event.exchange, "")
        text = f"{line.key[0]}: IB serves its data from contract {event.con_id} at {event.exchange}."
        said = System(0, 0, now.ns, "subscription", "rerouted", line.streams[0].name, text, None, self._book.conn)
        effects = [Announce(said), *self._book.unask(line, ended=True)]
        return effects + self._book.ask(line, now, route)

    # ---- by effect

    def _empty(self, line: Line, row: CodeRow, event: ErrorNotice, now: Instant) -> list[Effect]:
        items = emptied_book(line, event.received_ns)
        return [Publish(items)] if items else []

    def _prove(self, line: Line, row: CodeRow, event: ErrorNotice, now: Instant) -> list[Effect]:
        if not line.live:
            line.doubt = rejection_of(row, event)
            self._book.set_timer(line, "prove", now.s + self._config.prove_s)
        return []

    def _starve(self, line: Line, row: CodeRow, event: ErrorNotice, now: Instant) -> list[Effect]:
        line.lose("competing_session", event.received_ns)
        for other in self._book.lines.values():
            if other is not line and other.live and other.row.line_type in _SILENCED:
                # What was in flight may still come, and is no habit; what follows it is missing.
                other.silenced("competing_session", other.newest_ns)
        return self._book.starve(line, row.rejection or "silent", now, again_s=self._config.probe_s)

    def _resubscribe(self, line: Line, row: CodeRow, event: ErrorNotice, now: Instant) -> list[Effect]:
        line.lose("bust", event.received_ns)
        return self._book.ask_again(line, now, ended=True)

    def _new_id(self, line: Line, row: CodeRow, event: ErrorNotice, now: Instant) -> list[Effect]:
        if line.asks >= self._config.max_asks:
            return self._fail(line, row, event, now)
        line.lose("restart", event.received_ns)
        return self._book.ask_again(line, now, ended=True)

    def _slow_down(self, line: Line, row: CodeRow, event: ErrorNotice, now: Instant) -> list[Effect]:
        return [Tell("pacing", RateExceeded(event.code)), *self._new_id(line, row, event, now)]

    def _retry(self, line: Line, row: CodeRow, event: ErrorNotice, now: Instant) -> list[Effect]:
        line.lose("disconnect", event.received_ns)
        effects = self._book.unask(line, ended=True)
        again_s = row.retry_after_s or _AGAIN_DEFAULT_S
        return effects + self._book.starve(line, row.rejection or "retry", now, again_s=again_s)

    def _bars(self, line: Line, row: CodeRow, event: ErrorNotice, now: Instant) -> list[Effect]:
        """Bars, above all those kept up to date: IB says many things with one code, and has lost queries before."""
        judged = judge(event)
        if judged.verdict == "ignore":
            return []
        effects: list[Effect] = [*self.words.say(line.streams[0].name, line.key[0], row, event, now)]
        match judged.verdict:
            case "again":
                return effects + self._new_id(line, row, event, now)
            case "show" if line.what_to_show != judged.what_to_show:
                line.what_to_show = judged.what_to_show
                return effects + self._new_id(line, row, event, now)
            case "pacing":
                effects.append(Tell("pacing", PacingViolated(event.req_id)))
                reason, again_s = "pacing_violation", _AGAIN_DEFAULT_S
            case "no_data" | "unclear" | "farm" | "later":
                reason, again_s = judged.verdict, _NO_BARS_AGAIN_S
            case _:
                line.lose(_cause_of(judged.rejection), event.received_ns)
                return effects + self._give_up(line, judged.rejection, judged.rejection.code, now)
        line.lose("disconnect", event.received_ns)
        effects += self._book.unask(line, ended=True)
        return effects + self._book.starve(line, reason, now, again_s=again_s)

    def _fail(self, line: Line, row: CodeRow, event: ErrorNotice, now: Instant) -> list[Effect]:
        taken = of_other_login(event, row)
        rejection = taken or rejection_of(row, event)
        effects: list[Effect] = []
        if row.kind == "invalid_contract":
            effects.append(Tell("contracts", ForgetContract(line.con_id, line.contract.exchange)))
        line.lose(_cause_of(rejection), event.received_ns)
        return effects + self._give_up(line, rejection, rejection.code, now)

    def _give_up(self, line: Line, rejection: Rejection, reason: str, now: Instant) -> list[Effect]:
        """Ends the line; one that was up before and may come back is kept and asked for again."""
        channel = line.main
        if channel is not None and self._fallbacks.takes_over(line):
            effects = self._fallbacks.take_over(line, rejection, now)
            return effects + (self._waits.came([channel.stream]) if channel.line.live else [])
        if not (line.proven and rejection.retryable):
            return self._holdings.fail(line, rejection, now)
        effects = self._book.unask(line, ended=True)
        again_s = rejection.retry_after_s or _AGAIN_DEFAULT_S
        return effects + self._book.starve(line, reason, now, again_s=again_s)

    # ---- a second request with more generic ticks

    def _candidate(self, line: Line, row: CodeRow, event: ErrorNotice, now: Instant) -> list[Effect]:
        if not (row.ends_request or row.effect == "slow_down"):
            return []
        return self._revert(line, rejection_of(row, event), now)

    def _revert(self, line: Line, rejection: Rejection, now: Instant) -> list[Effect]:
        """Who asked for the additional ticks is refused; the others keep what they had."""
        candidate = line.candidate
        assert candidate is not None
        effects = self._book.drop_candidate(line, ended=True)
        writes: list[HolderWrite] = []
        for client, ticks in candidate.before.items():
            effects += self._holdings.tell(line, rejection, client=client)
            if ticks is not None:
                writes += self._holdings.change_ticks(line, client, ticks)
                continue
            for channel in [channel for channel in line.channels.values() if client in channel.holders]:
                writes.append(holder_delete(channel.stream, client))
                effects += self._holdings.leave(channel, client, "failed", now)
        if writes:
            effects.append(WriteHolders(tuple(writes)))
        if line.channels and line.req_id is None:
            effects += self._book.ask(line, now)
        return effects


def _cause_of(rejection: Rejection) -> str:
    return "competing_session" if rejection.code == "competing_session" else "disconnect"
