"""Owns the run of every example in docs/SIMULATOR.md, and the check that its tables name all there is.

Must not hold examples of its own.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ibkr_actor.cli.main import parser
from ibkr_actor.sim import Rule, Simulator, SimulatorSettings, SyncSimulator, parse_script, scenario_titles
from ibkr_actor.sim.faults.actions import ACTIONS, keys_of
from ibkr_actor.sim.faults.script import When
from ibkr_actor.sim.journal import JournalLine
from ibkr_actor.sim.market import chains, futures
from ibkr_actor.sim.market.catalogue import default_catalogue
from ibkr_actor.sim.market.instruments import is_test_stock
from ibkr_actor.sim.settings import BlastSettings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "SIMULATOR.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SCRIPTS = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PROGRAMS = [example for example in EXAMPLES if "def test_" not in example]
TESTS = [example for example in EXAMPLES if "def test_" in example]
pytest_plugins = ["pytester"]


def rows(heading: str) -> dict[str, str]:
    """First cell -> second cell of the table below a heading."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `([^`]+)` \| ([^|]*) \|", section, re.MULTILINE))


@pytest.mark.parametrize("example", PROGRAMS)
def test_a_program_of_the_page_runs(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "docs/SIMULATOR.md", "exec"), {"__name__": "__main__"})
    shown = re.findall(r"# ?> (.*)", example)
    assert capsys.readouterr().out.splitlines() == shown


def test_the_tests_of_the_page_pass_in_a_project_of_their_own(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert TESTS
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for number, example in enumerate(TESTS):
        pytester.makepyfile(**{f"test_{number}": example})
    result = pytester.runpytest_subprocess("-p", "no:valkey", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=sum(example.count("def test_") for example in TESTS))


@pytest.mark.parametrize(("heading", "cls"), [("Settings", SimulatorSettings), ("Blast", BlastSettings)])
def test_the_page_names_every_setting_with_its_default(heading: str, cls: type[SimulatorSettings]) -> None:
    cells = rows(heading)
    assert list(cells) == list(cls.__struct_fields__)
    defaults = dict(zip(reversed(cls.__struct_fields__), reversed(cls.__struct_defaults__), strict=False))
    for name, cell in cells.items():
        assert cell == (f"`{defaults[name]!r}`" if name in defaults else "needed"), name


def test_the_page_names_every_rule() -> None:
    assert list(rows("Rules")) == [rule.value for rule in Rule]


def test_the_page_names_every_field_of_the_journal() -> None:
    assert list(rows("Journal")) == list(JournalLine.__struct_fields__)


def test_the_page_names_every_method() -> None:
    named = set(rows("What a test can do"))
    public = {name for name in vars(Simulator) if not name.startswith("_")} | {"violations", "errors_sent"}
    assert {name.partition("(")[0] for name in named} >= public | {"messages_received", "replayed"}


def test_a_simulator_of_a_thread_does_what_its_page_says() -> None:
    marked = {name.partition("(")[0] for name in re.findall(r"^\| `([^`]+)` \| .*\| yes \|$", PAGE, re.MULTILINE)}
    assert marked == {name for name in vars(SyncSimulator) if not name.startswith("_")} - {"host", "call"}


def test_the_commands_of_the_page_are_commands() -> None:
    commands = re.findall(r"^ibkr-actor (.*)$", PAGE, re.MULTILINE)
    assert commands
    for command in commands:
        parser().parse_args(command.split())


def test_the_page_names_every_instrument() -> None:
    page = rows("Instruments")
    catalogue = default_catalogue()
    for each in catalogue.all():
        name = {"CASH": each.local_symbol, "BOND": each.cusip}.get(each.sec_type, each.symbol)
        if not is_test_stock(each):
            assert name in page[each.sec_type], each.key
    for root in futures.ROOTS:
        assert root.symbol in page["FUT"]
        assert f"`{root.exchange}`" in page["FUT"]
    for option in chains.ROOTS:
        assert {option.symbol, option.trading_class} <= set(re.findall(r"\w+", page[option.sec_type]))
    assert set(page) == {each.sec_type for each in catalogue.all()} | {"FUT", "CONTFUT", "OPT", "FOP", "WAR", "BAG"}


@pytest.mark.parametrize("text", SCRIPTS)
def test_a_script_of_the_page_can_be_played(text: str) -> None:
    assert parse_script(text).steps


def test_the_page_names_every_action_with_its_keys() -> None:
    cells = rows("Actions")
    assert list(cells) == list(ACTIONS)
    for name, cell in cells.items():
        assert re.findall(r"`([^`]+)`", cell) == keys_of(ACTIONS[name]), name


def test_the_page_names_every_scenario() -> None:
    assert {name: cell.strip() for name, cell in rows("Scenarios").items()} == scenario_titles()


def test_the_page_names_every_key_of_a_script() -> None:
    assert set(rows("Scripts")) == {"title", "from", "at", "every", "times", "when", "after", *When.__struct_fields__}
