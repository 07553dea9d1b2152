"""Owns which requests are open at IB, what would cancel them, and how many more may be opened.

Decides nothing about when: cancels wait here until pacing takes them.
"""

from __future__ import annotations

from collections import OrderedDict

from ibkr_actor.core.config import PacingConfig
from ibkr_actor.core.deadlines import Deadlines
from ibkr_actor.core.pacing.limits import OpenLimit
from ibkr_actor.core.requests import CANCEL_OF, AnyCancel, AnyRequest, ReqHeadTimestamp, cancel_of

# How much the newest answer counts in the mean time an answer takes.
_NEWEST_SHARE = 0.2


class Open:
    """One request at IB. `limits` are the names of those it counts against."""

    __slots__ = ("limits", "request", "sent_s")

    def __init__(self, request: AnyRequest, limits: tuple[str, ...], sent_s: float) -> None:
        self.request = request
        self.limits = limits
        self.sent_s = sent_s


class OpenRequests:
    """Requests that were sent and have neither ended nor been cancelled."""

    def __init__(self, config: PacingConfig, limits: tuple[OpenLimit, ...]) -> None:
        self._config = config
        self.limits = {limit.name: limit for limit in limits}
        # req_id -> what is open; set when sent, cleared when its cancel left, it ended, or the session did.
        self._open: dict[int, Open] = {}
        self._used = dict.fromkeys(self.limits, 0)
        # req_id -> cancel that waits to be sent, in the order asked for.
        self._cancels: OrderedDict[int, AnyCancel] = OrderedDict()
        # What nobody wants and IB cannot cancel counts as open until then, in case nobody says that it ended.
        self._abandoned = Deadlines[int]()
        # limit -> mean seconds from sending to the end, of those that ended.
        self._answer_s: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def cancels(self) -> int:
        """How many cancels wait."""
        return len(self._cancels)

    def limits_of(self, request: AnyRequest) -> tuple[str, ...]:
        """The names of the limits that the request counts against while it is open."""
        return tuple(limit.name for limit in self.limits.values() if limit.concerns(request))

    def used(self, name: str) -> int:
        """How many requests are open under a limit."""
        return self._used[name]

    def fit(self, names: tuple[str, ...]) -> bool:
        """Whether one more request may be opened under all these limits."""
        return all(self._used[name] < self.limits[name].count for name in names)

    def answer_s(self, name: str) -> float:
        """How long an answer takes, as far as is known."""
        return self._answer_s.get(name, self._config.answer_s)

    def add(self, request: AnyRequest, limits: tuple[str, ...], now_s: float) -> None:
        """The request is sent now."""
        if limits or type(request) in CANCEL_OF:
            self._open[request.req_id] = Open(request, limits, now_s)
            for name in limits:
                self._used[name] += 1

    def withdraw(self, req_id: int, now_s: float) -> None:
        """Nobody wants the request any more: its cancel is to be sent, or it is left to end by itself."""
        entry = self._open.get(req_id)
        if entry is None:
            return
        cancel = cancel_of(entry.request)
        if cancel is not None:
            self._cancels.setdefault(req_id, cancel)
        elif req_id not in self._abandoned:
            self._abandoned.set(req_id, now_s + self._config.abandon_s)

    def ended(self, req_id: int, now_s: float) -> None:
        """IB answered or refused the request.

        A head timestamp counts as open until it is cancelled, answered or not: its cancel is sent all the same.
        Source: IBKR, TWS API, "Requesting the Earliest Data Point".
        """
        entry = self._open.get(req_id)
        if entry is None:
            return
        for name in entry.limits:
            took_s = now_s - entry.sent_s
            self._answer_s[name] = self.answer_s(name) * (1 - _NEWEST_SHARE) + took_s * _NEWEST_SHARE
        if isinstance(entry.request, ReqHeadTimestamp):
            self.withdraw(req_id, now_s)
        else:
            self._close(req_id)

    def next_cancel(self) -> AnyCancel:
        """Takes the next cancel, which is sent now. There must be one."""
        req_id, cancel = next(iter(self._cancels.items()))
        self._close(req_id)
        return cancel

    def forget_abandoned(self, now_s: float) -> None:
        """Closes what was abandoned long enough ago."""
        for req_id in self._abandoned.due(now_s):
            self._close(req_id)

    def next_s(self) -> float | None:
        """When something abandoned is to be forgotten."""
        return self._abandoned.next_s()

    def clear(self) -> None:
        """The connection is gone, and every request with it."""
        self._open = {}
        self._used = dict.fromkeys(self.limits, 0)
        self._cancels = OrderedDict()
        self._abandoned = Deadlines[int]()

    def _close(self, req_id: int) -> None:
        entry = self._open.pop(req_id)
        for name in entry.limits:
            self._used[name] -= 1
        self._cancels.pop(req_id, None)
        self._abandoned.clear(req_id)
