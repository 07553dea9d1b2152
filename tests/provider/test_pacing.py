"""The pacing classes that others may use: a bucket that keeps IB's rolling window, and cooldowns by scope."""

import anyio
import pytest

from ibkr_actor.provider import PacingManager, TokenBucket

pytestmark = pytest.mark.anyio


class Hand:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


async def test_a_bucket_never_grants_more_than_its_capacity_in_any_window() -> None:
    clock = Hand()
    bucket = TokenBucket(60, 0.1, clock=clock)
    granted = []
    for second in range(1800):
        clock.now_s = 1000.0 + second
        while await bucket.acquire(timeout=0):
            granted.append(second)
    assert len(granted) == 180
    assert max(sum(start <= at < start + 600 for at in granted) for start in range(1800)) == 60


async def test_a_bucket_waits_for_the_token_that_comes_back_first() -> None:
    bucket = TokenBucket(2, 100.0)  # a window of 20 ms
    with anyio.fail_after(60):
        taken = [await bucket.acquire() for _ in range(6)]
    assert taken == [True] * 6


async def test_a_bucket_that_is_empty_says_no_when_the_time_is_over() -> None:
    bucket = TokenBucket(1, 0.001)
    assert await bucket.acquire(timeout=0)
    assert not await bucket.acquire(timeout=0.01)
    assert await bucket.get_available_tokens() == 0


@pytest.mark.parametrize(("capacity", "rate"), [(0, 1.0), (5, 0.0), (5, -1.0)])
async def test_a_bucket_that_could_never_work_is_refused(capacity: int, rate: float) -> None:
    with pytest.raises(ValueError, match="capacity"):
        TokenBucket(capacity, rate)
    with pytest.raises(ValueError, match="tokens"):
        await TokenBucket(5, 1.0).acquire(6)


async def test_a_cooldown_holds_its_scope_only_and_ends_by_itself_or_by_hand() -> None:
    clock = Hand()
    pacing = PacingManager(600, clock=clock)
    await pacing.trigger_cooldown("hist_AAPL")
    assert not await pacing.check_cooldown("hist_AAPL")
    assert await pacing.check_cooldown("hist_MSFT")
    status = await pacing.get_cooldown_status("hist_AAPL")
    assert status["in_cooldown"] is True
    assert status["remaining_sec"] == 600
    assert str(status["cooldown_until"]).endswith("+00:00")
    clock.now_s += 600
    assert await pacing.check_cooldown("hist_AAPL")
    assert (await pacing.get_cooldown_status("hist_AAPL"))["cooldown_until"] is None
    await pacing.trigger_cooldown("hist_AAPL", 10)
    await pacing.clear_cooldown("hist_AAPL")
    assert await pacing.check_cooldown("hist_AAPL")
    await pacing.trigger_cooldown("a")
    await pacing.trigger_cooldown("b")
    await pacing.clear_all_cooldowns()
    assert await pacing.check_cooldown("a")
    assert await pacing.check_cooldown("b")


async def test_a_second_violation_does_not_shorten_the_cooldown_and_who_keeps_the_limits_is_told() -> None:
    cleared: list[str] = []

    async def note(scope: str) -> None:
        cleared.append(scope)

    pacing = PacingManager(600, clock=Hand(), on_clear=note)
    await pacing.trigger_cooldown("a", 100)
    await pacing.trigger_cooldown("a", 5)
    assert pacing.remaining_s("a") == 100
    await pacing.clear_cooldown("a")
    await pacing.clear_all_cooldowns()
    assert cleared == ["a", ""]
