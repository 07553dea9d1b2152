"""The scripts that settle commands and write replies, holders and contracts: what they do, and their arguments.

Makes commands for a link and sends none. Every script checks the epoch, and doing it twice is doing it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from ibkr_actor.bus.config import ReplyConfig
from ibkr_actor.bus.connection import Script, Word
from ibkr_actor.bus.epoch import FENCE
from ibkr_actor.core.effects import CommandRef, HolderWrite
from ibkr_actor.schema.codec import encode_reply
from ibkr_actor.schema.commands import Reply
from ibkr_actor.schema.keys import Keys

# Adds a reply under its own id. An id that is refused is ours when the entry there, or a late one that had to take
# another id, holds the same payload. Answers an error only when the server takes no writes: a replies key of another
# type must not keep a command from being settled.
_ADD_REPLY = """
local function has(entries, field, payload)
  for _, entry in ipairs(entries) do
    if entry[2][1] == field and entry[2][2] == payload then return true end
  end
end

local function add_reply(key, id, field, payload, maxlen, ttl)
  local answer = pcall('XADD', key, 'MAXLEN', '~', maxlen, id, field, payload)
  if type(answer) == 'table' then
    local text = answer.err
    if string.find(text, 'equal or smaller', 1, true) then
      if has(call('XRANGE', key, id, id), field, payload) then return end
      if has(call('XREVRANGE', key, '+', '-', 'COUNT', 32), field, payload) then return end
      answer = pcall('XADD', key, 'MAXLEN', '~', maxlen, '*', field, payload)
    else
      local code = string.match(text, '^(%u+) ')
      if code and code ~= 'ERR' and code ~= 'WRONGTYPE' then return answer end
      return
    end
  end
  call('EXPIRE', key, ttl)
end
"""

# KEYS: epoch, replies, answered, answered before, command stream, subscriptions, dead.
# ARGV: epoch, reply id, field, payload, entries, ttl; command id (empty: not remembered), most remembered, their ttl;
#       group, entry id; number of dead-letter words, these; then (field, 1, value) or (field, 0, '') of each holder.
SETTLE: Final = Script(
    FENCE
    + _ADD_REPLY
    + """
local failed = add_reply(KEYS[2], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6])
if failed then return failed end
local a = 12 + tonumber(ARGV[12])
for i = a + 1, #ARGV, 3 do
  if ARGV[i + 1] == '1' then call('HSET', KEYS[6], ARGV[i], ARGV[i + 2]) else call('HDEL', KEYS[6], ARGV[i]) end
end
if ARGV[7] ~= '' then
  local size = pcall('HLEN', KEYS[3])
  if type(size) == 'number' and size >= tonumber(ARGV[8]) then pcall('RENAME', KEYS[3], KEYS[4]) end
  pcall('HSET', KEYS[3], ARGV[7], ARGV[4])
  call('EXPIRE', KEYS[3], ARGV[9])
end
if a > 12 and #call('XRANGE', KEYS[5], ARGV[11], ARGV[11]) == 1 then
  pcall('XADD', KEYS[7], 'MAXLEN', '~', ARGV[13], '*', unpack(ARGV, 14, a))
end
pcall('XACK', KEYS[5], ARGV[10], ARGV[11])
call('XDEL', KEYS[5], ARGV[11])
return 'OK'
"""
)

# The remembered answer, sent again. KEYS: epoch, replies, answered, answered before, command stream.
# ARGV: epoch, reply id, field, entries, ttl, command id, group, entry id. Answers 1 when there was one, else 0.
AGAIN: Final = Script(
    FENCE
    + _ADD_REPLY
    + """
local payload = pcall('HGET', KEYS[3], ARGV[6])
if type(payload) ~= 'string' then payload = pcall('HGET', KEYS[4], ARGV[6]) end
if type(payload) ~= 'string' then return 0 end
local failed = add_reply(KEYS[2], ARGV[2], ARGV[3], payload, ARGV[4], ARGV[5])
if failed then return failed end
pcall('XACK', KEYS[5], ARGV[7], ARGV[8])
call('XDEL', KEYS[5], ARGV[8])
return 1
"""
)

# KEYS: epoch, replies. ARGV: epoch, reply id, field, payload, entries, ttl.
REPLY: Final = Script(
    FENCE
    + _ADD_REPLY
    + """
local failed = add_reply(KEYS[2], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6])
if failed then return failed end
return 'OK'
"""
)

# KEYS: epoch, hash. ARGV: epoch, then (field, 1, value) or (field, 0, '').
FIELDS: Final = Script(
    FENCE
    + """
for i = 2, #ARGV, 3 do
  if ARGV[i + 1] == '1' then call('HSET', KEYS[2], ARGV[i], ARGV[i + 2]) else call('HDEL', KEYS[2], ARGV[i]) end
