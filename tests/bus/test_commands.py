"""The command reader on a real server: every command is handed on once, answered, expired or in `dead`."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest

from ibkr_actor.bus.config import BusConfig, CommandConfig, ReplyConfig
from ibkr_actor.bus.intake import Intake
from ibkr_actor.errors import ConfigurationError, Fenced
from ibkr_actor.schema.commands import Reply, StatusCommand, Subscribe
from ibkr_actor.schema.keys import Keys
from tests.bus.kit import Probe, bus_config, reading, replies, until

pytestmark = pytest.mark.anyio

COMMANDERS = ("strat-1", "strat-2")


def with_commands(config: BusConfig, **fields: Any) -> BusConfig:
    """Short blocks, since a killed test would else wait for one."""
    commands = CommandConfig(commanders=COMMANDERS, block_ms=200, **fields)
    return bus_config(config.redis.url, config.gateway, commands=commands)


async def write(probe: Probe, command: dict[str, Any] | str | bytes, client: str = "", field: str = "j") -> str:
    """As a person would type it; the entry's id."""
    value = json.dumps(command) if isinstance(command, dict) else command
    entry_id = await probe.do("XADD", probe.keys.commands(client), "*", field, value)
    assert isinstance(entry_id, bytes)
    return entry_id.decode()


async def left(probe: Probe, client: str = "") -> int:
    """Entries in a command stream; none are pending when it is empty."""
    key = probe.keys.commands(client)
    pending = await probe.do("XPENDING", key, "ibkr_actor")
    length = await probe.do("XLEN", key)
    assert isinstance(length, int)
    assert length > 0 or pending[0] == 0
    return length


async def dead(probe: Probe) -> list[dict[str, str]]:
    found = []
    for _, fields in await probe.do("XRANGE", probe.keys.dead, "-", "+"):
        texts = [field.decode(errors="replace") for field in fields]
        found.append(dict(zip(texts[::2], texts[1::2], strict=True)))
    return found


async def one_reply(probe: Probe, client: str = "anonymous") -> Reply:
    (reply,) = await replies(probe, client)
    return reply


async def test_a_command_typed_by_hand_is_handed_on_with_the_entry_id_as_its_id(
    config: BusConfig, probe: Probe
) -> None:
    async with reading(with_commands(config)) as desk:
        entry_id = await write(probe, {"op": "subscribe", "instrument": "AAPL", "kinds": ["quote"]})
        (received,) = await desk.wait(1)
    ref = received.ref
    assert (ref.key, ref.entry_id, ref.client, ref.id, ref.op) == (
        probe.keys.commands(),
        entry_id,
        "anonymous",
        entry_id,
        "subscribe",
    )
    assert received.command == Subscribe(instrument="AAPL", kinds=["quote"], id=entry_id, client="anonymous")


async def test_a_command_in_msgpack_is_read_by_its_field(config: BusConfig, probe: Probe) -> None:
    async with reading(with_commands(config)) as desk:
        await write(probe, msgspec.msgpack.encode({"op": "status", "id": "a", "client": "x"}), field="d")
        (received,) = await desk.wait(1)
    assert received.command == StatusCommand(id="a", client="x")


async def test_the_owner_of_a_command_stream_is_the_client(config: BusConfig, probe: Probe) -> None:
    async with reading(with_commands(config)) as desk:
        await write(probe, {"op": "status"}, "strat-1")
        await write(probe, {"op": "status", "client": "strat-2"}, "strat-2")
        received = await desk.wait(2)
    assert sorted(one.ref.client for one in received) == ["strat-1", "strat-2"]


async def test_another_clients_name_on_an_owned_stream_is_refused_to_the_owner(config: BusConfig, probe: Probe) -> None:
    async with reading(with_commands(config)) as desk:
        await write(probe, {"op": "status", "client": "strat-2", "id": "x"}, "strat-1")
        await until(lambda: desk.count("commands_bad") == 1)
        await desk.settled()
        assert desk.received == []
    reply = await one_reply(probe, "strat-1")
    assert reply.status == "rejected"
    assert reply.error is not None
    assert reply.error.message == "client 'strat-2' may not write to the command stream of 'strat-1'"
    assert await replies(probe, "strat-2") == []


