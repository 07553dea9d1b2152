"""Owns the proof that the req_id is found and replaced in every kind of frame, at every version.

Must not open a socket.
"""

from __future__ import annotations

import pytest

from ibkr_actor.sim import messages as m
from ibkr_actor.sim.replay.frame_ids import answer_req_id, request_without_id, varint, with_answer_req_id
from ibkr_actor.sim.wire.frames import split_frame
from ibkr_actor.sim.wire.responses import LAYOUTS, Encoder
from tests.sim.peers import VERSIONS, Requests, stock
from tests.sim.test_decoders import CASES

MESSAGES = {type(message): message for message, _ in CASES if message.req_id >= 0}
# Answers without a req_id, or of the kinds that go to nobody in particular.
WITHOUT = {9, 15, 19, 49, 53, 54, 62, 80, 85, 93, 102, 109}
WITH_ID = [message for kind, message in MESSAGES.items() if LAYOUTS[kind].message_id not in WITHOUT]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("message", WITH_ID, ids=lambda message: type(message).__name__)
def test_a_frame_with_another_req_id_is_the_frame_the_gateway_would_have_sent(version: int, message: m.Message) -> None:
    encoder = Encoder(version)
    payload = encoder.encode(message)[4:]
    message_id, body, protobuf = split_frame(payload, version)
    assert answer_req_id(message_id, body, protobuf=protobuf, server_version=version) == message.req_id
    for req_id in (0, 1, 127, 128, 2_147_483_647):
        expected = encoder.encode(m.with_req_id(message, req_id))[4:]
        assert with_answer_req_id(payload, req_id, server_version=version) == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_only_messages_of_no_request_have_no_req_id(version: int) -> None:
    without = set()
    for kind, message in MESSAGES.items():
        message_id, body, protobuf = split_frame(Encoder(version).encode(message)[4:], version)
        if answer_req_id(message_id, body, protobuf=protobuf, server_version=version) is None:
            without.add(LAYOUTS[kind].message_id)
    assert without == {LAYOUTS[kind].message_id for kind in MESSAGES} & WITHOUT


@pytest.mark.parametrize("version", VERSIONS)
def test_a_notice_has_the_req_id_minus_one(version: int) -> None:
    payload = Encoder(version).encode(m.ErrorMessage(req_id=-1, code=2104, text="ok", time_ms=1))[4:]
    message_id, body, protobuf = split_frame(payload, version)
    assert answer_req_id(message_id, body, protobuf=protobuf, server_version=version) == -1


@pytest.mark.parametrize("version", [178, 205, 226])
def test_two_requests_that_differ_by_their_id_alone_have_the_same_rest(version: int) -> None:
    rests = []
    for req_id in (1, 300):
        client = Requests(version)
        client.reqMktData(req_id, stock("AAPL"), "233", False, False, [])
        message_id, body, protobuf = split_frame(client.sent[0][4:], version)
        assert message_id == 1
        rests.append(request_without_id(body, req_id, protobuf=protobuf))
    assert rests[0] == rests[1]
    assert b"AAPL" in rests[0]


def test_numbers_are_written_as_protobuf_does() -> None:
    assert (varint(0), varint(127), varint(128), varint(300)) == (b"\0", b"\x7f", b"\x80\x01", b"\xac\x02")
    assert varint(-1) == b"\xff" * 9 + b"\x01"
