"""``supermask completion``: the completion script of a shell, made of the commands' parsers."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from string import Template
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from supermask_jax.commands.common import Parser, guarded, parser_of
from supermask_jax.commands.doorway import COMMANDS
from supermask_jax.config import default_config, lottery

_EPILOG = """\
To keep it: supermask completion bash > ~/.local/share/bash-completion/completions/supermask, or
supermask completion fish > ~/.config/fish/completions/supermask.fish, or supermask completion zsh >
_supermask in a folder of $fpath.

For the running shell: source <(supermask completion bash), likewise zsh.
"""

# Commands that take --config.ENTRY=VALUE.
_WITH_CONFIG = ("train", "lottery", "search", "reproduce")


class Flag(NamedTuple):
    """A flag of a command: `values` are those it can take, if they are few."""

    name: str
    takes_value: bool
    values: tuple[str, ...]
    help: str


class Command(NamedTuple):
    """A command: `words` are the values of its first argument, if they are few."""

    name: str
    about: str
    flags: tuple[Flag, ...]
    words: tuple[str, ...]


def _entries(config: ConfigDict, prefix: str = "--config.") -> Iterator[Flag]:
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _entries(value, f"{prefix}{name}.")
        else:
            values = ("true", "false") if isinstance(value, bool) else ()
            yield Flag(prefix + name, True, values, f"default: {value}")


def _command(name: str) -> Command:
    parser = parser_of(importlib.import_module(f"supermask_jax.commands.{name}").main)
    flags, words = [], ()
    for action in parser._actions:
        values = tuple(map(str, action.choices or ()))
        if not action.option_strings:
            words = words or values
            continue
        text = " ".join((action.help or "").split())
        flags.append(Flag(action.option_strings[-1], action.nargs != 0, values, text))
    if name in _WITH_CONFIG:
        config = default_config()
        if name == "lottery":
            config.lottery = lottery()
        flags += _entries(config)
    return Command(name, COMMANDS[name], tuple(flags), words)


_BASH = Template("""\
# bash completion of supermask: made by "supermask completion bash"
_supermask() {
    local line=$${COMP_LINE:0:COMP_POINT} command=$${COMP_WORDS[1]} IFS=$$' \\t\\n'
    local cur=$${line##*[[:space:]]} flag=$${COMP_WORDS[COMP_CWORD-1]} values=
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($$(compgen -W '$commands --help --version' -- "$$cur"))
        return
    fi
    case $$cur in
    -*=*)
        # The shell has split the word at the "=": only what follows is completed.
        flag=$${cur%%=*} cur=$${cur#*=}
        ;;
    -*)
        case $$command in
$flags
        esac
        COMPREPLY=($$(compgen -W "$$values" -- "$$cur"))
        [[ $$COMPREPLY == *= ]] && compopt -o nospace
        return
        ;;
    esac
    case "$$command $$flag" in
$values
    esac
    if [[ $$values ]]; then
        COMPREPLY=($$(compgen -W "$$values" -- "$$cur"))
    else
        IFS=$$'\\n'
        compopt -o filenames
        COMPREPLY=($$(compgen -f -- "$$cur"))
    fi
}
complete -F _supermask supermask""")


def _bash(commands: Sequence[Command]) -> str:
    flags, values = [], []
    for command in commands:
        names = " ".join(f.name + "=" * f.takes_value for f in command.flags)
        flags.append(f"        {command.name}) values='{names}' ;;")
        for flag in command.flags:
            if flag.values:
                choice = " ".join(flag.values)
                values.append(f"    '{command.name} {flag.name}') values='{choice}' ;;")
        if command.words:
            choice = " ".join(command.words)
            values.append(f"    '{command.name} {command.name}') values='{choice}' ;;")
    return _BASH.substitute(
        commands=" ".join(c.name for c in commands),
        flags="\n".join(flags),
        values="\n".join(values),
    )


_ZSH = Template("""\
#compdef supermask
# zsh completion of supermask: made by "supermask completion zsh"
_supermask() {
    local -a commands
    commands=(
$commands
    )
    if ((CURRENT == 2)); then
        _describe command commands
        return
    fi
    shift words
    ((CURRENT--))
    case $$words[1] in
$cases
    esac
}
if [[ $$funcstack[1] == _supermask ]]; then
    _supermask "$$@"
else
    compdef _supermask supermask
fi""")


def _zsh_text(text: str) -> str:
    for mark in "\\[]:":
        text = text.replace(mark, "\\" + mark)
    return text.replace("'", "'\\''")


def _zsh(commands: Sequence[Command]) -> str:
    cases = []
    for command in commands:
        specs = []
        for flag in command.flags:
            choice = f"({' '.join(flag.values)})" if flag.values else "_files"
            tail = f":value:{choice}" if flag.takes_value else ""
            specs.append(f"'{flag.name}{'=' * flag.takes_value}[{_zsh_text(flag.help)}]{tail}'")
        if command.words:
            specs.append(f"':word:({' '.join(command.words)})'")
        specs.append("'*:file:_files'")
        lines = " \\\n            ".join(specs)
        cases.append(
            f"    {command.name})\n        _arguments -S \\\n            {lines}\n        ;;"
        )
    names = [f"        '{c.name}:{_zsh_text(c.about)}'" for c in commands]
    return _ZSH.substitute(commands="\n".join(names), cases="\n".join(cases))


def _fish_text(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _fish(commands: Sequence[Command]) -> str:
    lines = [
        '# fish completion of supermask: made by "supermask completion fish"',
        "complete -c supermask -n __fish_use_subcommand -f -l help -d 'show the commands'",
        "complete -c supermask -n __fish_use_subcommand -f -l version -d 'show the version'",
    ]
    for command in commands:
        about = _fish_text(command.about)
        lines.append(
            f"complete -c supermask -n __fish_use_subcommand -f -a {command.name} -d '{about}'"
        )
        start = f"complete -c supermask -n '__fish_seen_subcommand_from {command.name}'"
        if command.words:
            lines.append(f"{start} -a '{' '.join(command.words)}'")
        for flag in command.flags:
            value = " -r" * flag.takes_value
            choice = f" -f -a '{' '.join(flag.values)}'" if flag.values else ""
            name = flag.name.removeprefix("--")
            lines.append(f"{start} -l {name}{value}{choice} -d '{_fish_text(flag.help)}'")
    return "\n".join(lines)


_SHELLS: dict[str, Callable[[Sequence[Command]], str]] = {
    "bash": _bash,
    "fish": _fish,
    "zsh": _zsh,
}


def _act(argv: Sequence[str]) -> None:
    parser = Parser("", "Prints the completion script of a shell.", _EPILOG)
    parser.add_argument("shell", choices=sorted(_SHELLS), help="for which it is")
    args: Any = parser.parse_args(argv)
    print(_SHELLS[args.shell]([_command(name) for name in COMMANDS]))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (default: the process's) and returns the exit status."""
    return guarded(_act, argv)
