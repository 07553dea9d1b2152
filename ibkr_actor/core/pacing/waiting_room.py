"""Owns who waits for which limit, and finds the next request that every limit but the message rate allows.

Sends nothing and knows no connection.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from ibkr_actor.core.deadlines import Deadlines
from ibkr_actor.core.pacing.fair_queue import ALWAYS_FIRST, FairQueue, Lane, Waiting
from ibkr_actor.core.pacing.limits import Limit
from ibkr_actor.core.pacing.open_requests import OpenRequests
from ibkr_actor.core.pacing.rolling_window import Window
from ibkr_actor.core.requests import AnyRequest

# Below this many windows it is not worth looking for empty ones.
_WINDOWS_TIDY_MIN = 256


class Channel:
    """Requests under the same shared limits: they wait in one line, and only its head is looked at.

    `passed` counts how often a higher priority of another channel went while the head here might have.
    """

    __slots__ = ("opens", "passed", "queue", "windows")

    def __init__(self, windows: tuple[Window, ...], opens: tuple[str, ...], queue: FairQueue) -> None:
        self.windows = windows
        self.opens = opens
        self.queue = queue
        self.passed = 0


class WaitingRoom:
    """Requests in channels, and those that a narrow limit holds parked beside it.

    A request takes no room anywhere before it goes: one that is held by one limit leaves the others' room to the next.
    It keeps its turn while it is moved about, so that nothing is passed over for ever.
    """

    def __init__(self, limits: tuple[Limit, ...], opens: OpenRequests, lower_every: int) -> None:
        self._opens = opens
        self._lower_every = lower_every
        self._turns = itertools.count()
        # What was sent under the limits with one key, kept over reconnects, since IB remembers too.
        self.shared = {limit.name: Window(limit) for limit in limits if limit.scope is not None and limit.shared}
        self._shared_limits = tuple(window.limit for window in self.shared.values())
        self._narrow_limits = tuple(limit for limit in limits if limit.scope is not None and not limit.shared)
        self._limits = {limit.name: limit for limit in self._narrow_limits}
        # (limit, scope key) -> what was sent; kept over reconnects; removed when empty.
        self.narrow: dict[Lane, Window] = {}
        self._tidy_at = _WINDOWS_TIDY_MIN
        # req_id -> request that waits; set by `add`, cleared when taken, dropped or cleared.
        self.waiting: dict[int, Waiting] = {}
        # Names of the shared limits -> requests under just these.
        self._channels: dict[tuple[str, ...], Channel] = {}
        self.parked: dict[Lane, FairQueue] = {}
        self._unpark = Deadlines[Lane]()
        # When the first channel held by a window may go on; None when none is held by time.
        self._channel_free_s: float | None = None

    def add(self, request: AnyRequest, *, priority: int, client: str, now_s: float) -> None:
        """Takes a request in. O(log n), as every operation here."""
        one = Waiting(request, priority=priority, client=client, since_s=now_s, turn=next(self._turns))
        one.shared = tuple(
            (limit.name, limit.weight(request))
            for limit in self._shared_limits
            if limit.scope is not None and limit.scope(request) is not None
        )
        one.narrow = tuple(self._lanes(request))
        one.opens = self._opens.limits_of(request)
        self.waiting[request.req_id] = one
        self.channel(one).queue.push(one)

    def drop(self, req_id: int, now_s: float) -> bool:
        """Takes a request out; False when it does not wait."""
        one = self.waiting.pop(req_id, None)
        if one is None:
            return False
        assert one.queue is not None
        one.queue.remove(one)
        if one.lane is not None:
            # Room may have been kept for it.
            self._look_again(one.lane, now_s)
        return True

    def clear(self) -> None:
        """Takes every request out; what was sent stays counted."""
        self.waiting = {}
        self._channels = {}
        self.parked = {}
        self._unpark = Deadlines[Lane]()
        self._channel_free_s = None

    def stirs(self, now_s: float) -> bool:
        """Whether some request may go, as far as is known without looking at its limits."""
        unpark_s = self._unpark.next_s()
        return any(channel.queue for channel in self._channels.values()) or (unpark_s is not None and unpark_s <= now_s)

    def rest(self) -> None:
        """Nothing is looked at now, hence no channel asks to be looked at again."""
        self._channel_free_s = None

    def take(self, now_s: float) -> Waiting | None:
        """Takes out the next request that its limits allow, and counts it there; None when there is none."""
        while True:
            self._unpark_due(now_s)
            channels = self._free_channels(now_s)
            if not channels:
                return None
            channel = self._next_channel(channels)
            one = channel.queue.peek()
            lane = self._held_by(one, now_s)
            if lane is not None:
                channel.queue.remove(one)
                self._park(one, lane, now_s)
                continue
            for other in channels:
                other.passed += other.queue.peek().priority > one.priority
            channel.passed = 0
            channel.queue.serve(one)
            del self.waiting[one.request.req_id]
            self._count(one, now_s)
            return one

    def next_s(self) -> float | None:
        """When it is worth looking again, if nothing happens before."""
        times = [at_s for at_s in (self._channel_free_s, self._unpark.next_s()) if at_s is not None]
        return min(times, default=None)

    def channel(self, one: Waiting) -> Channel:
        """The channel of a request."""
        key = (*(name for name, _ in one.shared), *one.opens)
        found = self._channels.get(key)
        if found is None:
            windows = tuple(self.shared[name] for name, _ in one.shared)
            queue = FairQueue(self._turns, self._lower_every)
            found = self._channels[key] = Channel(windows, one.opens, queue)
        return found

    def window_or_empty(self, lane: Lane) -> Window:
        """What was sent in a lane of a narrow limit."""
        return self.narrow.get(lane) or Window(self._limits[lane[0]])

    def restore_lane(self, lane: Lane, now_s: float) -> Window | None:
        """The window of a shared or narrow limit, made when it is not there; None when there is no such limit."""
        if lane[0] in self.shared:
            return self.shared[lane[0]]
        return self._window(lane, now_s) if lane[0] in self._limits else None

    # ---- channels

    def _free_channels(self, now_s: float) -> list[Channel]:
        """The channels whose head every shared limit allows to go."""
        free: list[Channel] = []
        self._channel_free_s = None
        for channel in self._channels.values():
            if not channel.queue or not self._opens.fit(channel.opens):
                continue
            head = channel.queue.peek()
            free_s = now_s
            for window, (_, weight) in zip(channel.windows, head.shared, strict=True):
                free_s = max(free_s, window.free_at(now_s, weight))
            if free_s <= now_s:
                free.append(channel)
            elif self._channel_free_s is None or free_s < self._channel_free_s:
                self._channel_free_s = free_s
        return free

    def _next_channel(self, free: list[Channel]) -> Channel:
        """The channel whose turn it is; one that was passed over often enough goes before a higher priority."""
        first = min(free, key=lambda channel: channel.queue.next_turn())
        if len(free) > 1 and first.queue.peek().priority != ALWAYS_FIRST:
            passed = max(free, key=lambda channel: channel.passed)
            if passed.passed >= self._lower_every - 1:
                return passed
        return first

    def _count(self, one: Waiting, now_s: float) -> None:
        for name, weight in one.shared:
            self.shared[name].add(now_s, weight)
        for lane, weight in one.narrow:
            self._window(lane, now_s).add(now_s, weight)
            self._look_again(lane, now_s)

    # ---- lanes

    def _lanes(self, request: AnyRequest) -> Iterator[tuple[Lane, int]]:
        for limit in self._narrow_limits:
            assert limit.scope is not None
            key = limit.scope(request)
            if key is not None:
                yield (limit.name, key), limit.weight(request)

    def _held_by(self, one: Waiting, now_s: float) -> Lane | None:
        """The lane that frees last among those that hold the request now."""
        latest: tuple[float, Lane] | None = None
        for lane, weight in one.narrow:
            window = self.narrow.get(lane)
            if window is None:
                continue
            free_s = window.free_at(now_s, max(weight, self._heavier(one, lane, weight)))
            if free_s > now_s and (latest is None or free_s > latest[0]):
                latest = (free_s, lane)
        return None if latest is None else latest[1]

    def _heavier(self, one: Waiting, lane: Lane, weight: int) -> int:
        """What must fit in the lane: as much as the first one there needs, or light ones would pass it for ever."""
        queue = self.parked.get(lane)
        if not queue or one.lane == lane:
            return weight
        head = queue.peek()
        return dict(head.narrow)[lane] if head.priority <= one.priority else weight

    def _park(self, one: Waiting, lane: Lane, now_s: float) -> None:
        came_from, one.lane = one.lane, lane
        queue = self.parked.get(lane)
        if queue is None:
            queue = self.parked[lane] = FairQueue(self._turns, self._lower_every)
        queue.push(one)
        self._look_again(lane, now_s)
        if came_from is not None and came_from != lane:
            # Room was kept for it in the lane it came from; the next one there may have it.
            self._look_again(came_from, now_s)

    def _look_again(self, lane: Lane, now_s: float) -> None:
        """Sets the time at which the first one parked in the lane fits."""
        queue = self.parked.get(lane)
        if queue is None:
            return
        if not queue:
            del self.parked[lane]
            self._unpark.clear(lane)
            return
        weight = dict(queue.peek().narrow)[lane]
        self._unpark.set(lane, self.narrow[lane].free_at(now_s, weight) if lane in self.narrow else now_s)

    def _unpark_due(self, now_s: float) -> None:
        """Moves as many requests back to their channels as their lane has room for.

        Those left are looked at again when one of the moved ones goes, is dropped, or is parked elsewhere.
        """
        for lane in self._unpark.due(now_s):
            queue = self.parked[lane]
            window = self.narrow.get(lane)
            weight = 0
            while queue:
                head = queue.peek()
                weight += dict(head.narrow)[lane]
                fits = window is None or (weight <= window.limit.count and window.free_at(now_s, weight) <= now_s)
                if not fits and weight > dict(head.narrow)[lane]:
                    break
                queue.serve(head)
                self.channel(head).queue.push(head)
            if not queue:
                del self.parked[lane]

    def _window(self, lane: Lane, now_s: float) -> Window:
        window = self.narrow.get(lane)
        if window is None:
            if len(self.narrow) >= self._tidy_at:
                self._tidy(now_s)
            window = self.narrow[lane] = Window(self._limits[lane[0]])
        return window

    def _tidy(self, now_s: float) -> None:
        """Removes windows that count nothing and hold nobody, so that they do not grow with the instruments seen."""
        for window in self.narrow.values():
            window.prune(now_s)
        self.narrow = {lane: window for lane, window in self.narrow.items() if window.used or lane in self.parked}
        self._tidy_at = max(_WINDOWS_TIDY_MIN, 2 * len(self.narrow))
