#!/usr/bin/env bash
# Subscribe and read with nothing but redis-cli: examples/redis-cli.sh [INSTRUMENT] [COUNT]
#
# IBKR_REDIS_URL names the server (default redis://127.0.0.1:6379/0). Needs a sidecar that writes JSON
# (IBKR_ENCODING=json), since msgpack is not for eyes. Prints COUNT entries (default 5) and gives the line back.
set -euo pipefail

instrument=${1:-AAPL} count=${2:-5}
root="${IBKR_PREFIX:-ibkr}:{${IBKR_GATEWAY_NAME:-g1}}"
client="shell-$$"
redis=(redis-cli --no-auth-warning --raw -u "${IBKR_REDIS_URL:-redis://127.0.0.1:6379/0}")

command() { "${redis[@]}" XADD "$root:commands" '*' j "$1" >/dev/null; }

# A lease: if this script is killed, the line is given back by itself.
command "{\"op\":\"subscribe\",\"id\":\"1\",\"client\":\"$client\",\"instrument\":\"$instrument\",\"kinds\":[\"quote\"],\"lease_s\":60}"
trap 'command "{\"op\":\"unsubscribe\",\"client\":\"$client\"}"' EXIT

# The first reply: the last line of the answer is its JSON.
reply=$("${redis[@]}" XREAD COUNT 1 BLOCK 30000 STREAMS "$root:replies:$client" 0 | tail -n 1)
printf '%s\n' "$reply"
[[ $reply == *'"status":"accepted"'* ]] || exit 1

# The name of the stream stands in the reply; from the newest entry on, the lines of an answer are key, id, field, value.
key=$(sed -E 's/.*"streams":\["([^"]*)".*/\1/' <<<"$reply")
position='$' printed=0
while ((printed < count)); do
    mapfile -t lines < <("${redis[@]}" XREAD COUNT "$((count - printed))" BLOCK 10000 STREAMS "$key" "$position")
    if ((${#lines[@]} < 4)); then
        echo "nothing within 10 s: is the market open?" >&2
        exit 1
    fi
    for ((at = 1; at + 2 < ${#lines[@]}; at += 3)); do
        position=${lines[at]}
        printf '%s %s\n' "$position" "${lines[at + 2]}"
        printed=$((printed + 1))
    done
done
