"""Owns one-off questions to IB: who waits for which answer, what of it IB is asked, and when to give up.

Knows no kind of question: who asks brings the request, and makes something of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final, Protocol

from msgspec import Struct, field

from ibkr_actor.core.codes.meaning import CodeRow, lookup
from ibkr_actor.core.deadlines import Deadlines
from ibkr_actor.core.effects import Answer, CommandRef, Effect, Instant, Tell
from ibkr_actor.core.events import ErrorNotice
from ibkr_actor.core.messages import Enqueue, FarmChanged, RateExceeded, RequestEnded, RequestRefused, Withdraw
from ibkr_actor.core.replies import expired, rejected, rejection_of
from ibkr_actor.core.req_ids import ReqIds
from ibkr_actor.core.requests import AnyRequest
from ibkr_actor.core.session.farm_watch import FarmWatch
from ibkr_actor.schema.commands import Rejection, Reply

# Makes the request for a req_id.
Make = Callable[[int], AnyRequest]


class Asker(Protocol):
    """Who waits for an answer."""

    def answered(self, result: Any) -> list[Effect]: ...

    def refused(self, rejection: Rejection) -> list[Effect]: ...

    def expired(self) -> list[Effect]: ...


class CommandAsker(Struct, frozen=True):
    """A command, whose result is the answer."""

    ref: CommandRef

    def answered(self, result: Any) -> list[Effect]:
        """Settles the command with the answer."""
        return [Answer(self.ref, Reply(self.ref.id, self.ref.op, "result", result=result))]

    def refused(self, rejection: Rejection) -> list[Effect]:
        """Settles it as refused."""
        return [rejected(self.ref, rejection)]

    def expired(self) -> list[Effect]:
        """Settles it as too late."""
        return [expired(self.ref)]


class Traits(Struct, frozen=True):
    """How IB takes a question: whether a farm answers it, and whether answer and refusal bear no req_id.

    `refusal` is what IB's refusal of it means.
    """

    needs_farm: bool = False
    anonymous: bool = False
    refusal: Callable[[CodeRow, ErrorNotice], Rejection] = rejection_of


_PLAIN: Final = Traits()


class Question(Struct):
    """One question, with the numbers of those who wait. `parts` are what came of an answer in several messages."""

    key: Hashable
    make: Make
    client: str
    traits: Traits = _PLAIN
    timeout_s: float = 0.0
    req_id: int | None = None
    # Whether the request left.
    sent: bool = False
    asks: int = 0
    parts: list[Any] = field(default_factory=list)
    waiters: dict[int, tuple[Asker, bool]] = field(default_factory=dict)


class Questions:
    """The questions under way; who asks the same meanwhile shares the answer.

    A question is asked again when the connection was lost, within its time; one that a farm answers waits while there
    is none, and is asked again when one is back.
    """

    def __init__(self, req_ids: ReqIds, *, timeout_s: float, pending_max: int, asks_max: int) -> None:
        self._req_ids = req_ids
        self._timeout_s = timeout_s
        self._pending_max = pending_max
        self._asks_max = asks_max
        self._conn: int | None = None
        # By what is asked, and by req_id while IB is asked.
        self._open: dict[Hashable, Question] = {}
        self._by_req: dict[int, Question] = {}
        # number of a waiter -> its question; cleared when answered.
        self._of_waiter: dict[int, Question] = {}
        self._count = 0
        self.deadlines = Deadlines[int]()
        self._farms = FarmWatch()

    def __len__(self) -> int:
        return len(self._open)

    def owns(self, req_id: int) -> bool:
        """Whether the request is a question under way."""
        return req_id in self._by_req

    def key_of(self, req_id: int) -> Hashable:
        """What the request asks; None when it is over."""
        found = self._by_req.get(req_id)
        return None if found is None else found.key

    def ask(
        self,
        key: Hashable,
        make: Make,
        asker: Asker,
        now: Instant,
        *,
        client: str = "",
        left_s: float | None = None,
        timeout_s: float | None = None,
        traits: Traits = _PLAIN,
    ) -> list[Effect]:
        """Asks IB, or waits for the answer to the same question; `left_s` is how long the asker itself has."""
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        if len(self._of_waiter) >= self._pending_max:
            text = f"{self._pending_max} questions are waiting for IB"
            return asker.refused(Rejection("busy", text, None, True, 1.0))
        own = left_s is not None and left_s < timeout_s
        self._count += 1
        self.deadlines.set(self._count, now.s + (left_s if own and left_s is not None else timeout_s))
        question = self._open.get(key)
        is_new = question is None
        if question is None:
            question = self._open[key] = Question(key, make, client, traits, timeout_s)
        question.waiters[self._count] = (asker, own)
        self._of_waiter[self._count] = question
        return self._send(question) if is_new else []

    def _send(self, question: Question) -> list[Effect]:
        if self._conn is None or (question.traits.needs_farm and self._farms.none_there):
            return []
        question.req_id, question.sent = self._req_ids.next(), False
        question.asks += 1
        question.parts = []
        self._by_req[question.req_id] = question
        return [Tell("pacing", Enqueue(question.make(question.req_id), client=question.client, conn=self._conn))]

    def sent(self, req_id: int) -> None:
        """Pacing let the request go."""
        question = self._by_req.get(req_id)
        if question is not None:
            question.sent = True

    # ---- answers

    def part(self, req_id: int, value: Any, parts_max: int = 100_000) -> None:
        """A part of an answer."""
        question = self._by_req.get(req_id)
        if question is not None and len(question.parts) < parts_max:
            question.parts.append(value)

    def parts(self, req_id: int) -> list[Any]:
        """What has come of the answer; empty when the question is over."""
        question = self._by_req.get(req_id)
        return [] if question is None else question.parts

    def answered(self, req_id: int, result: Any) -> list[Effect]:
        """The answer is complete. What goes on by itself is taken back."""
        question = self._by_req.get(req_id)
        return [] if question is None else self._answer(question, result)

    def answered_key(self, key: Hashable, result: Any) -> list[Effect]:
        """The same for an answer that bears no req_id."""
        question = self._open.get(key)
        return [] if question is None or question.req_id is None else self._answer(question, result)

    def _answer(self, question: Question, result: Any) -> list[Effect]:
        effects: list[Effect] = [Tell("pacing", Withdraw(question.req_id))] if question.req_id is not None else []
        return effects + [effect for asker, _ in self._close(question) for effect in asker.answered(result)]

    def error(self, event: ErrorNotice) -> list[Effect]:
        """What IB says of a question under way."""
        question = self._by_req[event.req_id]
        row = lookup(event.code, event.req_id)
        effects: list[Effect] = [Tell("pacing", RateExceeded(event.code))] if row.effect == "slow_down" else []
        ended = Tell("pacing", RequestEnded(event.req_id))
        if row.effect in ("new_id", "slow_down") and question.asks < self._asks_max:
            del self._by_req[event.req_id]
            return [*effects, ended, *self._send(question)]
        if row.effect == "retry":
            # The request never left: asked again on the next connection, within its time.
            del self._by_req[event.req_id]
            question.req_id = None
            return [ended]
        if not row.ends_request and row.effect != "slow_down":
            return []
        return [*effects, ended, *self._refuse(question, question.traits.refusal(row, event))]

    def stray(self, event: ErrorNotice) -> list[Effect]:
        """IB refuses something without a req_id: it is the one question that has none, if there is just one."""
        row = lookup(event.code, event.req_id)
        able = [question for question in self._open.values() if question.traits.anonymous and question.sent]
        if len(able) != 1 or row.effect != "fail":
            return []
        return self._refuse(able[0], rejection_of(row, event))

    def refused(self, message: RequestRefused) -> list[Effect]:
        """Pacing had no room for the request."""
        question = self._by_req[message.req_id]
        return self._refuse(question, Rejection("busy", message.reason, None, True, message.retry_after_s))

    def _refuse(self, question: Question, rejection: Rejection) -> list[Effect]:
        return [effect for asker, _ in self._close(question) for effect in asker.refused(rejection)]

    def _close(self, question: Question) -> list[tuple[Asker, bool]]:
        del self._open[question.key]
        if question.req_id is not None:
            self._by_req.pop(question.req_id, None)
        for number in question.waiters:
            self.deadlines.clear(number)
            del self._of_waiter[number]
        return list(question.waiters.values())

    # ---- session and time

    def session(self, conn: int | None) -> list[Effect]:
        """There is a session, in which everything is asked anew, or none."""
        self._conn = conn
        if conn is None:
            self._farms.clear()
        self._by_req.clear()
        for question in self._open.values():
            question.req_id, question.sent = None, False
        return [effect for question in self._open.values() for effect in self._send(question)]

    def farm(self, message: FarmChanged) -> list[Effect]:
        """A farm that answers questions went or is back: what has no answer yet is asked again then."""
        if not self._farms.note(message):
            return []
        effects: list[Effect] = []
        for question in [question for question in self._open.values() if question.traits.needs_farm]:
            if question.req_id is not None:
                effects.append(Tell("pacing", Withdraw(question.req_id)))
                self._by_req.pop(question.req_id, None)
            effects += self._send(question)
        return effects

    @property
    def farms_away(self) -> list[str]:
        """The farms that are away."""
        return self._farms.away

    def wake_up(self, now: Instant) -> list[Effect]:
        """Answers those whose time is over."""
        effects: list[Effect] = []
        for number in self.deadlines.due(now.s):
            question = self._of_waiter.pop(number)
            asker, own = question.waiters.pop(number)
            effects += asker.expired() if own else asker.refused(self._timed_out(question))
            if not question.waiters:
                if question.req_id is not None:
                    effects.append(Tell("pacing", Withdraw(question.req_id)))
                self._close(question)
        return effects

    def _timed_out(self, question: Question) -> Rejection:
        if question.traits.needs_farm and self._farms.away:
            return self._farms.late("question", question.timeout_s, was_asked=question.req_id is not None)
        if question.req_id is None:
            return Rejection("connection_failed", "there was no connection to IB in time", None, True, 5.0)
        return Rejection("farm_transient", "IB did not answer in time", None, True, 5.0)

    def stop(self) -> list[Effect]:
        """Answers everyone who still waits."""
        rejection = Rejection("connection_failed", "the sidecar stops", None, True, 5.0)
        return [effect for question in list(self._open.values()) for effect in self._refuse(question, rejection)]
