"""Account numbers leave no frame, and nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest
from ibapi.protobuf import ErrorMessage_pb2, ManagedAccounts_pb2, SymbolSamples_pb2

from ibkr_actor.tws.masking import AccountMask, special_beginnings


def accounts_frame(accounts: str, server_version: int) -> bytes:
    if server_version < 201:
        return f"15\0001\0{accounts}\0".encode()
    if server_version < 213:
        return (15).to_bytes(4, "big") + f"1\0{accounts}\0".encode()
    proto: Any = ManagedAccounts_pb2.ManagedAccounts(accountsList=accounts)
    return (215).to_bytes(4, "big") + bytes(proto.SerializeToString())


def learnt(accounts: str, server_version: int = 178) -> AccountMask:
    mask = AccountMask()
    mask.learn(accounts_frame(accounts, server_version), server_version)
    return mask


@pytest.mark.parametrize("version", [178, 206, 226])
def test_the_accounts_of_a_login_are_replaced_at_the_same_length(version: int) -> None:
    frame = accounts_frame("DU1234567,U7654321,", version)
    mask = learnt("DU1234567,U7654321,", version)
    masked = mask.mask(frame, version)
    assert masked == accounts_frame("DU0000001,U0000002,", version)
    assert frame.startswith(special_beginnings(version))


def test_an_account_is_replaced_in_frames_of_both_directions_and_in_protobuf() -> None:
    mask = learnt("DU1234567")
    assert mask.mask(b"62\0001\0007\0DU1234567\0tag\0", 178) == b"62\0001\0007\0DU0000001\0tag\0"
    proto: Any = SymbolSamples_pb2.SymbolSamples(reqId=3)
    proto.contractDescriptions.add().contract.description = "of DU1234567 and DU12345678"
    payload = (279).to_bytes(4, "big") + bytes(proto.SerializeToString())
    masked = mask.mask(payload, 226)
    read: Any = SymbolSamples_pb2.SymbolSamples()
    read.ParseFromString(masked[4:])
    assert read.contractDescriptions[0].contract.description == "of DU0000001 and DU00000018"
    assert len(masked) == len(payload)


def test_of_two_accounts_that_begin_alike_each_is_replaced_whole() -> None:
    mask = learnt("U123456,U1234567")
    assert mask.mask(b"6\0U1234567\0U123456\0", 178) == b"6\0U0000002\0U000001\0"


@pytest.mark.parametrize("version", [178, 226])
def test_an_account_in_a_notice_that_comes_before_the_accounts_is_masked_by_its_shape(version: int) -> None:
    text = "Order rejected for account U7654321, symbol ESU6"
    if version == 178:
        payload = f"4\0002\0-1\000321\0{text}\0\0".encode()
    else:
        proto: Any = ErrorMessage_pb2.ErrorMessage(id=-1, errorCode=321, errorMsg=text)
        payload = (204).to_bytes(4, "big") + bytes(proto.SerializeToString())
    masked = AccountMask().mask(payload, version)
    assert masked == payload.replace(b"U7654321", b"U0000000")


def test_a_frame_without_an_account_stays_as_it_is() -> None:
    mask = learnt("DU1234567")
    assert mask.mask(b"1\0006\0007\0001\000227.5\000100\0000\0", 178) == b"1\0006\0007\0001\000227.5\000100\0000\0"
    assert not mask.concerns(b"1\0006\0007\000")
    assert mask.concerns(b"...DU1234567...")


def test_an_account_of_a_few_letters_does_not_change_words_elsewhere() -> None:
    mask = learnt("All")
    assert mask.mask(b"97\0001\0AllLast\0", 178) == b"97\0001\0AllLast\0"
    assert b"All" not in mask.mask(accounts_frame("All", 178), 178)


def test_a_damaged_list_of_accounts_is_left_to_the_decoder() -> None:
    mask = AccountMask()
    mask.learn((215).to_bytes(4, "big") + b"\xff\xff", 226)
    mask.learn(b"\x00", 226)
    mask.learn(b"", 178)
    assert not mask.concerns(b"DU1234567")
