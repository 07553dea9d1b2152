"""Owns `reload`: which settings change while the sidecar runs, and which of those that differ wait for a restart.

Reads the settings by the function it was given and applies what may change; touches no connection and no stream.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from ibkr_actor import configs
from ibkr_actor.core.effects import ActorName
from ibkr_actor.core.messages import Reconfigure
from ibkr_actor.settings import Settings

# Settings that are looked at anew for each command, or are the process's own. Everything else shapes a part that runs.
CHANGEABLE: Final = ("heal", "lease_max_s", "lease_s", "log_level", "subscriptions_max")

log = logging.getLogger(__name__)


class Reloaded(Struct, frozen=True):
    """What came of a reload: names with their new values, and names of what differs but waits for a restart."""

    changed: dict[str, object]
    needs_restart: list[str]

    @property
    def sentence(self) -> str:
        """The same for people."""
        told = ", ".join(f"{name}={value}" for name, value in self.changed.items()) or "nothing"
        waits = f"; waiting for a restart: {', '.join(self.needs_restart)}" if self.needs_restart else ""
        return f"Changed {told}{waits}."


class Reloading:
    """The settings in force. `reread` gives those of now; without it there is nothing to read."""

    def __init__(
        self,
        settings: Settings,
        reread: Callable[[], Settings] | None,
        tell: Callable[[ActorName, Struct], None],
        *,
        speed: float = 1.0,
    ) -> None:
        self._settings = settings
        self._reread = reread
        self._tell = tell
        self._speed = speed

    def reload(self) -> Reloaded:
        """Reads the settings and applies what may change. An impossible setting changes nothing at all.

        Raises: ConfigurationError with what is wrong.
        """
        if self._reread is None:
            return Reloaded({}, [])
        wanted = self._reread()
        before, after = self._settings.model_dump(), wanted.model_dump()
        different = sorted(name for name in before if before[name] != after[name])
        changed: dict[str, object] = {name: after[name] for name in different if name in CHANGEABLE}
        if changed:
            self._settings = self._settings.model_copy(update=changed)
            self._tell("subscriptions", Reconfigure(configs.subscriptions(self._settings, self._speed)))
        if "log_level" in changed:
            logging.getLogger().setLevel(self._settings.log_level.upper())
        found = Reloaded(changed, [name for name in different if name not in CHANGEABLE])
        log.info("settings_reloaded changed=%s needs_restart=%s", sorted(changed), found.needs_restart)
        return found
