"""What the commands' arguments share: the parser that tells a mistake in one line, the options of every reader, help.

Knows no command's work.
"""

from __future__ import annotations

import argparse
import difflib
import shutil
import textwrap
from pathlib import Path
from typing import Any, Final, NoReturn

# As argparse has it by itself.
_EXIT_WRONG_ARGUMENT: Final = 2
# Narrower than this a text beside the names would be a word a line.
_NARROWEST: Final = 40
# The order and the headings of the top-level help; a command that stands nowhere is listed last.
GROUPS: Final = (
    ("run it", ("run", "demo", "simulate", "replay", "http", "bridge")),
    ("read and subscribe", ("tail", "sub", "snap", "history", "search", "chain", "scan", "bulletins")),
    ("look after it", ("status", "lines", "top", "health", "doctor", "commands")),
    ("for programs", ("schema", "completion")),
)
EXIT_STATUS: Final = (
    "exit status: 0 done; 1 the answer is no, nobody answers, or something is missing; 2 a wrong setting or argument; "
    "3 a newer sidecar has taken over; 130 Ctrl-C (0 for what runs until Ctrl-C)"
)

Commands = Any  # argparse names the type only in private: _SubParsersAction[ArgumentParser]


class Help(argparse.HelpFormatter):
    """Fits sentences to the terminal, and leaves examples, which are indented, in their lines: one copies them."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = text.splitlines()
        return "\n".join(line if line.startswith(" ") else textwrap.fill(line, width) for line in lines)


class Parser(argparse.ArgumentParser):
    """Tells a wrong argument in one line, as every other mistake is told."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", Help)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(_EXIT_WRONG_ARGUMENT, f"{self.prog}: {message}; see {self.prog} --help\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As argparse does, and with the choice that was meant; the commands are too many for a line."""
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            near = difflib.get_close_matches(str(value), map(str, action.choices or ()), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            if action.dest == "command":
                self.error(f"no command is called {value!r}{hint}")
            raise argparse.ArgumentError(action, error.message + hint) from None


class Root(Parser):
    """The top: its help lists the commands by what they are for."""

    def add_subparsers(self, **kwargs: Any) -> Commands:
        kwargs["parser_class"] = Parser
        self._commands = super().add_subparsers(**kwargs)
        return self._commands

    def format_help(self) -> str:
        """Usage, the commands by group, and how a command's own help is had."""
        told = {choice.dest: choice.help or "" for choice in self._commands._get_subactions()}
        placed = {name for _, names in GROUPS for name in names}
        groups = [*GROUPS, ("more", tuple(name for name in told if name not in placed))]
        names_wide = max(map(len, told))
        # As wide as argparse makes the help of one command.
        wide = max(_NARROWEST, shutil.get_terminal_size().columns - 2)

        def row(name: str, text: str) -> str:
            begin = f"  {name:<{names_wide}}  "
            return textwrap.fill(text, wide, initial_indent=begin, subsequent_indent=" " * len(begin))

        lines = ["usage: ibkr-actor COMMAND [options]", "", textwrap.fill(str(self.description), wide)]
        for title, names in groups:
            rows = [row(name, told[name]) for name in names if name in told]
            lines += ["", f"{title}:", *rows] if rows else []
        lines += [
            "",
            "options:",
            row("-h, --help", "this help; ibkr-actor COMMAND --help tells of one command, with examples"),
            row("--version", "the version"),
            "",
            textwrap.fill(str(self.epilog), wide),
            textwrap.fill(EXIT_STATUS, wide),
        ]
        return "\n".join(lines) + "\n"


def command(commands: Commands, name: str, help_text: str, *examples: str) -> argparse.ArgumentParser:
    """A command of the command line; its module is `ibkr_actor.cli.<name>`, and `examples` stand below its help."""
    epilog = "examples:\n" + "\n".join(f"  {line}" for line in examples) if examples else None
    description = help_text[0].upper() + help_text[1:] + "."
    added: argparse.ArgumentParser = commands.add_parser(name, help=help_text, description=description, epilog=epilog)
    added.set_defaults(module=name)
    return added


def add_config(parser: argparse.ArgumentParser) -> None:
    """`--config`."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file of settings (IBKR_CONFIG)")


def add_redis(parser: argparse.ArgumentParser) -> None:
    """`--config` and `--redis-url` of a command that reads what a sidecar wrote."""
    add_config(parser)
    parser.add_argument(
        "--redis-url", metavar="URL", help="Redis to read; without one the embedded server's (IBKR_REDIS_URL)"
    )


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """`--json`: one object a line; `what` says what each is."""
    parser.add_argument("--json", action="store_true", help=f"one JSON object a line: {what}")
