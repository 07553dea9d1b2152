"""Owns the list of all actions by name, and the way from a name and its arguments to an action.

Must not do anything; an action is done by the director.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ibkr_actor.sim.faults import gateway_actions as g
from ibkr_actor.sim.faults import line_actions as li
from ibkr_actor.sim.faults import wire_actions as w
from ibkr_actor.sim.faults.action import Action
from ibkr_actor.sim.faults.explain import choices, explained, unknown_key

_ALL: Final[tuple[type[Action], ...]] = (
    li.SendNotice, li.SendError, li.EndLines, li.Bust, li.DepthHalt, li.DepthReset, li.LiveUpdatesLost,
    li.Zombie, li.CompetingSession, li.FarmBroken, li.ConnectionLost, li.Refuse, li.Ignore, li.Emit,
    li.Localize, li.EmptySizes, li.QuestionMarkPrices, li.YearLessDates,
    w.SendRaw, w.Garbage, w.OversizeFrame, w.GarbleFrames, w.DuplicateFrames, w.SwallowFrames,
    w.Cut, w.CutAfter, w.CutMidFrame, w.Stall, w.Resume, w.SlowSocket,
    g.GatewayDown, g.RefuseConnections, g.MovePort, g.ClientIdInUse, g.LoginRequired, g.Mend,
)  # fmt: skip
ACTIONS: Final[dict[str, type[Action]]] = {action.called(): action for action in _ALL}


class ActionError(ValueError):
    """An action that does not exist, or arguments it does not take. The message is one line."""


def keys_of(action: type[Action]) -> list[str]:
    """The arguments of an action, as scripts call them."""
    return [field.encode_name for field in msgspec.structs.fields(action)]


def make_action(name: str, arguments: Mapping[str, Any]) -> Action:
    """The action of that name; durations are seconds.

    Raises: ActionError.
    """
    if name not in ACTIONS:
        raise ActionError(unknown_key("action", name, ACTIONS))
    kind = ACTIONS[name]
    wrong = [key for key in arguments if key not in keys_of(kind)]
    if wrong:
        raise ActionError(unknown_key("key", wrong[0], keys_of(kind)))
    for key, value in arguments.items():
        words = choices(kind, key)
        if words and value not in words:
            raise ActionError(f"{key}: must be one of {', '.join(words)}, is {value!r}")
    try:
        return msgspec.convert(dict(arguments), kind)
    except msgspec.ValidationError as error:
        raise ActionError(explained(str(error))) from None