async def test_commands_written_while_no_sidecar_ran_are_done(config: BusConfig, probe: Probe) -> None:
    for n in range(3):
        await write(probe, {"op": "status", "id": f"c{n}"})
    async with reading(with_commands(config)) as desk:
        assert [one.ref.id for one in await desk.wait(3)] == ["c0", "c1", "c2"]


async def test_an_answered_command_is_gone_from_its_stream(config: BusConfig, probe: Probe) -> None:
    async with reading(with_commands(config)) as desk:
        await write(probe, {"op": "status", "id": "a"})
        (received,) = await desk.wait(1)
        assert await left(probe) == 1
        desk.accept(received)
        await desk.settled()
        assert await left(probe) == 0
    assert await one_reply(probe) == Reply("a", "status", "accepted")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("not json", "cannot be decoded"),
        ("[1,2]", "a command is an object"),
        ('{"op":"fly"}', "op 'fly' is unknown"),
        ('{"op":"chain","id":"h"}', "missing required field `instrument`"),
        ('{"op":"status","client":"a b"}', "a client's name has 1 to 64 characters"),
        ('{"op":"status","id":"' + "i" * 201 + '"}', "an id has at most 200 characters"),
        ('{"op":"status","colour":"red"}', "colour"),
        ('{"x":' + "[" * 50_000, "nested too deeply"),
        ('{"op":"status","id":"' + "x" * 70_000 + '"}', "at most 65536 bytes"),
    ],
)
async def test_what_is_no_command_is_rejected_with_the_reason_and_stands_in_dead(
    config: BusConfig, probe: Probe, value: str, message: str
) -> None:
    async with reading(with_commands(config)) as desk:
        entry_id = await write(probe, value)
        await until(lambda: desk.count("commands_bad") == 1)
        await desk.settled()
        assert await left(probe) == 0
        assert desk.received == []
    reply = await one_reply(probe)
    assert reply.error is not None
    assert message in reply.error.message
    (letter,) = await dead(probe)
    assert (letter["key"], letter["id"]) == (probe.keys.commands(), entry_id)
    assert message in letter["reason"]
    assert letter["payload"] == value[:1024]


async def test_a_rejection_goes_to_the_client_that_can_still_be_read(config: BusConfig, probe: Probe) -> None:
    async with reading(with_commands(config)) as desk:
        await write(probe, {"op": "status", "client": "me", "id": "q", "colour": 1})
        await until(lambda: desk.count("commands_bad") == 1)
        await desk.settled()
    reply = await one_reply(probe, "me")
    assert (reply.id, reply.status) == ("q", "rejected")


async def test_an_entry_without_the_right_field_is_rejected(config: BusConfig, probe: Probe) -> None:
    async with reading(with_commands(config)) as desk:
        await write(probe, {"op": "status"}, field="x")
        await until(lambda: desk.count("commands_bad") == 1)
        await desk.settled()
    reply = await one_reply(probe)
    assert reply.error is not None
    assert "exactly one of the fields j" in reply.error.message


async def test_random_bytes_do_not_keep_the_next_command_from_being_done(config: BusConfig, probe: Probe) -> None:
    rng = random.Random(7)
    async with reading(with_commands(config)) as desk:
        for n in range(200):
            await write(probe, rng.randbytes(rng.randrange(200)), field="jd"[n % 2])
        await write(probe, {"op": "status", "id": "good"}, "strat-1")
        received = await desk.wait(1)
        await until(lambda: desk.count("commands_bad") == 200)
        await desk.settled()
        assert [one.ref.id for one in received] == ["good"]
        assert await left(probe) == 0
    assert len(await dead(probe)) == 200


