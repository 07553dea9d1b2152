"""Owns what is said of tries in vain, so that one outage is one message and not two hundred.

Decides no try: `core.session.reconnecting` does.
"""

from __future__ import annotations

from typing import Final

from ibkr_actor.core.session.states import PATIENT, State

# Causes that are told at once, of one outage.
_CAUSES_MAX: Final = 50


class OutageWords:
    """From one usable connection to the next. Tries in a row are told of by their number: 1, 2, 4, 8 and so on."""

    def __init__(self) -> None:
        # The patient wait that was said: none of its tries is news.
        self._patient: State | None = None
        self._causes: set[str] = set()

    @property
    def is_patient(self) -> bool:
        """Whether what a try comes to is no news unless it works."""
        return self._patient is not None

    def tells_try(self, number: int) -> bool:
        """Whether it is said that a try begins."""
        return not self.is_patient and _is_news(number)

    def broke(self, state: State, sentence: str, number: int, *, was_up: bool) -> str | None:
        """The event to tell when a connection or a try ended, which left the session in `state`; None for no news."""
        patient = state if state in PATIENT else None
        if patient is not None and self._patient is patient:
            return None
        known = patient is None and self._patient is None and sentence in self._causes
        if known and not was_up and not _is_news(number):
            return None
        self._patient = patient
        if len(self._causes) < _CAUSES_MAX:
            self._causes.add(sentence)
        return "lost" if was_up else patient.value if patient else "unreachable"

    def tries(self, number: int) -> str:
        """How many there were, when there were several."""
        return f"That was try {number} in a row." if number > 1 and not self.is_patient else ""


def _is_news(number: int) -> bool:
    return number & (number - 1) == 0
