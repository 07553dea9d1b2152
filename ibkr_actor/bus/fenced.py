"""The fenced write: a batch of entries, their last values and the check of the epoch in one script.

Holds no records back and repeats nothing: the publisher does, and a benchmark may call it with prepared payloads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from ibkr_actor.bus.connection import Link, Refused, Script, Word, pack
from ibkr_actor.bus.streams import NOT_LAST, Entry, StreamState
from ibkr_actor.errors import Fenced
from ibkr_actor.schema.codec import Encoding
from ibkr_actor.schema.keys import Keys

# KEYS: epoch, streams, then (stream, last) of each group.
# ARGV: epoch, field, then per group: how (1 opened before, 0 new, 2 new and no data stream), ttl, MAXLEN, entries,
#       index of the last value, its two fields, number of tick fields, (id, payload) of each entry,
#       (field, index) of each tick field.
# Answer: 1 when the epoch key had to be set, else 0; or an array of that and (ordinal, code, detail) of all that was
#       unusual; or {FENCED, stored}; or {REFUSED, error} when the server takes no writes at all.
# An entry id that is refused counts as there when that entry holds our very payload; another's entry stands there
# otherwise (a foreign write, a clock that was ahead), and the record gets the next id.
# NOMKSTREAM on the first entry tells a stream that was deleted behind our back. Trimming once per group is enough.
WRITE: Final = Script("""
local pcall, call = redis.pcall, redis.call
local epoch, field = ARGV[1], ARGV[2]
local stored = call('GET', KEYS[1])
local out = {0}
if stored ~= epoch then
  if stored and (tonumber(stored) or 0) > tonumber(epoch) then return {'FENCED', stored} end
  local set = pcall('SET', KEYS[1], epoch)
  if set.err then return {'REFUSED', set.err} end
  out[1] = 1
end

local function next_id(key)
  local info = call('XINFO', 'STREAM', key)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      local ms, n = string.match(info[i + 1], '^(%d+)%-(%d+)$')
      if #n < 15 then return ms .. '-' .. string.format('%.0f', tonumber(n) + 1) end
      return string.format('%.0f', tonumber(ms) + 1) .. '-0'
    end
  end
end

local function unusual(key, id, payload, answer)
  if not answer then return 'gone', '' end
  local text = answer.err
  if string.find(text, 'equal or smaller', 1, true) then
    local there = call('XRANGE', key, id, id)[1]
    if there and #there[2] == 2 and there[2][1] == field and there[2][2] == payload then return 'there', id end
    local new = next_id(key)
    local again = pcall('XADD', key, new, field, payload)
    if type(again) == 'string' then return 'moved', new end
    text = again.err
  end
  local code = string.match(text, '^(%u+) ')
  if code and code ~= 'ERR' and code ~= 'WRONGTYPE' then return 'refused', text end
  return 'error', text
end

