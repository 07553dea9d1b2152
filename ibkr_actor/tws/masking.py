"""Account numbers out of frames: learnt from managedAccounts, replaced wherever they stand, length kept.

Reads no other message and changes nothing else; with the length kept, text and protobuf stay what they were.
"""

from __future__ import annotations

import re
from typing import Any, Final

from google.protobuf.message import DecodeError
from ibapi.protobuf import ManagedAccounts_pb2

from ibkr_actor.tws.allowlist import BINARY_ID_VERSION, PROTOBUF_OFFSET

MANAGED_ACCOUNTS: Final = 15  # Source: ibapi.message.IN
ERROR_MESSAGE: Final = 4
# What is shorter may be part of any word; it is replaced in the list of accounts only.
_SHORTEST_ANYWHERE: Final = 5
# The shapes of an account in IB's own texts, for notices that come before the list of accounts does.
_ACCOUNT_SHAPE: Final = re.compile(rb"(?<![A-Za-z0-9])(?:D?[UFI])(\d{5,9})(?![0-9])")
_PARTS: Final = re.compile(r"([A-Za-z]*)(.*)", re.DOTALL)


class AccountMask:
    """The accounts known so far, over all connections. `learn` before `mask`, for each frame of the gateway."""

    def __init__(self) -> None:
        # Account -> what stands for it, longest first, since one may begin as another does.
        self._masks: dict[bytes, bytes] = {}
        self._short: dict[bytes, bytes] = {}

    def learn(self, payload: bytes, server_version: int) -> None:
        """Takes the accounts out of a managedAccounts frame; any other is left alone."""
        for account in _accounts(payload, server_version):
            known = self._masks if len(account) >= _SHORTEST_ANYWHERE else self._short
            if account not in known:
                known[account] = _mask_of(account, len(self._masks) + len(self._short) + 1)
        self._masks = dict(sorted(self._masks.items(), key=lambda item: len(item[0]), reverse=True))

    def concerns(self, data: bytes) -> bool:
        """Whether an account stands anywhere in `data`."""
        return any(account in data for account in self._masks)

    def mask(self, payload: bytes, server_version: int) -> bytes:
        """The payload of a frame of either direction without the accounts in it."""
        number, _ = _message(payload, server_version)
        for account, mask in self._masks.items():
            if account in payload:
                payload = payload.replace(account, mask)
        if number == ERROR_MESSAGE:
            payload = _ACCOUNT_SHAPE.sub(lambda found: _zeroed(found[0], found[1]), payload)
        elif number == MANAGED_ACCOUNTS:
            for account, mask in self._short.items():
                payload = payload.replace(account, mask)
        return payload


def special_beginnings(server_version: int) -> tuple[bytes, ...]:
    """How the frames begin that must be looked into even when no known account stands in them."""
    numbers = (MANAGED_ACCOUNTS, ERROR_MESSAGE)
    if server_version < BINARY_ID_VERSION:
        return tuple(f"{number}\0".encode() for number in numbers)
    return tuple(each.to_bytes(4, "big") for number in numbers for each in (number, number + PROTOBUF_OFFSET))


def _message(payload: bytes, server_version: int) -> tuple[int, bool]:
    """Message id, -1 for none, and whether the body is protobuf."""
    if server_version >= BINARY_ID_VERSION:
        number = int.from_bytes(payload[:4], "big") if len(payload) >= 4 else -1
        return (number - PROTOBUF_OFFSET, True) if number > PROTOBUF_OFFSET else (number, False)
    head = payload[:4].partition(b"\0")[0]
    return int(head) if head.isdigit() else -1, False


def _accounts(payload: bytes, server_version: int) -> list[bytes]:
    number, protobuf = _message(payload, server_version)
    if number != MANAGED_ACCOUNTS:
        return []
    if protobuf:
        proto: Any = ManagedAccounts_pb2.ManagedAccounts()  # generated code is untyped
        try:
            proto.ParseFromString(payload[4:])
        except DecodeError:
            return []
        listed = proto.accountsList.encode()
    else:
        # id (or four bytes of it), version, accounts.
        listed = payload.rstrip(b"\0").rpartition(b"\0")[2]
    return [account for account in (part.strip() for part in listed.split(b",")) if account]


def _mask_of(account: bytes, number: int) -> bytes:
    """Its letters, then a running number in as many digits as there is room for: DU1234567 is DU0000001."""
    parts = _PARTS.fullmatch(account.decode("latin-1"))
    letters, rest = (parts[1], parts[2]) if parts is not None else ("", "")
    if not rest:
        letters, rest = "X" * (len(account) // 2), account.decode("latin-1")[len(account) // 2 :]
    return (letters + str(number).zfill(len(rest))[-len(rest) :]).encode("latin-1")


def _zeroed(found: bytes, digits: bytes) -> bytes:
    """An account of which only the shape is known; one that is masked already stays."""
    return found if digits.startswith(b"000") else found[: -len(digits)] + b"0" * len(digits)
