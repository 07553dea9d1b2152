"""Effects carried out: each goes to the gateway, to Redis, or to another actor's mailbox.

Decides nothing and never waits: the ports take what they are given and return.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final, assert_never

from msgspec import structs

from ibkr_actor.actors.mailbox import Mailbox
from ibkr_actor.actors.ports import BusPort, GatewayPort
from ibkr_actor.core import effects as fx
from ibkr_actor.core.effects import ActorName, CommandRef, Effect
from ibkr_actor.schema.records import System

AnyEffect = (
    fx.Publish
    | fx.Send
    | fx.Tell
    | fx.Announce
    | fx.SetState
    | fx.SetFreshness
    | fx.Answer
    | fx.Notify
    | fx.WriteHolders
    | fx.WriteContract
    | fx.WriteContracts
    | fx.WriteJob
    | fx.LookUpWindow
    | fx.StoreWindow
    | fx.WritePacing
    | fx.CloseStream
    | fx.Connect
    | fx.Disconnect
    | fx.ReadSettings
    | fx.Stopped
)


# Events of `system` records after which somebody may have to do something.
TROUBLE: Final = frozenset(
    {"lost", "unreachable", "failed", "waiting_for_login", "upstream_lost", "data_lost", "rate_exceeded", "stale"}
)

log = logging.getLogger(__name__)


class Performer:
    """Where effects leave the actors."""

    def __init__(
        self,
        gateway: GatewayPort,
        bus: BusPort,
        mailboxes: Mapping[ActorName, Mailbox],
        *,
        stopped: Callable[[], None],
        reload: Callable[[CommandRef], None] = lambda _: None,
    ) -> None:
        self._reload = reload
        self._stopped = stopped
        self._gateway = gateway
        self._bus = bus
        self._mailboxes = mailboxes

    def perform(self, effect: Effect) -> None:
        """Carries out one effect.

        Raises:
            TypeError: it is none of `AnyEffect`.
        """
        if not isinstance(effect, AnyEffect):
            raise TypeError(f"{type(effect).__name__} is not an effect that can be performed")
        self._dispatch(effect)

    def _dispatch(self, effect: AnyEffect) -> None:  # noqa: C901  # one line for each effect
        match effect:
            case fx.Publish(items):
                self._bus.publish(items)
            case fx.Tell(to, message):
                self._mailboxes[to].tell(message)
            case fx.Send(request):
                self._gateway.send(request)
            case fx.SetState(stream, state, reason, since_ns):
                self._bus.set_state(stream, state, reason, since_ns)
            case fx.SetFreshness(stream, freshness, since_ns, received_ns):
                self._bus.set_freshness(stream, freshness, since_ns, received_ns)
            case fx.Announce(record):
                level = logging.WARNING if record.event in TROUBLE else logging.INFO
                log.log(level, "told topic=%s event=%s subject=%s message=%r", *_spoken(record))
                self._bus.announce(record)
            case fx.Answer():
                self._answer(effect)
            case fx.Notify(client, reply):
                self._bus.notify(client, reply)
            case fx.WriteHolders(holders):
                self._bus.write_holders(holders)
            case fx.WriteContract(field, value):
                self._bus.write_contracts((fx.HolderWrite(field, value),))
            case fx.WriteContracts(writes):
                self._bus.write_contracts(writes)
            case fx.WriteJob(job, entries, number, state):
                self._bus.write_job(job, entries, number, state)
            case fx.LookUpWindow(name):
                self._bus.look_up_window(name)
            case fx.StoreWindow(name, value):
                self._bus.store_window(name, value)
            case fx.WritePacing(value):
                self._bus.write_pacing(value)
            case fx.CloseStream(stream):
                self._bus.close_stream(stream)
            case fx.Connect(conn, client_id, port):
                self._gateway.open(conn, client_id, port)
            case fx.Disconnect(conn):
                self._gateway.close(conn)
            case fx.ReadSettings(ref):
                self._reload(ref)
            case fx.Stopped():
                self._stopped()
            case _:
                assert_never(effect)

    def _answer(self, effect: fx.Answer) -> None:
        reply = effect.reply
        if effect.with_counters and isinstance(reply.result, dict):
            counters = {"gateway": self._gateway.counters(), "redis": self._bus.counters()}
            counters |= {"mailboxes": {name: len(box) for name, box in self._mailboxes.items()}}
            reply = structs.replace(reply, result=reply.result | {"counters": counters})
        self._bus.answer(effect.ref, reply, effect.holders, effect.jobs)


def _spoken(record: System) -> tuple[str, str, str, str]:
    return record.topic, record.event, record.subject, record.message
