"""``supermask completion``: the completion script of a shell, made of the commands' parsers."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

import shtab
from ml_collections import ConfigDict

from supermask_jax.commands import COMMANDS
from supermask_jax.commands.common import Parser, guarded, parser_of
from supermask_jax.config import default_config, lottery

_EPILOG = """\
For the running shell: source <(supermask completion bash), likewise zsh; fish: supermask completion
fish | source. To keep it, write it where your shell looks for such scripts: its first lines say so.

Values are completed after a space: --config conv8, --config.epochs 3.
"""

# Commands that take --config.ENTRY=VALUE.
_WITH_CONFIG = ("train", "lottery", "search", "reproduce")


def _root() -> argparse.ArgumentParser:
    """Returns one parser of all commands."""
    root = argparse.ArgumentParser("supermask")
    root.add_argument("--version", action="version", help="print the version and stop")
    commands = root.add_subparsers()
    for name, about in COMMANDS.items():
        parser = parser_of(importlib.import_module(f"supermask_jax.commands.{name}").main)
        command = commands.add_parser(name, help=about, parents=[parser], add_help=False)
        for action in command._actions:
            if not action.choices and action.nargs != 0:
                action.complete = shtab.FILE
        if name in _WITH_CONFIG:
            config = default_config()
            if name == "lottery":
                config.lottery = lottery()
            _add_entries(command, config, "--config.")
    return root


def _add_entries(parser: argparse.ArgumentParser, config: ConfigDict, prefix: str) -> None:
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            _add_entries(parser, value, f"{prefix}{name}.")
        else:
            choices = ("true", "false") if isinstance(value, bool) else None
            text = f"default: {value}".replace("%", "%%")
            parser.add_argument(prefix + name, choices=choices, help=text)


def _act(argv: Sequence[str]) -> None:
    parser = Parser("completion", "Prints the completion script of a shell.", _EPILOG)
    parser.add_argument("shell", choices=shtab.SUPPORTED_SHELLS, help="for which it is")
    args = parser.parse_args(argv)
    print(shtab.complete(_root(), args.shell))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (default: the process's) and returns the exit status."""
    return guarded(_act, argv)
