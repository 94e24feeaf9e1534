"""``supermask completion``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml_collections import ConfigDict

EPILOG = """\
For the running shell: source <(supermask completion bash), likewise zsh; fish: supermask completion
fish | source. To keep it, write it where your shell looks for such scripts: its first lines say so.

Values are completed after a space: --config conv8, --config.epochs 3.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    import shtab

    parser.add_argument("shell", choices=shtab.SUPPORTED_SHELLS, help="for which it is")


def run(args: argparse.Namespace) -> None:
    """Prints the script, made of the parser of all commands and the entries of configs."""
    import shtab

    from supermask_jax.config import default_config, lottery

    root = args.parser()
    for name, command in root.commands.items():
        for action in command._actions:
            if not action.choices and action.nargs != 0:
                action.complete = shtab.FILE
        if command.get_default("overrides") is not None:
            config = default_config()
            if name == "lottery":
                config.lottery = lottery()
            _add_entries(command, config, "--config.")
    print(shtab.complete(root, args.shell))


def _add_entries(parser: argparse.ArgumentParser, config: ConfigDict, prefix: str) -> None:
    for name, value in config.items():
        if hasattr(value, "items"):
            _add_entries(parser, value, f"{prefix}{name}.")
        else:
            choices = ("true", "false") if isinstance(value, bool) else None
            text = f"default: {value}".replace("%", "%%")
            parser.add_argument(prefix + name, choices=choices, help=text)