async def test_the_same_id_again_gets_the_remembered_answer_and_is_not_done_again(
    config: BusConfig, probe: Probe
) -> None:
    async with reading(with_commands(config)) as desk:
        await write(probe, {"op": "status", "id": "a"})
        (received,) = await desk.wait(1)
        desk.accept(received)
        await desk.settled()
        await write(probe, {"op": "status", "id": "a"})
        await until(lambda: desk.count("commands_answered_again") == 1)
        assert await left(probe) == 0
        assert len(desk.received) == 1
    assert await replies(probe) == [Reply("a", "status", "accepted")] * 2


async def test_the_answer_is_remembered_over_a_restart(config: BusConfig, probe: Probe) -> None:
    async with reading(with_commands(config)) as desk:
        await write(probe, {"op": "status", "id": "a"})
        (received,) = await desk.wait(1)
        desk.accept(received)
        await desk.settled()
    await write(probe, {"op": "status", "id": "a"})
    async with reading(with_commands(config)) as desk:
        await until(lambda: desk.count("commands_answered_again") == 1)
    assert len(await replies(probe)) == 2


async def test_remembered_answers_are_bounded_and_the_older_half_is_forgotten_first(
    config: BusConfig, probe: Probe
) -> None:
    few = bus_config(
        config.redis.url,
        config.gateway,
        replies=ReplyConfig(answered_max=5),
        commands=CommandConfig(block_ms=200),
    )
    async with reading(few) as desk:
        for n in range(12):
            await write(probe, {"op": "status", "id": f"c{n}"})
            desk.accept((await desk.wait(n + 1))[n])
        await desk.settled()
        for n in (0, 5, 11):
            await write(probe, {"op": "status", "id": f"c{n}"})
        await until(lambda: desk.count("commands_answered_again") == 2)
        assert [one.ref.id for one in await desk.wait(13)][12:] == ["c0"]
    key = probe.keys.answered("anonymous")
    assert await probe.do("HLEN", key) + await probe.do("HLEN", f"{key}:before") <= 10
    assert await probe.do("TTL", key) > 0
    assert await probe.do("TTL", f"{key}:before") > 0


async def test_a_command_past_its_deadline_is_answered_expired(config: BusConfig, probe: Probe) -> None:
    async with reading(with_commands(config), now_ns=lambda: 2_000 * 1_000_000) as desk:
        await write(probe, {"op": "status", "id": "late", "deadline_ms": 1_999})
        await write(probe, {"op": "status", "id": "just", "deadline_ms": 2_000})
        (received,) = await desk.wait(1)
        await desk.settled()
        assert received.ref.id == "just"
    reply = await one_reply(probe)
    assert (reply.id, reply.status) == ("late", "expired")
    assert reply.error is not None
    assert reply.error.code == "expired"


async def test_a_command_in_flight_is_not_handed_on_again_after_a_lost_connection(
    config: BusConfig, probe: Probe
) -> None:
    async with reading(with_commands(config, claim_every_s=0.0)) as desk:
        await write(probe, {"op": "status", "id": "a"})
        await desk.wait(1)
        for n in range(5):
            await probe.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await until(lambda n=n: desk.readable == n + 1)  # type: ignore[misc]
        await write(probe, {"op": "status", "id": "b"})
        received = await desk.wait(2)
        assert [one.ref.id for one in received] == ["a", "b"]
        for one in received:
            desk.accept(one)
        await desk.settled()
        assert await left(probe) == 0
        assert desk.count("commands_dead") == 0


async def test_an_outage_is_told_so_that_leases_start_anew(config: BusConfig, probe: Probe) -> None:
    async with reading(with_commands(config)) as desk:
        await write(probe, {"op": "status"})
        await desk.wait(1)
        assert desk.readable == 0
        await probe.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await until(lambda: desk.readable == 1)


async def test_a_command_left_by_a_crashed_sidecar_is_done_again_and_buried_after_three_attempts(
    config: BusConfig, probe: Probe
) -> None:
    entry_id = await write(probe, {"op": "status", "id": "poison", "client": "me"})
    for _ in range(3):
        async with reading(with_commands(config)) as desk:  # each is killed before it has answered
            assert [one.ref.id for one in await desk.wait(1)] == ["poison"]
    async with reading(with_commands(config)) as desk:
        await until(lambda: desk.count("commands_dead") == 1)
        await desk.settled()
        assert desk.received == []
        assert await left(probe) == 0
    reply = await one_reply(probe, "me")
    assert reply.error is not None
    assert (reply.id, reply.error.code) == ("poison", "internal")
    (letter,) = await dead(probe)
    assert (letter["id"], letter["client"]) == (entry_id, "me")
    assert letter["reason"] == "the command failed 3 times and is not tried again"


