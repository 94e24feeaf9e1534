"""What the command lines share: parsers whose errors are one line, and the exit status.

What needs no config starts without what configs are made of, so that --help is quick.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import json
import logging
import math
import os
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

from absl import logging as absl_logging

from supermask_jax.commands import EXIT_STATUS
from supermask_jax.commands.process import no_backend, plain_jax, whole_streams
from supermask_jax.errors import UserError, expanded

if TYPE_CHECKING:
    from ml_collections import ConfigDict

_EPILOG = """\
Every entry of the config can be set on the command line, e.g. --config.epochs=3
--config.optimizer.learning_rate=0.1; --print_config lists them. A run that was stopped goes on
when the same command is given again; a finished one is left alone.
"""


class _Paragraphs(argparse.HelpFormatter):
    """Fills paragraph by paragraph: argparse's own makes one of all."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = lambda part: textwrap.fill(  # noqa: E731
            " ".join(part.split()), width, initial_indent=indent, subsequent_indent=indent
        )
        return "\n\n".join(map(fill, text.split("\n\n")))


class Parser(argparse.ArgumentParser):
    """A parser whose errors are UserErrors, and which takes no abbreviations.

    Its help ends with what the exit status says.
    """

    def __init__(self, command: str, description: str, epilog: str) -> None:
        super().__init__(
            prog=f"supermask {command}",
            description=description,
            epilog=f"{epilog}\n\n{EXIT_STATUS}",
            formatter_class=_Paragraphs,
            allow_abbrev=False,
        )

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        if _ASKED.get():
            raise _Shown(self)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


class _Shown(Exception):
    """Carries the parser of a command to `parser_of`."""


_ASKED: ContextVar[bool] = ContextVar("asked", default=False)


def parser_of(main: Callable[[Sequence[str]], int]) -> argparse.ArgumentParser:
    """Returns the parser of a command, from its `main`, which does nothing but make it."""
    token = _ASKED.set(True)
    try:
        main([])
    except _Shown as shown:
        return shown.args[0]
    finally:
        _ASKED.reset(token)
    raise TypeError(f"{main} parses no command line")


def seed_list(text: str) -> list[int]:
    """Parses the value of a flag: whole numbers with commas."""
    try:
        seeds = [int(seed) for seed in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"whole numbers with commas, got {text!r}") from error
    if len(set(seeds)) < len(seeds):
        raise argparse.ArgumentTypeError(f"a seed twice is one run, got {text!r}")
    return seeds


def at_least(least: int) -> Callable[[str], int]:
    """Makes the parser of a flag's value: a whole number, at least so much."""

    def whole(text: str) -> int:
        if not text.strip().lstrip("+-").isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {text!r}")
        return int(text)

    return whole


def minutes(text: str) -> float:
    """Parses the value of a flag: a time, and not NaN, which would never be over."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if math.isnan(found):
        raise argparse.ArgumentTypeError(f"must be a number, got {text!r}")
    return found


def config_parser(command: str, description: str) -> Parser:
    """Makes the parser of a command that works on one config."""
    parser = Parser(command, description, _EPILOG)
    add = parser.add_argument
    add(
        "--config",
        required=True,
        metavar="FILE[:VARIANT]",
        help="config file, e.g. configs/conv8.py or configs/fcn.py:released; or the name of one "
        "that comes with the package, e.g. conv8 or fcn:released",
    )
    add("--workdir", metavar="FOLDER", help="where the run goes (default: a folder under runs/)")
    add("--print_config", action="store_true", help="print the config and stop")
    add(
        "--dry_run",
        action="store_true",
        help="print data, shapes, weight counts, memory and steps; train and write nothing",
    )
    return parser


def add_plain(parser: argparse.ArgumentParser) -> None:
    """Adds the flag --plain, for `training.live.plain_lines`."""
    parser.add_argument(
        "--plain",
        action="store_true",
        help="print one line an epoch on a terminal too, and no live view; NO_COLOR=1 in the "
        "environment keeps the view and drops its colours",
    )


def parse_config(
    argv: Sequence[str],
    parser: argparse.ArgumentParser,
    check: Callable[[ConfigDict], None] | None = None,
) -> tuple[argparse.Namespace, ConfigDict]:
    """Returns the flags and the config with its overrides applied.

    Args:
      argv: the command line without the program's name.
      parser: from `config_parser`.
      check: raises UserError where the config is wrong; None is `config_files.check_config`.

    Raises:
      UserError: a flag, the config file or an override is wrong.
    """
    args, overrides = parser.parse_known_args(argv)
    from supermask_jax.config_files import check_config, load_with_overrides

    return args, load_with_overrides(args.config, overrides, check or check_config)


def default_workdir(config: ConfigDict, spec: str) -> str:
    """Returns ``runs/NAME-sSEED``, with a digest of the config where it is not that of its file.

    Entries that do not change what is computed are not in the digest; nor is the section on
    pruning, so that ways to prune share their dense network.
    """
    from supermask_jax.config_files import identity, load_config

    folder = f"runs/{config.name}-s{config.seed}"
    plain, default = identity(config), identity(load_config(spec))
    for entries in (plain, default):
        entries.pop("lottery", None)
    if plain == default | {"seed": config.seed}:
        return folder
    text = json.dumps(plain, sort_keys=True)
    return f"{folder}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def check_out(path: Path | None) -> None:
    """Raises UserError, before anything is computed, unless the file `path` can be written."""
    if path is None:
        return
    expanded(path)  # Refuses what no path can hold.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make folder {path.parent}: {error.strerror or error}") from error
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise UserError(f"cannot write {path}: give --out a file in a folder that can be written")


def guarded(action: Callable[[Sequence[str]], None], argv: Sequence[str] | None = None) -> int:
    """Runs `action` on the command line `argv` (None: the process's); returns the exit status."""
    whole_streams()
    with _plain_output(), plain_jax():
        try:
            action(sys.argv[1:] if argv is None else argv)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except (RuntimeError, AssertionError):
            if not (why := no_backend()):
                raise
            print(f"error: {why}", file=sys.stderr)
            return 1
        except BrokenPipeError:  # The reader of our output has gone: nobody to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except OSError as error:
            place = f" {error.filename}" if error.filename else ""
            print(f"error: cannot read or write{place}: {error.strerror or error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt as stop:
            # `Interrupted` says what was saved; a bare Ctrl-C came before there was anything.
            said = f"{stop}; saved: give the same command to go on" if stop.args else "stopped"
            print(said, file=sys.stderr)
            return 128 + getattr(stop, "signum", signal.SIGINT)
    return 0


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to whatever `sys.stderr` is by then: a live view stands in for it while it shows."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr


@contextlib.contextmanager
def _plain_output() -> Iterator[None]:
    """Shows our own log lines as they are, and nothing of what other libraries log and print."""
    handler = _Stderr()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("supermask_jax")
    old = (threading.excepthook, sys.unraisablehook, absl_logging.get_verbosity(), logger.level)
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    # Orbax logs every detail, and every exception that it then raises.
    absl_logging.set_verbosity(absl_logging.FATAL)
    # A failed background save is raised again where it is waited for, and reported there.
    threading.excepthook = lambda args: logger.debug("in %s: %s", args.thread, args.exc_value)
    sys.unraisablehook = lambda args: logger.debug("in %s: %s", args.object, args.exc_value)
    try:
        yield
    finally:
        gc.collect()  # What a failed save left behind complains now, unheard.
        logger.handlers, logger.propagate = [], True
        threading.excepthook, sys.unraisablehook = old[:2]
        absl_logging.set_verbosity(old[2])
        logger.setLevel(old[3])
