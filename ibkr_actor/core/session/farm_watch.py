"""Owns what an asking core knows of the farms that answer it: whether all, some or none of them are away.

Asks nothing. IB does not say which farm serves which contract, so while one of several is away its silence is excused,
and only when none is there nothing is asked.
"""

from __future__ import annotations

from ibkr_actor.core.messages import FarmChanged
from ibkr_actor.schema.commands import Rejection

# A farm is away for seconds or minutes. Source: IBKR, TWS API message codes 2103 to 2106.
FARM_RETRY_S = 30.0
_OTHER_RETRY_S = 5.0


class FarmWatch:
    """Farms of one family on the present connection, by name. A farm that was never named is taken to be there."""

    def __init__(self) -> None:
        # name -> whether it can be asked; idle ones can. Cleared with the connection.
        self._up: dict[str, bool] = {}
        # Whether TWS lost IB: then each answer may be late, but what is asked may still be answered.
        self._upstream_lost = False

    def note_upstream(self, lost: bool) -> bool:
        """TWS lost IB, or has it again; whether it came back."""
        before, self._upstream_lost = self._upstream_lost, lost
        return before and not lost

    def note(self, message: FarmChanged) -> bool:
        """Takes a change in; whether a farm came back."""
        before = self._up.get(message.name)
        self._up[message.name] = message.is_up
        return message.is_up and before is False

    def clear(self) -> None:
        """The next connection names its farms anew."""
        self._up, self._upstream_lost = {}, False

    @property
    def away(self) -> list[str]:
        """The farms that are away."""
        return sorted(name for name, up in self._up.items() if not up)

    @property
    def excuses_silence(self) -> bool:
        """Whether an answer may have been lost for a reason that is known."""
        return self._upstream_lost or bool(self.away)

    @property
    def none_there(self) -> bool:
        """Whether there is no use in asking."""
        return bool(self._up) and not any(self._up.values())

    def late(self, what: str, timeout_s: float, *, was_asked: bool) -> Rejection:
        """What is said to who waited in vain for IB's answer."""
        if away := self.away:
            text = f"IB did not answer the {what} within {timeout_s:g} s; its data farm {', '.join(away)} is away"
            return Rejection("farm_transient", text, None, True, FARM_RETRY_S)
        if self._upstream_lost:
            text = f"IB did not answer the {what} within {timeout_s:g} s; TWS has lost its connection to IB"
            return Rejection("connection_failed", text, None, True, FARM_RETRY_S)
        if was_asked:
            text = f"IB did not answer the {what} within {timeout_s:g} s"
            return Rejection("farm_transient", text, None, True, _OTHER_RETRY_S)
        text = f"there was no connection to IB for {timeout_s:g} s"
        return Rejection("connection_failed", text, None, True, _OTHER_RETRY_S)
