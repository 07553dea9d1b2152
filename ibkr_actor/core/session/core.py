"""Owns the connection: its states, backoff, client ids, heartbeat, and what IB's connection and farm notices mean.

Never opens a socket and never sends: it emits effects, and its requests go through pacing.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from msgspec import Struct

from ibkr_actor.core.codes.meaning import CodeRow, lookup
from ibkr_actor.core.config import SessionConfig
from ibkr_actor.core.effects import Announce, Answer, Connect, Disconnect, Effect, Instant, Stopped, Tell
from ibkr_actor.core.events import (
    Connected,
    ConnectFailed,
    ConnectionLost,
    CurrentTime,
    DecodeFailed,
    ErrorNotice,
    Heard,
    ManagedAccounts,
    NextValidId,
)
from ibkr_actor.core.messages import (
    DataLost,
    Enqueue,
    GatewayMute,
    RateExceeded,
    RequestRefused,
    RequestSent,
    SessionDown,
    SessionUp,
    Start,
    StatusQuery,
    Stop,
    UpstreamDown,
    UpstreamUp,
    WakeUp,
)
from ibkr_actor.core.req_ids import ReqIds
from ibkr_actor.core.requests import ReqCurrentTime, ReqMarketDataType
from ibkr_actor.core.session.farms import FarmChange, Farms, upstream_words
from ibkr_actor.core.session.outage_words import OutageWords
from ibkr_actor.core.session.readiness import readiness
from ibkr_actor.core.session.reconnecting import Reconnecting
from ibkr_actor.core.session.states import ASKING, DATA_AGAIN_NS, OPEN, TABLE, UP, WAITING, Input, Link, State
from ibkr_actor.schema.commands import Reply
from ibkr_actor.schema.records import System


class SessionCore:
    """One connection to TWS or IB Gateway, kept up for ever."""

    def __init__(self, config: SessionConfig, rng: random.Random) -> None:
        self._config = config
        self._req_ids = ReqIds("session")
        self.state = State.IDLE
        self._link = Link()
        self._farms = Farms()
        self._retries = Reconnecting(config, rng)
        self._words = OutageWords()
        # When the present state ends by itself: backoff over, handshake too long, close unanswered.
        self._state_until_s: float | None = None
        self._since_ns = 0
        # The newest trouble, and when it was.
        self._last_error = ""
        self._last_error_ns = 0
        self._clock_offset_ns: int | None = None
        self._stale_events = 0
        self._handlers: dict[type[Struct], Callable[..., list[Effect]]] = {
            Start: self._start,
            Stop: self._stop,
            WakeUp: self._wake_up,
            Connected: self._connected,
            ConnectFailed: self._connect_failed,
            ConnectionLost: self._connection_lost,
            NextValidId: self._next_valid_id,
            ManagedAccounts: self._sign_of_life,
            CurrentTime: self._current_time,
            Heard: self._sign_of_life,
            DecodeFailed: self._decode_failed,
            ErrorNotice: self._notice,
            RequestSent: self._request_sent,
            RequestRefused: self._request_refused,
            StatusQuery: self._status,
        }
        self._doings: dict[str, Callable[[ErrorNotice, CodeRow, Instant], list[Effect]]] = {
            "upstream_down": self._upstream_down,
            "upstream_up": self._upstream_up,
            "data_lost": self._data_lost,
            "reconnect": self._reconnect,
            "move_port": self._reconnect,
            "next_client_id": self._next_client_id,
            "slow_down": self._slow_down,
            "farm_down": self._farm,
            "farm_up": self._farm,
            "farm_idle": self._farm,
            "farm_connecting": self._farm,
        }

    def handle(self, message: Struct, now: Instant) -> list[Effect]:
        """Decides. Events of an earlier connection are counted and dropped."""
        conn = getattr(message, "conn", self._link.conn)
        if conn != self._link.conn:
            self._stale_events += 1
            return []
        return self._handlers[type(message)](message, now)

    def next_wakeup_s(self) -> float | None:
        """When the state ends by itself, or the next heartbeat is due or overdue."""
        if self.state not in UP:
            return self._state_until_s
        beat_s = self._link.pulse.next_s(self._config)
        farm_s = self._farms.next_s()
        return min((at_s for at_s in (beat_s, farm_s) if at_s is not None), default=None)

    # ---- the life of a connection

    def _start(self, _message: Start, now: Instant) -> list[Effect]:
        if self.state is State.FAILED:
            self._retries.started()
        return self._connect(now) if self._move(Input.START, now) else []

    def _connect(self, now: Instant) -> list[Effect]:
        client_id = self._retries.client_id
        self._link = Link(conn=self._link.conn + 1, client_id=client_id)
        self._farms = Farms()
        number = self._retries.attempts + 1
        text = f"Connecting to the gateway as client {client_id}, try {number}."
        said = [self._say(now, "connecting", text)] if self._words.tells_try(number) else []
        return [Connect(self._link.conn, client_id, self._retries.port), *said]

    def _connected(self, event: Connected, now: Instant) -> list[Effect]:
        if not self._move(Input.CONNECTED, now):
            return []
        link = self._link
        link.server_version, link.connection_time = event.server_version, event.connection_time
        link.pulse.heard(now)
        self._state_until_s = now.s + self._config.ready_timeout_s
        text = f"Connected to the gateway, which speaks version {event.server_version}."
        effects: list[Effect] = [] if self._words.is_patient else [self._say(now, "handshaken", text)]
        return effects + self._become_usable(now) if link.id_seen else effects

    def _next_valid_id(self, _event: NextValidId, now: Instant) -> list[Effect]:
        self._link.id_seen = True
        return self._become_usable(now)

    def _become_usable(self, now: Instant) -> list[Effect]:
        """Tells the actors that they may ask; pacing first, so that nothing they ask is dropped there."""
        if not self._move(Input.USABLE_DEGRADED if self._link.upstream_lost else Input.USABLE, now):
            return []
        link = self._link
        link.ready_s = now.s
        link.pulse.heard(now)
        self._retries.worked()
        self._words = OutageWords()
        up = SessionUp(link.conn, link.server_version)
        effects: list[Effect] = [Tell("pacing", up)]
        if self._config.market_data_type != 1:
            request = ReqMarketDataType(self._req_ids.next(), self._config.market_data_type)
            effects.append(Tell("pacing", Enqueue(request, priority=0, conn=link.conn)))
        effects += [Tell(name, up) for name in ASKING]
        # Notices may overtake the end of the handshake.
        effects += self._farms.words(now.ns)
        effects.append(self._say(now, "ready", f"The gateway is ready for client {link.client_id}."))
        if link.upstream_lost:
            effects += upstream_words(UpstreamDown(now.ns, 1100))
        return effects

    def _connect_failed(self, event: ConnectFailed, now: Instant) -> list[Effect]:
        if self._move(Input.CLOSED, now):
            return self._stopped(now, "The connection to the gateway never came about.")
        return self._break(now, f"No connection to the gateway: {event.reason}.", event.at_ns, taken=event.taken)

    def _connection_lost(self, event: ConnectionLost, now: Instant) -> list[Effect]:
        if self._move(Input.CLOSED, now):
            return self._stopped(now, "The connection to the gateway is closed.")
        return self._break(now, f"The connection to the gateway is lost: {event.reason}.", event.at_ns)

    def _break(
        self, now: Instant, sentence: str, at_ns: int, *, code: int | None = None, taken: bool = False
    ) -> list[Effect]:
        """Ends the present connection, tells who used it, and decides when to try again."""
        if self.state not in OPEN:
            return []
        was_up = self.state in UP
        # A gateway at its login window says nothing; one that names a code has another reason.
        in_vain = not was_up and code is None and (taken or self.state is State.HANDSHAKING)
        verdict = self._retries.broke(self._link, now, taken_in_vain=in_vain)
        self._last_error, self._last_error_ns = sentence, now.ns
        self._move(verdict.happened, now)
        effects: list[Effect] = []
        if was_up:
            effects += self._tell_down(at_ns, sentence)
        if verdict.delay_s is None:
            effects.append(self._say(now, "failed", f"{sentence} {verdict.sentence}", code))
            return effects
        self._state_until_s = now.s + verdict.delay_s
        event = self._words.broke(self.state, sentence, self._retries.attempts, was_up=was_up)
        if event is None:
            return effects
        parts = (sentence, verdict.sentence, self._words.tries(self._retries.attempts))
        text = " ".join(part for part in parts if part)
        return [*effects, self._say(now, event, f"{text} Trying again in {verdict.delay_s:.2f} s.", code)]

    def _stop(self, _message: Stop, now: Instant) -> list[Effect]:
        was_up = self.state in UP
        if not self._move(Input.STOP, now):
            return []
        if self.state is State.STOPPED:
            return self._stopped(now, "The session stopped without a connection.")
        self._state_until_s = now.s + self._config.stop_timeout_s
        effects: list[Effect] = []
        if was_up:
            effects += self._tell_down(now.ns, "The sidecar stops.")
        effects += [Disconnect(self._link.conn), self._say(now, "stopping", "Closing the connection to the gateway.")]
        return effects

    def _tell_down(self, at_ns: int, sentence: str) -> list[Effect]:
        down = SessionDown(self._link.conn, at_ns, "disconnect", sentence)
        return [Tell("pacing", down), *(Tell(name, down) for name in ASKING)]

    def _stopped(self, now: Instant, sentence: str) -> list[Effect]:
        return [self._say(now, "stopped", sentence), Stopped()]

    # ---- time

    def _wake_up(self, _message: WakeUp, now: Instant) -> list[Effect]:
        if self.state in UP:
            return [*(self._say_farm(now, change) for change in self._farms.settled(now.s)), *self._beat(now)]
        if self._state_until_s is None or now.s < self._state_until_s:
            return []
        if self._move(Input.BACKOFF_OVER, now):
            return self._connect(now)
        if self._move(Input.CLOSED, now):
            return self._stopped(now, "The gateway did not confirm the close in time.")
        if self.state is State.HANDSHAKING:
            limit_s = self._config.ready_timeout_s
            return self._drop(now, f"The gateway did not say that it is ready within {limit_s:g} s.")
        return []

    def _beat(self, now: Instant) -> list[Effect]:
        """Asks for the gateway's clock when nothing else was heard; silence after that is a dead connection."""
        pulse = self._link.pulse
        if pulse.is_dead(self._config, now):
            return self._drop(now, f"The gateway was silent for {now.s - pulse.heard_s:.1f} s.")
        if pulse.falls_mute(self._config, now):
            text = f"The gateway was silent for {now.s - pulse.heard_s:.1f} s and does not tell its time."
            return [Tell("subscriptions", GatewayMute()), self._say(now, "mute", text)]
        if not pulse.is_due(self._config, now):
            return []
        pulse.req_id = self._req_ids.next()
        return [Tell("pacing", Enqueue(ReqCurrentTime(pulse.req_id), priority=0, conn=self._link.conn))]

    def _drop(self, now: Instant, sentence: str, code: int | None = None) -> list[Effect]:
        """Closes a connection that is of no use. What the gateway says of it later is stale."""
        return [Disconnect(self._link.conn), *self._break(now, sentence, now.ns, code=code)]

    def _request_sent(self, message: RequestSent, now: Instant) -> list[Effect]:
        self._link.pulse.sent(message.req_id, now)
        return []

    def _request_refused(self, message: RequestRefused, now: Instant) -> list[Effect]:
        if message.req_id == self._link.pulse.req_id:
            self._link.pulse.heard(now)
        return []

    # ---- what the gateway says

    def _sign_of_life(self, event: ManagedAccounts | Heard, now: Instant) -> list[Effect]:
        self._link.pulse.heard(now)
        if isinstance(event, ManagedAccounts):
            self._link.accounts = event.accounts
        elif self.state is State.DEGRADED and now.ns - self._since_ns > DATA_AGAIN_NS:
            return self._restored(now, now.ns, "Data come from TWS again, though it did not say that it has IB.")
        return []

    def _current_time(self, event: CurrentTime, now: Instant) -> list[Effect]:
        self._clock_offset_ns = event.time_ns - event.received_ns
        self._link.pulse.heard(now)
        return []

    def _decode_failed(self, event: DecodeFailed, now: Instant) -> list[Effect]:
        """Counts what could not be read; says it once for each kind of message and connection."""
        if not self._link.note_undecoded(event.message_id, event.frames):
            return []
        sentence = f"A message of kind {event.message_id} cannot be read and is lost: {event.reason}"
        return [self._say(now, "undecodable", sentence)]

    def _notice(self, event: ErrorNotice, now: Instant) -> list[Effect]:
        if self.state not in OPEN:
            return []
        self._link.pulse.heard(now)
        row = lookup(event.code, event.req_id)
        doing = self._doings.get(row.effect)
        if doing is not None:
            return doing(event, row, now)
        said = self._say(now, "notice", f"IB says ({event.code}): {event.message}", event.code)
        return [said, Tell("reference", event)] if row.ends_request else [said]

    def _upstream_down(self, event: ErrorNotice, row: CodeRow, now: Instant) -> list[Effect]:
        self._link.upstream_lost = True
        if not self._move(Input.UPSTREAM_DOWN, now):
            return []
        sentence = f"TWS has lost its connection to IB ({row.meaning})."
        self._last_error, self._last_error_ns = sentence, now.ns
        return [
            *upstream_words(UpstreamDown(event.received_ns, event.code)),
            self._say(now, "upstream_lost", sentence, event.code),
        ]

    def _upstream_up(self, event: ErrorNotice, row: CodeRow, now: Instant) -> list[Effect]:
        text = "TWS has IB again and kept the subscriptions."
        return self._restored(now, event.received_ns, text, event.code)

    def _restored(self, now: Instant, at_ns: int, text: str, code: int | None = None) -> list[Effect]:
        self._link.upstream_lost = False
        self._move(Input.UPSTREAM_UP, now)
        if self.state not in UP:
            return []
        return [*upstream_words(UpstreamUp(at_ns, code)), self._say(now, "upstream_restored", text, code)]

    def _data_lost(self, event: ErrorNotice, row: CodeRow, now: Instant) -> list[Effect]:
        self._link.upstream_lost = False
        self._move(Input.UPSTREAM_UP, now)
        if self.state not in UP:
            return []
        return [
            *upstream_words(DataLost(event.received_ns, event.code)),
            self._say(now, "data_lost", "TWS has IB again and forgot the subscriptions; asking again.", event.code),
        ]

    def _reconnect(self, event: ErrorNotice, row: CodeRow, now: Instant) -> list[Effect]:
        if row.effect == "move_port":
            self._retries.moved(event.message)
        return self._drop(now, f"IB says ({event.code}): {event.message}", event.code)

    def _next_client_id(self, event: ErrorNotice, row: CodeRow, now: Instant) -> list[Effect]:
        self._retries.id_refused()
        self._link.client_id_in_use = True
        return self._drop(now, f"Client id {self._link.client_id} is in use by another program.", event.code)

    def _slow_down(self, event: ErrorNotice, row: CodeRow, now: Instant) -> list[Effect]:
        return [
            Tell("pacing", RateExceeded(event.code)),
            self._say(now, "rate_exceeded", "IB says that messages came too fast.", event.code),
        ]

    def _farm(self, event: ErrorNotice, row: CodeRow, now: Instant) -> list[Effect]:
        change = self._farms.note(row, event.message, now.s)
        if change is None:
            return []
        effects: list[Effect] = [self._say_farm(now, change, event.code)] if change.told else []
        return [*effects, *change.words(event.received_ns)] if self.state in UP else effects

    def _say_farm(self, now: Instant, change: FarmChange, code: int | None = None) -> Announce:
        return Announce(System(0, 0, now.ns, "farm", change.state, change.name, change.sentence, code, self._link.conn))

    # ---- what is told

    def _status(self, message: StatusQuery, now: Instant) -> list[Effect]:
        parts = {**message.parts, "session": self.status(now), "ready": readiness(self.state, message.parts)}
        ref = message.ref
        return [Answer(ref, Reply(id=ref.id, op=ref.op, status="result", result=parts), with_counters=True)]

    def status(self, now: Instant) -> dict[str, object]:
        """The session's part of the status."""
        waits = self.state in WAITING and self._state_until_s is not None
        return {
            "state": self.state.value,
            "since_ns": str(self._since_ns),
            **self._link.status(),
            "clock_offset_ms": None if self._clock_offset_ns is None else round(self._clock_offset_ns / 1e6, 1),
            "attempts": self._retries.attempts,
            "next_try_in_s": round(max(0.0, (self._state_until_s or 0.0) - now.s), 2) if waits else None,
            "market_data_type": self._config.market_data_type,
            "farms": self._farms.states(),
            "last_error": self._last_error or None,
            "last_error_ns": str(self._last_error_ns) if self._last_error else None,
            "stale_events": self._stale_events,
        }

    def _move(self, happened: Input, now: Instant) -> bool:
        """Takes the step of the table, if there is one."""
        target = TABLE.get((self.state, happened))
        if target is None:
            return False
        self.state, self._since_ns, self._state_until_s = target, now.ns, None
        return True

    def _say(self, now: Instant, event: str, message: str, code: int | None = None) -> Announce:
        return Announce(System(0, 0, now.ns, "connection", event, self.state.value, message, code, self._link.conn))
