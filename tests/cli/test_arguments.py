"""What is refused before anything runs: one line that names the argument, and exit status 2."""

from pathlib import Path

import pytest

from ibkr_actor.cli.main import EXIT_CONFIGURATION, main


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
            ["tail", "qoute", "AAPL", "--redis-url", "redis://127.0.0.1:1"],
            "ibkr-actor: 'qoute' is no kind; known: quote",
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
    assert main(arguments) == EXIT_CONFIGURATION
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith(line)
    assert [text for text in said if "Traceback" in text] == []
