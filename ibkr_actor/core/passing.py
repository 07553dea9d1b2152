"""Owns which actor does a command once its instrument is settled.

Settles no instrument itself.
"""

from __future__ import annotations

import msgspec

from ibkr_actor.core.effects import ActorName, Answer, CommandRef, Effect, ReadSettings, Tell
from ibkr_actor.core.messages import ClearCooldowns, ResolvedCommand
from ibkr_actor.schema.commands import (
    AnyCommand,
    ClearCooldown,
    HeadTimestamp,
    Histogram,
    History,
    HistoryCommand,
    HistoryTicks,
    Reload,
    Reply,
    Resolve,
    Schedule,
    Snapshot,
    Subscribe,
    Unsubscribe,
)
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.reference_commands import CalcCommand, Chain, NewsHeadlines, OptionParams, ReferenceCommand

# Commands that name an instrument.
NAMING = (
    Subscribe
    | Resolve
    | Unsubscribe
    | Snapshot
    | History
    | HistoryTicks
    | HeadTimestamp
    | Schedule
    | Histogram
    | Chain
    | CalcCommand
    | OptionParams
    | NewsHeadlines
)


def settled(ref: CommandRef, command: AnyCommand, contract: Contract) -> Effect:
    """A command whose instrument is known: answered, when that was all it asked, else passed on."""
    if isinstance(command, Resolve):
        result = msgspec.to_builtins(contract)
        if contract.sec_ids:
            result["sec_ids"] = dict(contract.sec_ids)
        return Answer(ref, Reply(id=ref.id, op=ref.op, status="result", result=result))
    return passed_on(ref, command, contract)


def passed_on(ref: CommandRef, command: AnyCommand, contract: Contract | None) -> Effect:
    """To the actor that does it."""
    if isinstance(command, Reload):
        return ReadSettings(ref)
    if isinstance(command, ClearCooldown):
        return Tell("pacing", ClearCooldowns(ref, command.scope))
    to: ActorName = "subscriptions"
    if isinstance(command, HistoryCommand):
        to = "history"
    elif isinstance(command, ReferenceCommand):
        to = "reference"
    return Tell(to, ResolvedCommand(ref, command, contract))