async def test_what_an_older_consumer_took_is_claimed_and_its_name_forgotten(config: BusConfig, probe: Probe) -> None:
    key = probe.keys.commands()
    await probe.do("XGROUP", "CREATE", key, "ibkr_actor", "0", "MKSTREAM")
    await write(probe, {"op": "status", "id": "taken"})
    await probe.do("XREADGROUP", "GROUP", "ibkr_actor", "e1", "STREAMS", key, ">")
    async with reading(with_commands(config)) as desk:
        (received,) = await desk.wait(1)
        desk.accept(received)
        await desk.settled()
        await until(lambda: desk.reader._claimed_at > 0)
        consumers = await probe.do("XINFO", "CONSUMERS", key, "ibkr_actor")
        names = {dict(zip(row[::2], row[1::2], strict=True))[b"name"].decode() for row in consumers}
        assert names == {f"e{desk.epoch}"}


async def test_a_fenced_sidecars_late_catch_is_claimed_while_running(config: BusConfig, probe: Probe) -> None:
    key = probe.keys.commands()
    async with reading(with_commands(config, claim_every_s=0.0)) as desk:
        await write(probe, {"op": "status", "id": "first"}, "strat-1")
        await desk.wait(1)
        await probe.do("XGROUP", "SETID", key, "ibkr_actor", "$")
        await write(probe, {"op": "status", "id": "caught"}, "strat-2")  # keeps the reader turning
        entry_id = await probe.do(
            "EVAL",
            "local id = redis.call('XADD', KEYS[1], '*', 'j', ARGV[1])"
            " redis.call('XREADGROUP', 'GROUP', 'ibkr_actor', 'e1', 'STREAMS', KEYS[1], '>') return id",
            1,
            key,
            json.dumps({"op": "status", "id": "late"}),
        )
        received = await desk.wait(3)
        assert received[2].ref.entry_id == entry_id.decode()


async def test_a_pending_entry_that_was_deleted_is_acknowledged(config: BusConfig, probe: Probe) -> None:
    key = probe.keys.commands()
    await probe.do("XGROUP", "CREATE", key, "ibkr_actor", "0", "MKSTREAM")
    entry_id = await write(probe, {"op": "status"})
    await probe.do("XREADGROUP", "GROUP", "ibkr_actor", "e1", "STREAMS", key, ">")
    await probe.do("XDEL", key, entry_id)
    async with reading(with_commands(config)) as desk:
        await write(probe, {"op": "status", "id": "next"})
        (received,) = await desk.wait(1)
        desk.accept(received)
        await desk.settled()
        assert await left(probe) == 0


@pytest.mark.parametrize("harm", ["FLUSHALL", "DEL", "XGROUP DESTROY"])
async def test_a_lost_group_or_stream_comes_back_and_commands_are_read_on(
    config: BusConfig, probe: Probe, harm: str
) -> None:
    key = probe.keys.commands()
    async with reading(with_commands(config)) as desk:
        await write(probe, {"op": "status", "id": "before"})
        await desk.wait(1)
        words = {"FLUSHALL": ["FLUSHALL"], "DEL": ["DEL", key], "XGROUP DESTROY": ["XGROUP", "DESTROY", key]}[harm]
        await probe.do(*words, *(["ibkr_actor"] if "XGROUP" in harm else []))
        await write(probe, {"op": "status", "id": "after"})
        received = await desk.wait(2)
        assert [one.ref.id for one in received] == ["before", "after"]
        for one in received:
            desk.accept(one)
        await desk.settled()
        assert await left(probe) == 0
    assert {reply.id for reply in await replies(probe)} >= {"before", "after"}


