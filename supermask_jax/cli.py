"""The console script `supermask`, which is also ``python -m supermask_jax``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from supermask_jax.commands import COMMANDS, EXIT_STATUS
from supermask_jax.commands.process import whole_streams
from supermask_jax.errors import UserError, unknown_name

_USAGE = "usage: supermask [--help] [--version] COMMAND ..."


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            _USAGE,
            "",
            "Trains, studies and ships supermasks: networks that learn by keeping, hiding or",
            "inverting random weights that never change.",
            "",
            "commands:",
            *lines,
            "",
            "supermask COMMAND --help says what each takes. To begin with:",
            "",
            "  supermask train --config=quickstart",
            "",
            *_wrapped(EXIT_STATUS),
        ]
    )


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, 80)


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("supermask-jax")
    except metadata.PackageNotFoundError:
        return "not installed: used from its folder"


def _dispatch(words: Sequence[str]) -> int:
    name, rest = (words[0], words[1:]) if words else ("--help", [])
    if name in ("--help", "-h"):
        print(_help(), flush=True)
        return 0
    if name == "--version":
        print(f"supermask-jax {_version()}")
        return 0
    if name.startswith("-"):
        raise UserError(f"unknown flag {name!r} before the command; see supermask --help")
    if name not in COMMANDS:
        raise unknown_name("command", name, COMMANDS)
    # Only the one that is wanted: many import JAX.
    return importlib.import_module(f"supermask_jax.commands.{name}").main(rest)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (default: the process's) and returns the exit status."""
    whole_streams()
    try:
        return _dispatch(sys.argv[1:] if argv is None else argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # Nobody reads on, as of `supermask --help | head -1`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:  # While a command was imported: `guarded` catches later ones.
        print("stopped", file=sys.stderr)
        return 130
