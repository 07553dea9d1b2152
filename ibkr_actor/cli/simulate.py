"""`ibkr-actor simulate`: the simulated gateway as a process of its own."""

from __future__ import annotations

import argparse
import logging

import anyio

from ibkr_actor.cli.process import log_to_stderr, until_signal
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.schema.instruments import InvalidInstrumentText, parse_instrument
from ibkr_actor.sim import ReplayError, Simulator, SimulatorSettings, run_simulator


def main(arguments: argparse.Namespace) -> int:
    """Serves until Ctrl-C or SIGTERM. Says on standard output where it listens, for scripts that asked for port 0."""
    log_to_stderr("info")
    try:
        parse_instrument(arguments.instrument)
        settings = SimulatorSettings(
            host=arguments.host,
            port=arguments.port,
            server_version=arguments.server_version,
            lines=arguments.lines,
            ticks_per_s=arguments.rate,
            seed=arguments.seed,
            replay_file=str(arguments.replay) if arguments.replay else None,
            replay_speed=arguments.speed,
            replay_instrument=arguments.instrument,
            journal_file=str(arguments.journal) if arguments.journal else None,
        )
        return anyio.run(_serve, settings)
    except InvalidInstrumentText as error:
        raise ConfigurationError(f"--instrument: {error}") from None
    except ReplayError as error:
        raise ConfigurationError(f"--replay: {error}") from None
    except OSError as error:
        if error.filename is not None:  # only the journal is a file that is opened here
            raise ConfigurationError(f"--journal {error.filename}: {error.strerror}") from None
        where = f"{arguments.host}:{arguments.port}"
        raise ConfigurationError(f"cannot listen at {where} (--host, --port): {error.strerror}") from None


async def _serve(settings: SimulatorSettings) -> int:
    async def serve(stopping: anyio.Event) -> None:
        async with anyio.create_task_group() as tasks:

            async def end() -> None:
                await stopping.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(end)
            await run_simulator(settings, started=_say_where)

    await until_signal(serve)
    return 0


def _say_where(simulator: Simulator) -> None:
    print(f"listening on {simulator.settings.host}:{simulator.port}", flush=True)
    logging.getLogger(__name__).info("connect any TWS API client there; Ctrl-C ends it")
