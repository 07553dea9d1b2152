"""`ibkr-actor simulate`: the simulated gateway as a process of its own."""

from __future__ import annotations

import argparse
import logging

import anyio

from ibkr_actor.cli.process import log_to_stderr, until_signal
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.schema.instruments import InvalidInstrumentText, parse_instrument
from ibkr_actor.sim import ReplayError, ScriptError, Simulator, SimulatorSettings, run_simulator, scenario_titles
from ibkr_actor.sim.scenarios import load_scenario


def main(arguments: argparse.Namespace) -> int:
    """Serves until Ctrl-C or SIGTERM. Says on standard output where it listens, for scripts that asked for port 0."""
    if arguments.scenarios:
        for name, title in scenario_titles().items():
            print(f"{name:22}{title}")
        return 0
    log_to_stderr("info")
    try:
        return anyio.run(_serve, settings_of(arguments))
    except InvalidInstrumentText as error:
        raise ConfigurationError(f"--instrument: {error}") from None
    except ReplayError as error:
        raise ConfigurationError(f"{'--play' if arguments.play else '--replay'}: {error}") from None
    except ScriptError as error:
        raise ConfigurationError(f"--scenario, --script: {error}") from None
    except OSError as error:
        if error.filename is not None:  # only the journal is a file that is opened here
            raise ConfigurationError(f"--journal {error.filename}: {error.strerror}") from None
        where = f"{arguments.host}:{arguments.port}"
        raise ConfigurationError(f"cannot listen at {where} (--host, --port): {error.strerror}") from None


def settings_of(arguments: argparse.Namespace) -> SimulatorSettings:
    """What the arguments ask for. Raises: ConfigurationError, InvalidInstrumentText."""
    if arguments.instrument is not None:
        parse_instrument(arguments.instrument)
    if arguments.play and arguments.replay:
        raise ConfigurationError("--replay: --play answers everything itself, so give one of them")
    for option, given, needs in (
        ("--speed", arguments.speed, "--replay"),
        ("--instrument", arguments.instrument, "--replay"),
        ("--play-speed", arguments.play_speed, "--play"),
    ):
        if given is not None and getattr(arguments, needs[2:]) is None:
            raise ConfigurationError(f"{option}: means nothing without {needs}")
    for option, given in (("--scenario", arguments.scenario), ("--script", arguments.script)):
        for what in given:
            try:
                load_scenario(what)
            except ScriptError as error:
                raise ConfigurationError(f"{option}: {error}") from None
    if arguments.play and arguments.server_version is not None:
        raise ConfigurationError("--server-version: with --play it is the recording's own")
    rest = {
        "server_version": arguments.server_version,
        "play_speed": arguments.play_speed,
        "replay_speed": arguments.speed,
        "replay_instrument": arguments.instrument,
    }
    try:
        return SimulatorSettings(
            host=arguments.host,
            port=arguments.port,
            lines=arguments.lines,
            language=arguments.language,
            ticks_per_s=arguments.rate,
            seed=arguments.seed,
            market_hours=arguments.market_hours,
            clock_speed=arguments.clock_speed,
            start_time_s=arguments.start_time,
            scenarios=(*arguments.scenario, *arguments.script),
            play=str(arguments.play) if arguments.play else None,
            replay_file=str(arguments.replay) if arguments.replay else None,
            journal_file=str(arguments.journal) if arguments.journal else None,
            **{name: value for name, value in rest.items() if value is not None},
        )
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


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
