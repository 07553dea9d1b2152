"""What every command may carry.

Holds no command: those stand in `schema.commands` and `schema.reference_commands`.
"""

from __future__ import annotations

from msgspec import Struct


class Command(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag_field="op"):
    """What every command may carry.

    `id` defaults to the entry's id and makes the command idempotent; `client` to the key's suffix, else `anonymous`;
    `deadline_ms` is a UTC time in milliseconds since 1970 after which the command is answered `expired`.
    """

    id: str = ""
    client: str = ""
    deadline_ms: int | None = None
