"""The README and the docs against the code: links, settings, commands, record fields, examples.

What the two first commands do is tried from a clean clone, by hand and in `.ci/run`.
"""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import get_args

import pytest

from ibkr_actor.cli.completion import read
from ibkr_actor.cli.main import parser
from ibkr_actor.schema import commands, records
from ibkr_actor.schema.codec import decode_command
from ibkr_actor.schema.keys import BAR_SIZES, KIND_FAMILIES
from ibkr_actor.settings import ENV_PREFIX, Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
STREAMS = (ROOT / "docs" / "STREAMS.md").read_text()
DATA = (ROOT / "docs" / "DATA.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
CONFIG_VARIABLE = "IBKR_CONFIG"


def blocks(text: str, language: str = "") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_variables_named_are_settings(page: Path) -> None:
    named = set(re.findall(r"\bIBKR_[A-Z_]*[A-Z]\b", page.read_text())) - {CONFIG_VARIABLE}
    assert {name for name in named if name.removeprefix(ENV_PREFIX).lower() not in Settings.model_fields} == set()


def test_the_readmes_defaults_are_the_settings_defaults() -> None:
    rows = re.findall(r"^\| `(IBKR_\w+)`[^|]*\| `([^`|]*)` \|", README, re.MULTILINE)
    assert len(rows) > 5
    for name, shown in rows:
        default = Settings.model_fields[name.removeprefix(ENV_PREFIX).lower()].default
        assert shown == (str(default).lower() if isinstance(default, bool) else str(default)), name


def test_the_readme_names_commands_and_options_that_exist() -> None:
    rows = re.findall(r"^\| `ibkr-actor ([^`]*)` \|", README, re.MULTILINE)
    missing = {told.name for told in read(parser())} - {row.split()[0] for row in rows}
    assert missing <= {"http", "bridge"}, "the README lists every command"
    values = {
        "N": "3",
        "P": "4002",
        "CAP": "226",
        "FILE": "x.jsonl",
        "KIND": "quote",
        "INSTRUMENT": "AAPL",
        "DATE": "2026-01-05",
        "SIZE": "5m",
        "TEXT": "apple",
        "OP": "subscribe",
        "DIR": "out",
    }
    for row in rows:
        words = [values.get(word, word) for word in re.sub(r"[\[\]]|\.\.\.", " ", row).split()]
        parser().parse_args(words)


@pytest.mark.parametrize("text", [README, STREAMS], ids=["README", "STREAMS"])
def test_example_commands_are_valid(text: str) -> None:
    found = re.findall(r"^redis-cli XADD .*$", text, re.MULTILINE)
    assert found
    for line in found:
        field, value = shlex.split(line)[-2:]
        decode_command({field.encode(): value.encode()})


def test_python_examples_are_python() -> None:
    examples = [block for page in PAGES for block in blocks(page.read_text(), "python")]
    assert examples
    for example in examples:
        ast.parse(example)


def test_the_contract_names_every_kind_and_operation() -> None:
    operations = {str(cls.__struct_config__.tag) for cls in get_args(commands.AnyCommand)}
    for word in (
        *KIND_FAMILIES,
        *BAR_SIZES,
        *operations,
        *get_args(commands.Code),
        *get_args(commands.Status),
        *records.GAP_CAUSES,
    ):
        assert f"`{word}`" in STREAMS, word


@pytest.mark.parametrize("record", get_args(records.AnyRecord), ids=lambda record: record.__name__.lower())
def test_the_contract_lists_the_fields_of_every_record_in_order(record: type[records.AnyRecord]) -> None:
    tag = str(record.__struct_config__.tag)
    row = re.search(rf"^\| `{tag}` \| (.*) \|$", STREAMS.partition("## Records")[2], re.MULTILINE)
    assert row, tag
    fields = list(record.__struct_fields__)
    own = fields[2:] if record is records.System else fields[len(records.Record.__struct_fields__) :]
    assert re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", row[1])) == own


@pytest.mark.parametrize("command", get_args(commands.AnyCommand), ids=lambda command: command.__name__.lower())
def test_the_contract_lists_the_fields_of_every_command(command: type[commands.AnyCommand]) -> None:
    tag = str(command.__struct_config__.tag)
    row = re.search(rf"^\| `{tag}` \| ([^|]*) \|", STREAMS.partition("## Commands")[2], re.MULTILINE)
    assert row, tag
    common = set(commands.Command.__struct_fields__)
    assert set(re.findall(r"`(\w+)`", row[1])) == set(command.__struct_fields__) - common


def test_the_table_of_data_names_commands_that_are_valid_and_tests_that_exist() -> None:
    rows = [line for line in DATA.splitlines() if line.startswith("|") and ".py)" in line]
    assert len(rows) > 20
    for row in rows:
        for command in re.findall(r"`(\{\"op\".*?\})`", row):
            decode_command({b"j": command.encode()})
        sources = [ROOT / "docs" / path for path in re.findall(r"\]\((\S+\.py)\)", row)]
        tests = "".join(path.read_text() for path in sources)
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        for name in named:
            assert f"def {name}(" in tests, name


def test_the_table_of_data_lists_every_kind_and_every_operation_that_answers() -> None:
    rows = "\n".join(line for line in DATA.splitlines() if line.startswith("|"))
    families = {kind for kind in KIND_FAMILIES if not kind.startswith("bar.")} | {"bar.5s", "bar.1m", "bar.1d"}
    assert {kind for kind in families if f'"{kind}"' not in rows} == set()
    others = {
        "subscribe",
        "unsubscribe",
        "renew",
        "list",
        "status",
        "cancel",
        "pause",
        "resume",
        "clear_cooldown",
        "reload",
    }
    for operation in {str(cls.__struct_config__.tag) for cls in get_args(commands.AnyCommand)} - others:
        assert f'"op":"{operation}"' in rows, operation
