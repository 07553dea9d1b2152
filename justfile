# Recipes of ibkr_actor. Each works from a clean clone: the virtual environment is made when it is missing or out of date.
# `just` comes with the development environment (.venv/bin/just) or from your system.

set shell := ["bash", "-euo", "pipefail", "-c"]

python := env("PYTHON", "python3")
venv := env("VENV", ".venv")
bin := venv / "bin"
compose := env("COMPOSE", "docker compose") + " --project-directory docker -f docker/compose.yaml"

# List the recipes.
default:
    @just --list --unsorted

# Make the environment from the lock file, or bring it up to date.
_venv:
    @[[ -x {{ bin }}/python ]] || {{ python }} -m venv {{ venv }}
    @if ! cmp -s requirements.lock {{ venv }}/.installed.lock || [[ ! -x {{ bin }}/ibkr-actor ]]; then \
        {{ bin }}/python -m pip install --quiet -r requirements.lock && \
        {{ bin }}/python -m pip install --quiet --no-deps --no-build-isolation -e . && \
        cp requirements.lock {{ venv }}/.installed.lock; \
    fi

# Embedded Redis, simulator and sidecar with a live table: just demo --seconds 20
demo *args: _venv
    {{ bin }}/ibkr-actor demo {{ args }}

# The whole test suite, three at a time, or a part of it: just test tests/core -k pacing
test *args: _venv
    {{ bin }}/python -m pytest {{ if args == "" { "-n 3 --dist worksteal" } else { args } }}

# Lint, format and types.
check: _venv
    {{ bin }}/ruff check .
    {{ bin }}/ruff format --check .
    {{ bin }}/mypy

# Apply the lint's own fixes and the format.
fmt: _venv
    {{ bin }}/ruff check --fix .
    {{ bin }}/ruff format .

# The tests with branch coverage; the report lists what no test reaches.
coverage *args: _venv
    {{ bin }}/coverage erase
    {{ bin }}/coverage run -m pytest {{ args }}
    {{ bin }}/coverage combine --quiet
    {{ bin }}/coverage report

# The long tests of nights and faults: a hundred cuts, zombie lines, recordings at every version, replays at 50 times.
faults *args: _venv
    {{ bin }}/python -m pytest -m slow tests/e2e/test_night.py tests/e2e/test_recording.py tests/e2e/test_backfill.py tests/e2e/test_history_troubles.py tests/e2e/test_replay.py tests/e2e/test_heal.py tests/e2e/test_signals.py tests/cli/test_demo.py {{ args }}

# A week of nights, flaps, other logins, busts, a holiday, a DST change in stepped time: 10 min; WEEK_SEED, WEEK_DAYS, WEEK_START (a Monday, for a few days).
week *args: _venv
    {{ bin }}/python -m pytest -m slow -s -o faulthandler_timeout=0 tests/e2e/test_week.py {{ args }}

# The long tests of history: every resolution of every type, ten kills, thousands of requests on a clock 20 times as fast.
history *args: _venv
    {{ bin }}/python -m pytest -m slow -s tests/e2e/test_history.py tests/e2e/test_history_kill.py tests/e2e/test_history_load.py {{ args }}

# The pictures of the status page and of `top` in docs/img, taken anew in a headless Chromium.
screenshots: _venv
    {{ bin }}/python -m tests.page.screenshots

# Every program in examples/ beside a sidecar and a simulated gateway; those of Node need node, npm and the network once.
examples *args: _venv
    {{ bin }}/python -m pytest -m "slow or not slow" tests/examples {{ args }}

# The contract for other languages, written anew from the code: docs/schema/asyncapi.json and schema.json.
schema: _venv
    {{ bin }}/ibkr-actor schema --out docs/schema

# Ticks per second, latency, CPU and memory beside their ceilings and peers.
bench *args: _venv
    {{ bin }}/python -m tests.bench {{ args }}

# Clients that are none of ours against the simulator, each in an environment of its own; ends with a table.
compat *args: _venv
    {{ bin }}/python tests/compat/clients.py {{ args }}

# The same tests with the other releases of the official client, each in an environment of its own.
compat-ibapi *args: _venv
    {{ bin }}/python tests/compat/ibapi_versions.py {{ args }}

# The replaced README's programs and the provider's examples, those that the everyday tests leave out too.
seed *args: _venv
    {{ bin }}/python -m pytest -m "slow or not slow" tests/provider/test_seed.py {{ args }}

# market-data-core's own bus, -pipeline's source and -store's sink read from us, in an environment of their own.
compat-core: _venv
    {{ bin }}/python -W ignore tests/compat/core_bus.py

# Redis, sidecar and simulator in containers; docker/.env says which gateway. The first run makes that file.
up *args:
    @[[ -f docker/.env ]] || sed "s/^REDIS_PASSWORD=.*/REDIS_PASSWORD=$({{ python }} -c 'import secrets; print(secrets.token_hex(24))')/" docker/env.example >docker/.env
    {{ compose }} up --build --detach {{ args }}

# Stop the containers; the data volume stays (add --volumes to remove it).
down *args:
    {{ compose }} --profile sim down {{ args }}

# Resolve the dependencies anew and write both lock files: just lock --upgrade
lock *args: _venv
    {{ bin }}/python -m pip install --quiet uv
    {{ bin }}/uv pip compile pyproject.toml --extra dev -o requirements.lock {{ lock_flags }} {{ args }}
    {{ bin }}/uv pip compile pyproject.toml --extra sidecar -o docker/requirements.lock -c requirements.lock {{ lock_flags }}

lock_flags := "--quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links"
