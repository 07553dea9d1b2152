"""Owns the one word for whether the data can be relied on: ready when the connection stands and no stream is stale.

Pure: judges what `status` holds already, and keeps nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from ibkr_actor.core.session.states import State

# What each state of the connection means for who waits for data; `ready` means nothing is in the way.
_IN_THE_WAY = {
    State.IDLE: "the session was not started",
    State.CONNECTING: "connecting to the gateway",
    State.HANDSHAKING: "the gateway is not ready yet",
    State.DEGRADED: "TWS has lost its connection to IB",
    State.BACKING_OFF: "no connection to the gateway; waiting for the next try",
    State.WAITING_FOR_LOGIN: "the gateway waits for its login",
    State.SCHEDULED_OUTAGE: "no connection to the gateway in the time of a planned reset",
    State.STOPPING: "the sidecar stops",
    State.STOPPED: "the sidecar has stopped",
    State.FAILED: "the session has given up",
}


def readiness(state: State, parts: Mapping[str, object]) -> dict[str, object]:
    """`ok`, and the `reasons` why not, as sentences; `parts` are those of a status.

    A stream that is quiet (closed market, halt, unknown hours) is in order, and so is one asked for just now. A farm
    that is away is named only by the streams that are stale for it: another may serve nobody here.
    """
    reasons = []
    if state in _IN_THE_WAY:
        reasons.append(_IN_THE_WAY[state])
    subscriptions = parts.get("subscriptions")
    freshness = subscriptions.get("freshness") if isinstance(subscriptions, Mapping) else None
    if isinstance(freshness, Mapping) and (stale := freshness.get("stale", 0)):
        names = freshness.get("stale_lines")
        named = ", ".join(map(str, names[:5])) if isinstance(names, list) else ""
        count = "1 line is" if stale == 1 else f"{stale} lines are"
        reasons.append(f"{count} stale: {named}" + (" and more" if int(str(stale)) > 5 else ""))
    return {"ok": not reasons, "reasons": reasons}
