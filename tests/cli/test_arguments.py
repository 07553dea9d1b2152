"""What is refused before anything runs: one line that names the argument, and exit status 2."""

from pathlib import Path

import pytest

from ibkr_actor.cli.arguments import GROUPS
from ibkr_actor.cli.main import EXIT_CONFIGURATION, main, parser
from ibkr_actor.cli.simulate import settings_of
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.sim import SimulatorSettings, scenario_titles


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["simulate", "--port", "0", "--journal", "nowhere/j"], "ibkr-actor: --journal nowhere/j: No such file"),
        (
            ["simulate", "--port", "0", "--host", "192.0.2.1"],
            "ibkr-actor: cannot listen at 192.0.2.1:0 (--host, --port)",
        ),
        (["simulate", "--port", "0", "--instrument", "x.."], "ibkr-actor: --instrument: instrument 'x..'"),
        (
            ["simulate", "--scenario", "nightly-restrat"],
            "ibkr-actor: --scenario: no scenario is called 'nightly-restrat'; did you mean 'nightly-restart'?",
        ),
        (["simulate", "--script", "no.toml"], "ibkr-actor: --script: no.toml: No such file"),
        (["simulate", "--script", "bad.toml"], "ibkr-actor: --script: bad.toml: step 1 (bust): no key 'instr'"),
        (
            ["simulate", "--port", "0", "--script", "odd.toml"],
            "ibkr-actor: --scenario, --script: odd.toml: step 1",
        ),
        (["simulate", "--speed", "2"], "ibkr-actor: --speed: means nothing without --replay"),
        (["simulate", "--instrument", "AAPL.STK.SMART.USD"], "ibkr-actor: --instrument: means nothing without"),
        (["simulate", "--play-speed", "2"], "ibkr-actor: --play-speed: means nothing without --play"),
        (["simulate", "--play", ".", "--server-version", "178"], "ibkr-actor: --server-version: with --play it is"),
        (["simulate", "--play", ".", "--replay", "x"], "ibkr-actor: --replay: --play answers everything itself"),
        (["simulate", "--replay", "nowhere"], "ibkr-actor: --replay: nowhere: No such file or directory"),
        (["simulate", "--play", "nowhere"], "ibkr-actor: --play: "),
        (
            ["tail", "qoute", "AAPL", "--redis-url", "redis://127.0.0.1:1"],
            "ibkr-actor: 'qoute' is no kind (did you mean quote?); known: quote",
        ),
        (
            ["sub", "AAPL", "--kinds", "bulletin", "--redis-url", "redis://127.0.0.1:1"],
            "ibkr-actor: 'bulletin' is held with a command of its own: bulletins",
        ),
    ],
)
def test_a_wrong_argument_is_one_line_that_names_it(
    arguments: list[str],
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.toml").write_text("[[step]]\ndo = 'bust'\ninstr = 1")
    Path("odd.toml").write_text("[[step]]\ndo = 'bust'\ninstrument = 'NOSUCH'")
    assert main(arguments) == EXIT_CONFIGURATION
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith(line)
    assert [text for text in said if "Traceback" in text] == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["--start-time", "yesterday"],
            "argument --start-time: 'yesterday' is no ISO time such as 2026-01-05T14:30:00Z",
        ),
        (["--start-time", "2026-01-05T14:30:00"], "'2026-01-05T14:30:00' says no zone: end it with Z"),
        (["--clock-speed", "0"], "argument --clock-speed: 0 is not a positive number"),
        (["--market-hours", "never"], "argument --market-hours: invalid choice: 'never'"),
        (["--language", "fr"], "argument --language: invalid choice: 'fr'"),
        (["--port", "http"], "argument --port: http is not a port"),
        (["--rate", "x"], "argument --rate: x is not a number of 0 or more"),
        (["--lines", "1.5"], "argument --lines: 1.5 is not a positive whole number"),
        (["--bogus"], "unrecognized arguments: --bogus"),
    ],
)
def test_a_wrong_value_of_the_simulator_is_refused(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["simulate", *arguments])
    assert ended.value.code == EXIT_CONFIGURATION
    [line] = capsys.readouterr().err.splitlines()
    assert complaint in line


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["healt"], "ibkr-actor: no command is called 'healt'; did you mean health?; see ibkr-actor --help"),
        (["xyzzy"], "ibkr-actor: no command is called 'xyzzy'; see ibkr-actor --help"),
        (["demo", "nightly-restrat"], "; did you mean nightly-restart?; see ibkr-actor demo --help"),
        (["run", "--log-level", "inf"], "; did you mean info?; see ibkr-actor run --help"),
    ],
)
def test_a_name_that_is_nearly_right_is_told(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == EXIT_CONFIGURATION
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith(complaint)


def test_scenarios_are_listed_with_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--scenarios"]) == 0
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert listed == scenario_titles()


def test_arguments_reach_the_simulator() -> None:
    given = (
        "simulate --scenario bust --scenario zombie --script mine.toml --clock-speed 20 "
        "--start-time 2026-01-05T09:30:00-05:00 --market-hours exchange --language de --play-speed 0 --play ."
    )
    with pytest.raises(ConfigurationError, match=r"--script: mine\.toml"):
        settings_of(parser().parse_args(given.split()))
    settings = settings_of(parser().parse_args(given.replace("--script mine.toml ", "").split()))
    assert (settings.scenarios, settings.clock_speed, settings.language) == (("bust", "zombie"), 20.0, "de")
    assert (settings.start_time_s, settings.market_hours) == (1_767_623_400.0, "exchange")
    assert (settings.play, settings.play_speed) == (".", 0.0)
    assert settings_of(parser().parse_args(["simulate"])) == SimulatorSettings(port=4002)
    assert settings_of(parser().parse_args(["simulate", "--server-version", "178"])).server_version == 178


@pytest.mark.parametrize("name", [name for _, names in GROUPS for name in names])
def test_the_help_of_every_command_shows_it_used(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([name, "--help"])
    assert "\n\nexamples:\n  " in (shown := capsys.readouterr().out)
    assert f"ibkr-actor {name}" in shown.partition("examples:")[2]


@pytest.mark.parametrize("line", [["--help"], ["doctor", "--help"], ["http", "--help"]])
def test_sentences_of_the_help_fit_a_narrow_terminal(
    line: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(SystemExit):
        main(line)
    # Examples stay in their lines: they are copied.
    told = capsys.readouterr().out.partition("examples:")[0]
    assert [row for row in told.splitlines() if len(row) > 60 and "{" not in row] == []
