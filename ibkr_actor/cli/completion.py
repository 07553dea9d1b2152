"""`ibkr-actor completion SHELL`: a completion script, made from the arguments themselves.

Knows no command by name.
"""

from __future__ import annotations

import argparse
from typing import Final

from msgspec import Struct

PROG: Final = "ibkr-actor"
# Words behind which a file is meant, by the metavar of the argument.
_FILES: Final = frozenset({"FILE", "DIR"})


class Option(Struct, frozen=True):
    """One option of a command: its spellings, what may follow it (None: nothing), whether that is a file."""

    names: tuple[str, ...]
    values: tuple[str, ...] | None
    files: bool
    help: str


class Told(Struct, frozen=True):
    """One command as a shell needs it: options, and the words that may stand alone."""

    name: str
    help: str
    options: tuple[Option, ...]
    words: tuple[str, ...]
    files: bool


def main(arguments: argparse.Namespace) -> int:
    """Prints the script."""
    # Here, since the table of commands imports nothing of ours.
    from ibkr_actor.cli.main import parser

    commands = read(parser())
    print({"bash": bash, "zsh": zsh, "fish": fish}[arguments.shell](commands))
    return 0


def read(root: argparse.ArgumentParser) -> list[Told]:
    """Every command of the parser, in its order."""
    (actions,) = (action for action in root._actions if isinstance(action, argparse._SubParsersAction))
    helps = {choice.dest: choice.help or "" for choice in actions._get_subactions()}
    return [_told(name, helps.get(name, ""), command) for name, command in actions.choices.items()]


def _told(name: str, help_text: str, command: argparse.ArgumentParser) -> Told:
    options: list[Option] = []
    words: list[str] = []
    files = False
    for action in command._actions:
        choices = tuple(str(choice) for choice in action.choices or ())
        is_file = _metavar(action) in _FILES
        if action.option_strings:
            takes = choices if action.nargs != 0 else None
            help_line = (action.help or "").replace("%%", "%")
            options.append(Option(tuple(action.option_strings), takes, is_file, help_line))
        else:
            words += choices
            files |= is_file
    return Told(name, help_text, tuple(options), tuple(words), files)


def _metavar(action: argparse.Action) -> str:
    metavar = action.metavar
    return metavar if isinstance(metavar, str) else ""


def bash(commands: list[Told]) -> str:
    """One function; words by `compgen`, and file names where a file is meant."""
    lines = [
        "# Completion of ibkr-actor for bash: source <(ibkr-actor completion bash)",
        "_ibkr_actor() {",
        '    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" words="" files=""',
        "    COMPREPLY=()",
        "    if ((COMP_CWORD == 1)); then",
        f'        COMPREPLY=($(compgen -W "{" ".join(each.name for each in commands)} --help --version" -- "$word"))',
        "        return",
        "    fi",
        '    case "${COMP_WORDS[1]} $before" in',
    ]
    for told in commands:
        for option in told.options:
            if option.values is not None:
                pattern = "|".join(f'"{told.name} {name}"' for name in option.names)
                lines.append(
                    f'    {pattern}) words="{" ".join(option.values)}" files="{"yes" if option.files else ""}"'
                )
                lines.append('        COMPREPLY=($(compgen -W "$words" ${files:+-f} -- "$word")); return ;;')
    lines += ["    esac", '    case "${COMP_WORDS[1]}" in']
    for told in commands:
        words = " ".join([*told.words, *(name for option in told.options for name in option.names)])
        lines.append(f'    {told.name}) words="{words}" files="{"yes" if told.files else ""}" ;;')
    lines += [
        "    esac",
        '    COMPREPLY=($(compgen -W "$words" ${files:+-f} -- "$word"))',
        "}",
        f"complete -F _ibkr_actor {PROG}",
    ]
    return "\n".join(lines)


def zsh(commands: list[Told]) -> str:
    """`_arguments` for each command, below a list of them."""
    lines = [
        f"#compdef {PROG}",
        "# Completion of ibkr-actor for zsh: a file _ibkr-actor in a directory of $fpath",
        "_ibkr_actor() {",
        "    local -a commands",
        "    commands=(",
        *(f"        {_quoted(f'{told.name}:{_plain(told.help)}')}" for told in commands),
        "    )",
        "    if ((CURRENT == 2)); then",
        "        _describe command commands",
        "        return",
        "    fi",
        "    local command=$words[2]",
        "    shift words; ((CURRENT--))",
        '    case "$command" in',
    ]
    for told in commands:
        lines.append(f"    {told.name}) _arguments \\")
        for option in told.options:
            for name in option.names:
                after = "" if option.values is None else f":value:{_zsh_values(option.values, option.files)}"
                lines.append(f"        {_quoted(f'{name}[{_plain(option.help)}]{after}')} \\")
        lines.append(f"        {_quoted(f'*:argument:{_zsh_values(told.words, told.files)}')} ;;")
    lines += ["    esac", "}", 'if [[ "$funcstack[1]" == "_ibkr-actor" ]]; then _ibkr_actor "$@"; else']
    return "\n".join([*lines, f"    compdef _ibkr_actor {PROG}", "fi"])


def _zsh_values(values: tuple[str, ...], files: bool) -> str:
    return "_files" if files else f"({' '.join(values)})" if values else " "


def fish(commands: list[Told]) -> str:
    """A `complete` for each word."""
    lines = [
        "# Completion of ibkr-actor for fish: a file ibkr-actor.fish in ~/.config/fish/completions",
        f"complete -c {PROG} -f",
    ]
    for told in commands:
        lines.append(f"complete -c {PROG} -n __fish_use_subcommand -a {told.name} -d {_quoted(told.help)}")
        here = f"-n '__fish_seen_subcommand_from {told.name}'"
        for option in told.options:
            spelled = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
            takes = "" if option.values is None else " -r" + (" -F" if option.files else "")
            takes += f" -a {_quoted(' '.join(option.values))}" if option.values else ""
            lines.append(f"complete -c {PROG} {here} {spelled}{takes} -d {_quoted(option.help)}")
        if told.words:
            lines.append(f"complete -c {PROG} {here} -a {_quoted(' '.join(told.words))}")
        if told.files:
            lines.append(f"complete -c {PROG} {here} -F")
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Without what zsh would read as its own."""
    return text.replace("[", "(").replace("]", ")").replace(":", " -")


def _quoted(text: str) -> str:
    """In single quotes, for every one of the three."""
    return "'" + text.replace("'", "'\\''") + "'"
