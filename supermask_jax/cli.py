"""The command line: parses flags, runs one experiment, and ends bad input in one line.

Exit status: 0 done, or already done; 1 bad input, or the run failed (data, disk, divergence);
128 + n stopped by signal n, with the work saved.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from absl import flags
from absl import logging as absl_logging
from ml_collections import ConfigDict, config_flags

from supermask_jax.config import check_config, load_config
from supermask_jax.errors import UserError, unknown_name

_EPILOG = """\
Every entry of the config can be set on the command line, e.g. --config.epochs=3
--config.optimizer.learning_rate=0.1; --print_config lists them. A run that was stopped goes on
when the same command is given again; a finished one is left alone.
"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are UserErrors."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")


def make_parser(
    prog: str = "main.py", description: str = "Trains one network."
) -> argparse.ArgumentParser:
    """Makes the parser of a doorway; what is wrong on its command line is a UserError."""
    parser = Parser(prog=prog, description=description, epilog=_EPILOG, allow_abbrev=False)
    parser.add_argument(
        "--config", required=True, metavar="FILE[:VARIANT]",
        help="config file, e.g. configs/conv8.py or configs/fcn.py:released",
    )  # fmt: skip
    parser.add_argument(
        "--workdir", metavar="FOLDER", help="where the run goes (default: a folder under runs/)"
    )
    parser.add_argument("--print_config", action="store_true", help="print the config and stop")
    parser.add_argument(
        "--dry_run", action="store_true",
        help="print data, shapes, weight counts, memory and steps; train and write nothing",
    )  # fmt: skip
    return parser


def parse(
    argv: Sequence[str],
    parser: argparse.ArgumentParser | None = None,
    check: Callable[[ConfigDict], None] = check_config,
) -> tuple[argparse.Namespace, ConfigDict]:
    """Returns the flags and the config with its overrides applied.

    Args:
      argv: the command line without the program's name.
      parser: from `make_parser`, with more flags; None is that of training.
      check: raises UserError where the config is wrong.

    Raises:
      UserError: a flag, the config file or an override is wrong.
    """
    args, overrides = (parser or make_parser()).parse_known_args(argv)
    config = load_config(args.config)
    for override in overrides:
        if override.startswith("--config."):
            _check_key(config, override.removeprefix("--config.").split("=")[0])
    argv, values = ["main.py", *overrides], flags.FlagValues()
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
        rest = values(argv)[1:]
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(_one_line(error)) from error
    if rest:
        raise UserError(f"unexpected argument {rest[0]!r}; overrides look like --config.epochs=3")
    check(config)
    return args, config


def _check_key(config: ConfigDict, key: str) -> None:
    """Raises UserError unless the dotted `key` is in `config`."""
    node, prefix = config, "config"
    for part in key.split("."):
        if not isinstance(node, ConfigDict) or part not in node:
            names = node.keys() if isinstance(node, ConfigDict) else ()
            raise unknown_name(f"entry of {prefix}", part, names)
        node, prefix = node[part], f"{prefix}.{part}"


def default_workdir(config: ConfigDict, spec: str) -> str:
    """Returns ``runs/NAME-sSEED``, with a digest of the config where it is not that of its file."""
    folder = f"runs/{config.name}-s{config.seed}"
    plain = load_config(spec)
    plain.seed = config.seed
    if plain == config:
        return folder
    text = json.dumps(config.to_dict(), sort_keys=True)
    return f"{folder}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error.args[0] if error.args else error).split())


def _run(args: argparse.Namespace, config: ConfigDict) -> None:
    # Here and not at the top: what needs no training starts fast.
    from supermask_jax import experiment

    workdir = args.workdir or default_workdir(config, args.config)
    summary = experiment.run(config, workdir)
    print(
        f"{config.name}: test accuracy {summary['test_accuracy']:.2%}, "
        f"{summary['remaining_weights']:.2%} of {summary['num_weights']:,} weights remain; "
        f"results in {workdir}"
    )


def _act(args: argparse.Namespace, config: ConfigDict) -> None:
    if args.print_config:
        print(config)
    elif args.dry_run:
        from supermask_jax.dry_run import describe

        print(describe(config))
    else:
        _run(args, config)


def main(
    argv: Sequence[str] | None = None,
    parse: Callable[[Sequence[str]], tuple[argparse.Namespace, ConfigDict]] = parse,
    act: Callable[[argparse.Namespace, ConfigDict], None] = _act,
) -> int:
    """Runs the command line `argv` (default: the process's) and returns the exit status.

    `parse` and `act` are those of training; another doorway gives its own.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("supermask_jax")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    # Orbax logs every detail, and every exception that it then raises.
    absl_logging.set_verbosity(absl_logging.FATAL)
    # A failed background save is raised again where it is waited for, and reported there.
    threading.excepthook = lambda args: logger.debug("in %s: %s", args.thread, args.exc_value)
    try:
        args, config = parse(sys.argv[1:] if argv is None else argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return _guarded(act, args, config)


def _guarded(
    act: Callable[[argparse.Namespace, ConfigDict], None],
    args: argparse.Namespace,
    config: ConfigDict,
) -> int:
    from supermask_jax.training.loop import Interrupted

    try:
        act(args, config)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Interrupted as stop:
        print(f"{stop}; saved: give the same command to go on", file=sys.stderr)
        return 128 + stop.signum
    except BrokenPipeError:  # The reader of our output has gone: nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def entry() -> Any:
    """The entry point of the console script."""
    sys.exit(main())