end
return 'OK'
"""
)

# Entries of a job and how far it is, in one step: a restart goes on behind the last entry that is there.
# KEYS: epoch, jobs, the job's stream. ARGV: epoch, job, how far it is ('' when it is done), field, ttl, payload...
# An entry is never twice the same, since it holds its number: the newest of ours there means that all are there.
JOB: Final = Script(
    FENCE
    + """
local function is_there()
  if #ARGV < 6 then return false end
  for _, entry in ipairs(call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 8)) do
    if entry[2][1] == ARGV[4] and entry[2][2] == ARGV[#ARGV] then return true end
  end
  return false
end

if not is_there() then
  for i = 6, #ARGV do
    local added = pcall('XADD', KEYS[3], '*', ARGV[4], ARGV[i])
    if type(added) == 'table' then return added end
  end
end
if ARGV[3] == '' then call('HDEL', KEYS[2], ARGV[2]) else call('HSET', KEYS[2], ARGV[2], ARGV[3]) end
if ARGV[5] ~= '' then call('EXPIRE', KEYS[3], ARGV[5]) end
return 'OK'
"""
)

SCRIPTS: Final = (SETTLE, AGAIN, REPLY, FIELDS, JOB)
# What of a dead command is kept for the person who looks at it.
DEAD_PAYLOAD_MAX: Final = 1024


class DeadLetter(Struct, frozen=True):
    """Why a command could not be handled, and the beginning of what it was."""

    reason: str
    payload: bytes
    entries_max: int


class Calls:
    """Makes the script calls of one epoch."""

    def __init__(self, keys: Keys, epoch: int, config: ReplyConfig, group: str) -> None:
        self._keys = keys
        self._epoch = epoch
        self._config = config
        self._group = group
        self._field = "j" if config.encoding == "json" else "d"
        self._ttl_s = max(1, round(config.ttl_s))

    def settle(
        self,
        ref: CommandRef,
        reply: Reply,
        reply_id: str,
        *,
        holders: Sequence[HolderWrite] = (),
        jobs: Sequence[HolderWrite] = (),
        remember: bool = True,
        dead: DeadLetter | None = None,
    ) -> tuple[Word, ...]:
        """Holders or jobs, reply, remembered answer, dead letter, XACK and XDEL in one step."""
        keys = self._keys
        words: list[Word] = []
        if dead is not None:
            words = [dead.entries_max, "key", ref.key, "id", ref.entry_id, "client", ref.client]
            words += ["reason", dead.reason, "payload", dead.payload[:DEAD_PAYLOAD_MAX]]
        args: list[Word] = [
            *self._reply(reply, reply_id),
            ref.id if remember else "",
            self._config.answered_max,
            max(1, round(self._config.answered_ttl_s)),
            self._group,
            ref.entry_id,
            len(words),
            *words,
            *_fields(holders or jobs),
        ]
        names = [*self._reply_keys(ref), ref.key, keys.jobs if jobs else keys.subscriptions, keys.dead]
        return SETTLE.call(names, args)

    def again(self, ref: CommandRef, reply_id: str) -> tuple[Word, ...]:
        """Sends the remembered answer, when there is one, and settles the command with it."""
        args: list[Word] = [self._epoch, reply_id, self._field, self._config.entries, self._ttl_s]
        args += (ref.id, self._group, ref.entry_id)
        return AGAIN.call([*self._reply_keys(ref), ref.key], args)

    def reply(self, client: str, reply: Reply, reply_id: str) -> tuple[Word, ...]:
        """A later reply to a command that is settled."""
        return REPLY.call([self._keys.epoch, self._keys.replies(client)], self._reply(reply, reply_id))

    def fields(self, key: str, writes: Sequence[HolderWrite]) -> tuple[Word, ...]:
        """Fields of one hash, each set or deleted."""
        return FIELDS.call([self._keys.epoch, key], [self._epoch, *_fields(writes)])

    def job(
        self, job: str, payloads: Sequence[bytes], state: bytes | None, *, field: str, ttl_s: float
    ) -> tuple[Word, ...]:
        """Entries of a history job, and how far it is."""
        names = [self._keys.epoch, self._keys.jobs, self._keys.history(job)]
        ttl: Word = max(1, round(ttl_s)) if ttl_s else ""
        return JOB.call(names, [self._epoch, job, state or b"", field, ttl, *payloads])

    def _reply(self, reply: Reply, reply_id: str) -> list[Word]:
        payload = encode_reply(reply, self._config.encoding)
        return [self._epoch, reply_id, self._field, payload, self._config.entries, self._ttl_s]

    def _reply_keys(self, ref: CommandRef) -> list[str]:
        answered = self._keys.answered(ref.client)
        return [self._keys.epoch, self._keys.replies(ref.client), answered, f"{answered}:before"]


def _fields(writes: Sequence[HolderWrite]) -> list[Word]:
    words: list[Word] = []
    for write in writes:
        words += (write.field, "0", "") if write.value is None else (write.field, "1", write.value)
    return words