async def test_another_command_under_the_id_of_one_in_flight_is_a_new_one(config: BusConfig, probe: Probe) -> None:
    key = probe.keys.commands()
    async with reading(with_commands(config)) as desk:
        await probe.do("XADD", key, "5-0", "j", '{"op":"status","id":"before"}')
        await desk.wait(1)
        await probe.do("DEL", key)
        await probe.do("XADD", key, "5-0", "j", '{"op":"status","id":"after"}')
        assert [one.ref.id for one in await desk.wait(2)] == ["before", "after"]


async def test_a_command_key_of_another_type_does_not_keep_the_others_from_being_read(
    config: BusConfig, probe: Probe
) -> None:
    await probe.do("SET", probe.keys.commands("strat-1"), "not a stream")
    async with reading(with_commands(config, claim_every_s=0.0)) as desk:
        await write(probe, {"op": "status", "id": "a"}, "strat-2")
        await desk.wait(1)
        await probe.do("DEL", probe.keys.commands("strat-1"))
        await write(probe, {"op": "status", "id": "b"}, "strat-1")
        assert [one.ref.id for one in await desk.wait(2)] == ["a", "b"]


async def test_with_too_many_in_flight_the_rest_waits(config: BusConfig, probe: Probe) -> None:
    async with reading(with_commands(config, in_flight_max=2, read_count=1)) as desk:
        for n in range(4):
            await write(probe, {"op": "status", "id": f"c{n}"})
        await desk.wait(2)
        await until(lambda: desk.reader._room is not None)
        assert len(desk.received) == 2
        for one in list(desk.received):
            desk.accept(one)
        assert [one.ref.id for one in await desk.wait(4)] == ["c0", "c1", "c2", "c3"]


async def test_with_too_many_in_flight_and_a_long_backlog_commands_are_answered_busy(
    config: BusConfig, probe: Probe
) -> None:
    for n in range(12):
        await write(probe, {"op": "status", "id": f"c{n}"})
    async with reading(with_commands(config, in_flight_max=2, read_count=2, backlog_max=6)) as desk:
        await until(lambda: desk.count("commands_busy") >= 6)
        await desk.settled()
        assert [one.ref.id for one in desk.received] == ["c0", "c1"]
        for one in list(desk.received):
            desk.accept(one)
        await desk.wait(3)
    refused = [reply for reply in await replies(probe) if reply.status == "rejected"]
    assert all(reply.error is not None and reply.error.code == "busy" for reply in refused)
    assert refused[0].error is not None
    assert (refused[0].error.retryable, refused[0].error.retry_after_s) == (True, 5.0)


async def test_commands_are_read_while_redis_is_out_of_memory(config: BusConfig, probe: Probe) -> None:
    async with reading(with_commands(config)) as desk:
        await write(probe, {"op": "status", "id": "a"})
        await desk.wait(1)
        await write(probe, {"op": "status", "id": "b", "client": "me"}, "strat-9")  # nobody's stream: not read
        await probe.do("CONFIG", "SET", "maxmemory", 1)
        try:
            await probe.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await until(lambda: desk.readable == 1)
            await until(lambda: desk.reader.health.state == "up")
        finally:
            await probe.do("CONFIG", "SET", "maxmemory", 0)
        await write(probe, {"op": "status", "id": "c"})
        assert [one.ref.id for one in await desk.wait(2)] == ["a", "c"]


async def test_a_fenced_sidecar_settles_nothing(config: BusConfig, probe: Probe) -> None:
    with pytest.RaisesGroup(Fenced):
        async with reading(with_commands(config)) as desk:
            await write(probe, {"op": "status", "id": "a"})
            (received,) = await desk.wait(1)
            await probe.do("SET", probe.keys.epoch, desk.epoch + 1)
            desk.accept(received)
            await desk.settled()
    assert await left(probe) == 1
    assert await replies(probe) == []


def test_a_commander_with_an_impossible_name_is_refused_at_start() -> None:
    with pytest.raises(ConfigurationError, match="IBKR_COMMANDERS: 'a b' is no client name"):
        Intake(Keys(), ("a b",))
