"""Owns what follows from a connection that broke: whether to try again, when, as which client, and what it is called.

Moves no state and says nothing: `core.session.core` does.
"""

from __future__ import annotations

import random
import re
from typing import Final

from msgspec import Struct

from ibkr_actor.core.config import SessionConfig
from ibkr_actor.core.effects import Instant
from ibkr_actor.core.session.reset_windows import window_at
from ibkr_actor.core.session.states import Input, Link

# "... Please reconnect on the new port - 7498"
_PORT: Final = re.compile(r"\b(\d{4,5})\W*$")


class Verdict(Struct, frozen=True):
    """What happened, by the name of the table's input; how long to wait; and one more sentence for people."""

    happened: Input
    delay_s: float | None
    sentence: str


class Reconnecting:
    """Counts tries and refusals over all connections of a session."""

    def __init__(self, config: SessionConfig, rng: random.Random) -> None:
        self._config = config
        self._rng = rng
        # Tries in a row without a stable connection; 0 again after `stable_s` of being ready.
        self.attempts = 0
        self._client_index = 0
        # Where the gateway said it went (1300), and how often a connection to there or to the port set came to nothing.
        self._moved_to: int | None = None
        self._moved_tries = 0
        # Client ids of the pool refused (326) in a row; 0 again when one is taken.
        self._ids_refused = 0
        # Connections in a row that were taken and came to nothing: a gateway at its login window does that.
        self._taken_in_vain = 0

    @property
    def client_id(self) -> int:
        """The client id of the next connection."""
        ids = self._config.client_ids
        return ids[self._client_index % len(ids)]

    @property
    def port(self) -> int | None:
        """The port of the next connection; None for the one that is set.

        After 1300 it is the one the gateway named. That may be a port of its own host that cannot be reached from
        here, behind a container's mapping for one: so if it fails, the one that is set has its turn, and so on.
        """
        return self._moved_to if self._moved_tries % 2 == 0 else None

    def moved(self, text: str) -> None:
        """The gateway left for another port, which stands at the end of its text in any language."""
        found = _PORT.search(text)
        self._moved_to, self._moved_tries = int(found[1]) if found else None, 0

    def started(self) -> None:
        """A session that had given up begins anew."""
        self.attempts = 0

    def worked(self) -> None:
        """A connection became usable."""
        if self.port is None:
            self._moved_to, self._moved_tries = None, 0
        self._ids_refused = self._taken_in_vain = 0

    def id_refused(self) -> None:
        """The client id is in use by another program: the next of the pool is to be tried."""
        self._client_index += 1
        self._ids_refused += 1

    def broke(self, link: Link, now: Instant, *, taken_in_vain: bool) -> Verdict:
        """Judges the end of a connection. `taken_in_vain`: the gateway took it and never said that it is ready."""
        config = self._config
        if link.ready_s is not None and now.s - link.ready_s >= config.stable_s:
            self.attempts = 0
        self.attempts += 1
        self._moved_tries += link.ready_s is None
        self._taken_in_vain = self._taken_in_vain + 1 if taken_in_vain and not link.client_id_in_use else 0
        if not config.reconnect_enabled:
            return Verdict(Input.EXHAUSTED, None, "Reconnecting is off; start the session anew to go on.")
        if 0 < config.max_attempts <= self.attempts:
            why = f"The session gives up after {self.attempts} tries; start it anew to go on."
            return Verdict(Input.EXHAUSTED, None, why)
        window = window_at(config.reset_windows, now.ns)
        if window is not None:
            left_min = max(1, round((window[1] - now.ns) / 60e9))
            why = f"This is the time of {window[0].name}, for {left_min} min yet."
            return Verdict(Input.SCHEDULED, self._backoff_s(link, config.scheduled_retry_s), why)
        if self._taken_in_vain >= config.login_after:
            why = f"It took {self._taken_in_vain} connections and never was ready: it probably waits for its login."
            return Verdict(Input.LOGIN_NEEDED, config.login_retry_s * self._rng.uniform(0.5, 1.0), why)
        return Verdict(Input.BROKEN, self._backoff_s(link, config.backoff_max_s), "")

    def _backoff_s(self, link: Link, max_s: float) -> float:
        """Doubling up to the maximum, jittered over its upper half so that several sidecars do not march in step."""
        config = self._config
        if link.client_id_in_use and self._ids_refused < len(config.client_ids):
            return config.backoff_initial_s
        exponent = min(self.attempts - 1, 32)
        full_s: float = min(max_s, config.backoff_initial_s * 2.0**exponent)
        return full_s * self._rng.uniform(0.5, 1.0)
