from __future__ import annotations

import itertools
from collections import Counter

from ibkr_actor.core.pacing.fair_queue import FairQueue, Waiting, in_fair_order
from tests.core.ib_at_work import level1


class Queue:
    def __init__(self, lower_every: int = 20) -> None:
        self.turns = itertools.count()
        self.queue = FairQueue(self.turns, lower_every)

    def push(self, n: int, client: str = "", priority: int = 1) -> Waiting:
        one = Waiting(level1(n), priority=priority, client=client, since_s=0.0, turn=next(self.turns))
        self.queue.push(one)
        return one

    def serve(self) -> int:
        one = self.queue.peek()
        self.queue.serve(one)
        return one.request.req_id // 10

    def rest(self) -> list[int]:
        return [self.serve() for _ in range(len(self.queue))]


def test_clients_take_turns_and_each_is_served_in_the_order_of_its_requests() -> None:
    queue = Queue()
    for n, client in ((1, "a"), (2, "a"), (3, "a"), (4, "b"), (5, "b"), (6, "c")):
        queue.push(n, client)
    assert queue.rest() == [1, 4, 6, 2, 5, 3]


def test_a_client_that_comes_later_goes_behind_those_that_wait_for_their_turn() -> None:
    queue = Queue()
    queue.push(1, "a")
    queue.push(2, "b")
    queue.push(3, "a")
    assert queue.serve() == 1
    queue.push(4, "c")
    assert queue.rest() == [2, 3, 4]


def test_endlessly_many_new_clients_do_not_starve_an_old_one() -> None:
    queue = Queue()
    queue.push(1, "greedy")
    old = queue.push(2, "greedy")
    served = []
    for n in range(3, 10):
        queue.push(n, f"new{n}")
        served.append(queue.serve())
    assert old.request.req_id // 10 in served[:3]


def test_a_request_taken_out_and_put_back_has_its_place_again() -> None:
    queue = Queue()
    first = queue.push(1, "a")
    queue.push(2, "a")
    queue.push(3, "b")
    queue.queue.remove(first)
    queue.push(4, "c")
    queue.queue.push(first)
    assert queue.rest() == [1, 3, 4, 2]


def test_requests_withdrawn_anywhere_leave_the_order_of_the_others() -> None:
    queue = Queue()
    ones = [queue.push(n, "ab"[n % 2]) for n in range(10)]
    for n in (0, 3, 4, 9):
        queue.queue.remove(ones[n])
    assert len(queue.queue) == 6
    assert queue.rest() == [1, 2, 5, 6, 7, 8]


def test_a_lower_priority_gets_one_turn_in_so_many_while_a_higher_one_never_ends() -> None:
    queue = Queue(lower_every=5)
    for n in range(100):
        queue.push(n, "quick")
        queue.push(1000 + n, "slow", priority=2)
        queue.push(2000 + n, "slower", priority=3)
    served = Counter(queue.serve() // 1000 for _ in range(100))
    assert served[1] >= 10
    assert served[2] >= 10
    assert served[0] >= 60


def test_the_sessions_own_messages_wait_for_no_turn() -> None:
    queue = Queue(lower_every=2)
    for n in range(10):
        queue.push(n, "session", priority=0)
        queue.push(100 + n, "a", priority=1)
    assert [n // 100 for n in queue.rest()] == [0] * 10 + [1] * 10


def test_clients_and_entries_that_are_over_are_not_kept() -> None:
    queue = Queue()
    for n in range(5000):
        queue.push(2 * n, f"c{n}")
        queue.push(2 * n + 1, "always")
        if n > 3:
            queue.serve()
            queue.serve()
    level = queue.queue._levels[1]
    assert len(level.flows) < 120
    assert len(level.heap) < 600


def test_the_order_that_is_foretold_is_that_which_comes() -> None:
    queue = Queue()
    ones = [queue.push(n, "abc"[n % 5 % 3], priority=1 + n % 2) for n in range(30)]
    foretold = [one.request.req_id // 10 for one in in_fair_order(ones)]
    assert foretold == queue.rest()
