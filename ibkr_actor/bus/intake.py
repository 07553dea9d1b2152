"""From an entry of a command stream to a command with its client and id, or to the reason why it is none.

Pure: no Redis, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ibkr_actor.core.effects import CommandRef
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.schema.codec import BadCommand, decode_command
from ibkr_actor.schema.commands import ANONYMOUS, AnyCommand, Code
from ibkr_actor.schema.keys import CLIENT_PATTERN, Keys

ID_CHARS_MAX: Final = 200


class Command(Struct, frozen=True):
    """A command that was understood; `client` and `id` are filled in."""

    ref: CommandRef
    command: AnyCommand
    has_own_id: bool

    def is_expired(self, now_ms: int) -> bool:
        return self.command.deadline_ms is not None and now_ms > self.command.deadline_ms


class Bad(Struct, frozen=True):
    """An entry that is no command, and to whom to say so."""

    ref: CommandRef
    code: Code
    message: str


class Intake:
    """Knows the command streams and whose they are."""

    def __init__(self, keys: Keys, commanders: Sequence[str]) -> None:
        for name in commanders:
            if not CLIENT_PATTERN.fullmatch(name):
                raise ConfigurationError(f"IBKR_COMMANDERS: {name!r} is no client name ({CLIENT_PATTERN.pattern})")
        # key -> the client it belongs to; empty for the stream of all
        self.clients = {keys.commands(): "", **{keys.commands(name): name for name in commanders}}

    def understand(self, key: str, entry_id: str, fields: Mapping[bytes, bytes]) -> Command | Bad:
        """The command of one entry."""
        owner = self.clients[key]
        try:
            command = decode_command(fields)
            client = _client(command.client, owner)
            if len(command.id) > ID_CHARS_MAX:
                raise BadCommand(f"an id has at most {ID_CHARS_MAX} characters", client=client)
        except BadCommand as bad:
            client = owner or (bad.client if CLIENT_PATTERN.fullmatch(bad.client) else ANONYMOUS)
            return Bad(CommandRef(key, entry_id, client, bad.id or entry_id, ""), bad.code, str(bad))
        ref = CommandRef(key, entry_id, client, command.id or entry_id, str(command.__struct_config__.tag))
        return Command(ref, replace(command, id=ref.id, client=client), bool(command.id))


def _client(named: str, owner: str) -> str:
    """Who sent it: the owner of the stream, else whoever it names.

    Raises:
        BadCommand: another client's name on an owned stream, or no possible name.
    """
    if owner:
        if named not in ("", owner):
            raise BadCommand(f"client {named[:64]!r} may not write to the command stream of {owner!r}")
        return owner
    if named and not CLIENT_PATTERN.fullmatch(named):
        raise BadCommand("a client's name has 1 to 64 characters of A-Z a-z 0-9 _ . -")
    return named or ANONYMOUS
