"""What several commands share: flags, their values, and where they work."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from supermask_jax.errors import UserError, expanded

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from supermask_jax.analysis.front import Point
    from supermask_jax.analysis.rows import Row

CONFIG_EPILOG = """\
Every entry of the config can be set on the command line, e.g. --config.epochs=3
--config.optimizer.learning_rate=0.1; --print_config lists them. Short forms: --seed, --epochs,
--batch_size, and --lr for the learning rate. --config.optimizer=adamw, and likewise method,
schedule, method.threshold and method.score_init, starts from the defaults of that one; a model or
initialiser keeps the entries there are. The other overrides apply on top, wherever they stand.

A run that was stopped goes on when the same command is given again; a finished one is left alone.
"""

# Short flag -> the entry that it sets.
ALIASES = {
    "--seed": "seed",
    "--epochs": "epochs",
    "--batch_size": "batch_size",
    "--lr": "optimizer.learning_rate",
}


_CONFIG = """\
config file, e.g. configs/conv8.py or configs/fcn.py:released; or the name of one that comes with
the package, e.g. conv8 or fcn:released, for which the bare word conv8 will do"""
_DRY_RUN = "print data, shapes, weight counts, memory and steps; train and write nothing"
_PLAIN = """\
print one line an epoch on a terminal too, and no live view; NO_COLOR=1 in the environment keeps the
view and drops its colours"""
_PLACE = "work folder of a run, file of a ticket, or name of one that ships, e.g. fcn-sparse"
_SEED = "which run, where a folder holds several (default: the first that did not diverge)"


def spelled_out(words: Sequence[str]) -> list[str]:
    """Returns a command line with every override as ``--config.ENTRY=VALUE``.

    Short forms get their entry's name, and a value that is a word of its own joins its flag.
    """
    found: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        open_flag = found and found[-1].startswith("--config.") and "=" not in found[-1]
        if open_flag and not word.startswith("--"):
            found[-1] += f"={word}"
        else:
            entry = ALIASES.get(name)
            found.append(word if entry is None else f"--config.{entry}{equals}{value}")
    return found


def seed_list(text: str) -> list[int]:
    """Parses the value of a flag: whole numbers with commas."""
    try:
        seeds = [int(seed) for seed in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"whole numbers with commas, got {text!r}") from error
    if len(set(seeds)) < len(seeds):
        raise argparse.ArgumentTypeError(f"names a seed twice: {text!r}")
    return seeds


def at_least(least: int) -> Callable[[str], int]:
    """Returns what parses the value of a flag: a whole number, `least` or more."""

    def parse(text: str) -> int:
        if not (text.isdecimal() and int(text) >= least):
            raise argparse.ArgumentTypeError(f"a whole number, at least {least}, got {text!r}")
        return int(text)

    return parse


def minutes(text: str) -> float:
    """Parses the value of a flag: a time, and not NaN, which would never be over."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if math.isnan(found):
        raise argparse.ArgumentTypeError(f"must be a number, got {text!r}")
    return found


def add_config(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a command that works on one config, which takes overrides of it too."""
    parser.set_defaults(overrides=())
    add = parser.add_argument
    add("--config", metavar="FILE[:VARIANT]", help=_CONFIG)
    add("--workdir", metavar="FOLDER", help="where the run goes (default: a folder under runs/)")
    add("--print_config", action="store_true", help="print the config and stop")
    add("--dry_run", action="store_true", help=_DRY_RUN)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Adds --plain, for `training.waiting.plain_lines`, and --quiet and --json."""
    parser.add_argument("--plain", action="store_true", help=_PLAIN)
    parser.add_argument("--quiet", action="store_true", help="print the result alone, no epochs")
    add_json(parser)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds --json, which a command prints nothing else with."""
    parser.add_argument("--json", action="store_true", help="print the result alone, as JSON")


def points_json(points: Iterable[Point]) -> list[dict[str, Any]]:
    """Returns the points of `analysis.front` as JSON has them."""
    return [
        {"label": p.label, "remaining": p.remaining._asdict(), "accuracy": p.accuracy._asdict()}
        for p in points
    ]


def add_budget(parser: argparse.ArgumentParser, seeds: str) -> None:
    """Adds the flags of a command that runs several seeds, and stops starting them in time."""
    add, about = parser.add_argument, f"one run each (default: {seeds})"
    add("--seeds", type=seed_list, default=seeds, metavar="NUMBERS", help=about)
    add("--budget_minutes", type=minutes, default=math.inf, help="start no run after this time")


def add_places(parser: argparse.ArgumentParser, number: int = 1) -> None:
    """Adds PLACE, as ``args.places``, and the flags of what reads them by `commands.places`."""
    add = parser.add_argument
    add("places", nargs=number, metavar="PLACE", help=_PLACE)
    add_seed(parser)
    add_json(parser)


PLACES_EPILOG = """\
A work folder stands for the newest checkpoint in it, whether or not the run is finished; a level of
pruning (FOLDER/CELL/level_03) must be finished.
"""


def add_seed(parser: argparse.ArgumentParser) -> None:
    """Adds the flag --seed, which run of a folder is meant."""
    parser.add_argument("--seed", type=int, help=_SEED)


def recorded(words: Sequence[str], flags: Iterable[str]) -> list[str]:
    """Returns a command line as a result keeps it: without what says only where and how fast.

    Args:
      words: the command line.
      flags: to leave out, with their values, beside how it prints and overrides that change
        nothing computed.
    """
    from supermask_jax.config.files import changes_nothing

    kept, value = [], False
    for word in words:
        if word in ("--plain", "--quiet", "--json"):
            continue
        dropped = word.partition("=")[0] in flags or changes_nothing(word)
        if not dropped and not (value and not word.startswith("--")):
            kept.append(word)
        value = dropped and "=" not in word
    return kept


def default_workdir(config: ConfigDict, spec: str) -> str:
    """Returns ``runs/NAME-sSEED``, with a digest of the config where it is not that of its file.

    Entries that do not change what is computed are not in the digest; nor is the section on
    pruning, so that ways to prune share their dense network.
    """
    from supermask_jax.config.files import identity, load_config

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


_CHECKOUT = ("experiments/rows.py", "configs", "supermask_jax")


class Checkout(NamedTuple):
    """Where the config files, results and pages of the table are."""

    root: Path
    rows: Sequence[Row]  # most valuable first


def find_checkout(places: Iterable[Path] | None = None) -> Checkout:
    """Returns the checkout that the working folder is in, else the one that this package is in.

    Its table is executed: a folder that merely has a file of that name is none.

    Args:
      places: folders to look in instead, in this order.

    Raises:
      UserError: there is none.
    """
    here = Path.cwd()
    for place in places or (here, *here.parents, Path(__file__).resolve().parents[2]):
        table, *folders = (place / name for name in _CHECKOUT)
        if table.is_file() and all(map(Path.is_dir, folders)):
            spec = importlib.util.spec_from_file_location("rows", table)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return Checkout(place, module.ROWS)
    raise UserError(
        "the rows of the results table and their configs are in the repository of supermask_jax: "
        "give this command in a checkout of it"
    )