local a, ordinal = 3, 0
for k = 3, #KEYS, 2 do
  local key, last = KEYS[k], KEYS[k + 1]
  local how, ttl, maxlen, n = ARGV[a], ARGV[a + 1], ARGV[a + 2], tonumber(ARGV[a + 3])
  local newest, ticks, first = tonumber(ARGV[a + 4]), tonumber(ARGV[a + 7]), a + 8
  local failed, odd = false, nil
  for j = 0, n - 1 do
    local id, payload = ARGV[first + 2 * j], ARGV[first + 2 * j + 1]
    local answer
    if j > 0 then
      answer = pcall('XADD', key, id, field, payload)
    elseif how == '1' then
      answer = pcall('XADD', key, 'NOMKSTREAM', 'MAXLEN', '~', maxlen, id, field, payload)
    else
      answer = pcall('XADD', key, 'MAXLEN', '~', maxlen, id, field, payload)
    end
    if type(answer) ~= 'string' then
      local code, detail = unusual(key, id, payload, answer)
      if code == 'refused' then return {'REFUSED', detail} end
      out[#out + 1], out[#out + 2], out[#out + 3] = ordinal + j, code, detail
      if code == 'gone' or code == 'error' then failed = true break end
      odd = odd or {}
      odd[j] = code == 'moved' and detail or false
    end
  end
  if not failed then
    if how ~= '1' and n > 0 then
      if how == '0' then call('SADD', KEYS[2], key) end
      call('PERSIST', key)
      call('PERSIST', last)
    end
    if ttl == 'p' then
      call('PERSIST', key)
      call('PERSIST', last)
    elseif ttl ~= '' then
      call('EXPIRE', key, ttl)
    end
    local h = {'HSET', last}
    local function add(name, j, id_name)
      local id, payload = ARGV[first + 2 * j], ARGV[first + 2 * j + 1]
      if odd and odd[j] ~= nil then
        if not odd[j] then return end
        id = odd[j]
      end
      h[#h + 1] = name
      h[#h + 1] = payload
      if id_name then h[#h + 1] = id_name h[#h + 1] = id end
    end
    if newest >= 0 then add(ARGV[a + 5], newest, ARGV[a + 6]) end
    for t = 0, ticks - 1 do
      local at = first + 2 * n + 2 * t
      add(ARGV[at], tonumber(ARGV[at + 1]))
    end
    if #h > 2 then
      local set = pcall(unpack(h))
      if type(set) == 'table' then out[#out + 1], out[#out + 2], out[#out + 3] = ordinal, 'last', set.err end
    end
  end
  a = first + 2 * n + 2 * ticks
  ordinal = ordinal + n
end
if #out == 1 then return out[1] end
return out
""")


class Unusual(Struct, frozen=True):
    """What happened to one entry other than being written under its id.

    `code`: there (it was already), moved (written under the id `detail`), gone (the stream vanished; nothing of its
    group from here on was written), error (the same, for the reason `detail`), last (the hash could not be written).
    """

    entry: Entry
    code: str
    detail: str


class Written(Struct, frozen=True):
    """The outcome of a batch. `epoch_was_missing` means that the server lost or never had our epoch."""

    epoch_was_missing: bool
    unusual: list[Unusual]


class FencedWriter:
    """Writes batches under one epoch. `write` may be called with prepared entries by anyone who has a link."""

    def __init__(self, link: Link, keys: Keys, epoch: int, encoding: Encoding = "msgpack") -> None:
        self._link = link
        self._epoch = str(epoch).encode()
        self._fixed_keys: list[Word] = [keys.epoch.encode(), keys.streams.encode()]
        self._field = b"d" if encoding == "msgpack" else b"j"

    async def write(self, batch: Sequence[Entry], now_ms: int, also: Sequence[StreamState] = ()) -> Written:
        """Writes the batch; entries without an id get one from `now_ms` on. `also` are streams whose expiry changes.

        Raises:
            Fenced: a newer sidecar publishes for this gateway. Nothing was written.
            Refused: the server takes no writes (OOM, MISCONF, ...); some groups may have been written.
            Unreachable: see `Link.exchange`; all of it may have been written or nothing.
        """
        states = _grouped(batch, also)
        expiries = [state.ttl for state in states]
        try:
            packed = self._pack(states, now_ms)
            (answer,) = await self._link.exchange(packed, 1)
            if isinstance(answer, Refused) and answer.code == "NOSCRIPT":
                await self._link.load_scripts()
                (answer,) = await self._link.exchange(packed, 1)
            written = self._outcome(answer, states)
            _note_opened(states, expiries, written)
            return written
        finally:
            for state in states:
                state.group = None

    def _pack(self, states: Sequence[StreamState], now_ms: int) -> bytes:
        """The EVALSHA command for these groups; gives ids to entries that have none."""
        keys = list(self._fixed_keys)
        args: list[Word] = [self._epoch, self._field]
        for state in states:
            keys += (state.key, state.last_key)
            group = state.group or ()
            newest, parts = _last_values(state, group)
            how = b"1" if state.opened else b"0" if state.is_data else b"2"
            args += (how, state.ttl, state.entries_max, len(group), newest, *state.kind_fields, len(parts))
            state.give_ids(group, now_ms)
            for entry in group:
                args += (entry.id, entry.payload)
            for slot, index in parts.items():
                args += (state.part_field(slot), index)
        return pack((b"EVALSHA", WRITE.sha, len(keys), *keys, *args))

    def _outcome(self, answer: object, states: Sequence[StreamState]) -> Written:
        if isinstance(answer, Refused):
            raise answer
        if isinstance(answer, int):
            return Written(answer == 1, [])
        assert isinstance(answer, list)
        if answer[0] == b"FENCED":
            raise Fenced(f"a newer sidecar with epoch {answer[1].decode()} publishes for this gateway")
        if answer[0] == b"REFUSED":
            code, _, message = answer[1].decode(errors="replace").partition(" ")
            raise Refused(code, message)
        ordered = [entry for state in states for entry in state.group or ()]
        triples = zip(answer[1::3], answer[2::3], answer[3::3], strict=True)
        unusual = [Unusual(ordered[n], code.decode(), detail.decode(errors="replace")) for n, code, detail in triples]
        return Written(answer[0] == 1, unusual)


def _grouped(batch: Sequence[Entry], also: Sequence[StreamState]) -> list[StreamState]:
    """The streams of the batch, each with its entries in `group`. Affects: `group`, until the write has ended."""
    states: list[StreamState] = []
    for entry in batch:
        state = entry.state
        group = state.group
        if group is None:
            state.group = [entry]
            states.append(state)
        else:
            group.append(entry)
    for state in also:
        if state.group is None:
            state.group = []
            states.append(state)
    return states


def _note_opened(states: Sequence[StreamState], expiries: Sequence[bytes], written: Written) -> None:
    """Affects: `opened`, and `ttl` unless it was changed while the write was under way."""
    failed = {unusual.entry.state for unusual in written.unusual if unusual.code in ("gone", "error")}
    for state, ttl in zip(states, expiries, strict=True):
        if state in failed:
            continue
        if state.group:
            state.opened = True
        if state.ttl == ttl:
            state.ttl = b""


def _last_values(state: StreamState, group: Sequence[Entry]) -> tuple[int, dict[int, int]]:
    """Index of the newest entry that is a last value, -1 for none; and slot -> index of its newest, for each part."""
    parts: dict[int, int] = {}
    if state.in_parts:
        parts = {entry.slot: i for i, entry in enumerate(group) if entry.slot >= 0}
    for i in range(len(group) - 1, -1, -1):
        if group[i].slot != NOT_LAST:
            return i, parts
    return -1, parts
