"""The console script `supermask`: the parser of all commands, and how each of them ends."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import NoReturn

import supermask_jax
from supermask_jax.commands import common, compilation_cache, process
from supermask_jax.errors import UserError, unknown_name

# Command -> what it does. Each is the module of its name in `supermask_jax.commands`.
COMMANDS = {
    "train": "train one network, or one for each of some seeds",
    "lottery": "train, prune and train again in levels, over a grid of ways to prune",
    "search": "compare settings on the validation split",
    "evaluate": "measure the accuracy of a run or a ticket",
    "inspect": "show a run or a ticket layer by layer: signs, flips, dead units",
    "compare": "compare two runs or tickets, and their masks with chance",
    "sanity": "compare a ticket with chance: masks shuffled, inverted and drawn, weights redrawn",
    "tasks": "train a mask for each of several tasks over one frozen network",
    "export": "make tickets of runs, and StableHLO, ONNX and PyTorch files of tickets",
    "ticket": "verify and size tickets, without JAX",
    "report": "write an HTML file about runs: curves, masks, layers",
    "front": "draw accuracy against remaining weights",
    "reproduce": "run rows of the results table",
    "data": "list where each data set can be loaded from, and prepare one",
    "completion": "print the completion script of a shell",
}

# Module -> the extra of this package that installs it.
_EXTRAS = {
    **dict.fromkeys(("altair", "jinja2", "vl_convert"), "report"),
    "flatbuffers": "stablehlo",
    "shtab": "completion",
}

_FLAGS = ("--help", "--version", "-h")

_ABOUT = """\
Trains, studies and ships supermasks: networks that learn by keeping, hiding or inverting random
weights that never change.
"""

_EPILOG = "supermask COMMAND --help lists the arguments of a command."
_EXAMPLES = ("train quickstart", "report runs")

EXIT_STATUS = """\
exit status: 0 done, or already done; 1 bad input, or it failed (data, disk, divergence), with one \
line on stderr that says what to change; 128 + n stopped by signal n (Ctrl-C: 130), with the work \
saved.
"""


class _Paragraphs(argparse.HelpFormatter):
    """Fills paragraph by paragraph: argparse's own makes one of all."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(
            # Lines that are indented stay as they are: examples, to be copied.
            part if "\n  " in part else textwrap.fill(" ".join(part.split()), width)
            for part in text.split("\n\n")
        )


class Parser(argparse.ArgumentParser):
    """A parser that takes no abbreviations, and whose errors are UserErrors."""

    commands: Mapping[str, Parser]

    def __init__(self, *, epilog: str = "", examples: Sequence[str] = (), **options: str) -> None:
        super().__init__(formatter_class=_Paragraphs, allow_abbrev=False, **options)
        shown = "".join(f"\n  supermask {example}" for example in examples)
        self.epilog = f"{epilog}\n\n{EXIT_STATUS}\n\nexamples:{shown}"

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        sys.stdout.flush()  # That nobody reads on, as of `--help | head -1`, is noticed here.
        super().exit(status, message)


def _print_version(args: argparse.Namespace) -> None:
    print(f"supermask-jax {supermask_jax.__version__}")


def parser(only: str | None = None) -> Parser:
    """Returns the parser of all commands, with the arguments of one or (None) of each."""
    root = Parser(prog="supermask", description=_ABOUT, epilog=_EPILOG, examples=_EXAMPLES)
    root.set_defaults(run=_print_version)  # A command has its own.
    root.add_argument("--version", action="store_true", help="print the version and stop")
    commands = root.add_subparsers(title="commands", metavar="COMMAND")
    for name, what in COMMANDS.items():
        if only in (None, name):
            module = importlib.import_module(f"supermask_jax.commands.{name}")
            about = f"{what[0].upper()}{what[1:]}."
            shown = {"epilog": module.EPILOG, "examples": module.EXAMPLES}
            command = commands.add_parser(name, help=what, description=about, **shown)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
        else:
            commands.add_parser(name, help=what)
    root.commands = commands.choices
    return root


def _parse(words: Sequence[str]) -> argparse.Namespace:
    """Returns the parsed command line, with its words, and with what builds the whole parser."""
    first, *rest = words
    if first.startswith("-") and first not in _FLAGS:
        raise unknown_name("flag", first, _FLAGS)
    if first not in (*COMMANDS, *_FLAGS):
        raise unknown_name("command", first, COMMANDS)
    root = parser(first)
    takes = first in COMMANDS and root.commands[first].get_default("overrides") is not None
    words = [first, *(common.spelled_out(rest) if takes else rest)]
    args, overrides = root.parse_known_args(words)
    if overrides and not takes:
        root.commands[first].error(f"unrecognized arguments: {' '.join(overrides)}")
    if getattr(args, "config", "") is None:  # It may also be the one bare word.
        bare = [word for word in overrides if not word.startswith("-")]
        if not bare:
            root.commands[first].error(f"which config? give e.g. supermask {first} conv8")
        args.config = bare[0]
        overrides.remove(bare[0])
    args.words, args.overrides, args.parser = words[1:], overrides, parser
    return args


def _failed(why: object) -> int:
    said = f"error: {why}"
    print(process.fitted(said) if sys.stderr.isatty() else said, file=sys.stderr)
    return 1


def script() -> NoReturn:
    """Runs the command line of this process, and ends it."""
    status = main()
    if status > 128:  # Stopped: threads that still compile would crash the interpreter's own end.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (default: the process's) and returns the exit status."""
    process.whole_streams()
    with contextlib.ExitStack() as around:
        try:
            args = _parse(list(sys.argv[1:] if argv is None else argv) or ["--help"])
            compilation_cache.turn_on()
            if not getattr(args, "json", False):
                around.enter_context(process.whole_words())
            around.enter_context(process.plain_output())
            around.enter_context(process.plain_jax())
            around.enter_context(process.answered_signals())
            args.run(args)
        except UserError as error:
            return _failed(error)
        except ModuleNotFoundError as error:
            if (extra := _EXTRAS.get(str(error.name).partition(".")[0])) is None:
                raise
            install = f"pip install 'supermask-jax[{extra}]'"
            return _failed(f"this needs {error.name}, which is not installed: {install}")
        except BrokenPipeError:  # The reader of our output has gone: nobody to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except OSError as error:
            place = f" {error.filename}" if error.filename else ""
            return _failed(f"cannot read or write{place}: {error.strerror or error}")
        except (RuntimeError, AssertionError):
            if not (why := process.no_backend()):
                raise
            return _failed(why)
        except KeyboardInterrupt as stop:
            # `Interrupted` says what was saved; a bare Ctrl-C came before there was anything.
            said = f"{stop}; saved: give the same command to go on" if stop.args else "stopped"
            print(said, file=sys.stderr)
            return 128 + getattr(stop, "signum", signal.SIGINT)
    return 0
