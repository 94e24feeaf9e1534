"""The points of a search: combinations of values of config entries, all checked before any runs."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from supermask_jax.config_files import identity
from supermask_jax.errors import UserError
from supermask_jax.overrides import load_with_overrides


class Axis(NamedTuple):
    """Entries of the config that vary together, and the texts of their values."""

    keys: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]


class Trial(NamedTuple):
    """A point of the grid.

    Attributes:
      point: entry -> value, of the entry's type.
      config: the whole config, its seed aside.
      digest: names the config, its seed aside.
    """

    point: dict[str, Any]
    config: ConfigDict
    digest: str


def parse_axis(text: str) -> Axis:
    """Parses ``key=value,value`` or, for entries that vary together, ``key,key=a:b,a:b``.

    Raises:
      UserError: the text is neither.
    """
    left, _, right = text.partition("=")
    keys = tuple(key.removeprefix("config.") for key in left.split(","))
    if not all(keys) or not right:
        raise UserError(
            f"--grid is an entry and its values, method.threshold.value=0.01,0.02, got {text!r}"
        )
    values = []
    for value in right.split(","):
        parts = tuple(value.split(":")) if len(keys) > 1 else (value,)
        if len(parts) != len(keys) or not all(parts):
            raise UserError(
                f"--grid {left} needs {len(keys)} parts in every value, e.g. "
                f"{':'.join(['0.1'] * len(keys))}, got {value!r}"
            )
        values.append(parts)
    return Axis(keys, tuple(values))


def _points(axes: Sequence[Axis]) -> Iterator[list[tuple[str, str]]]:
    """Yields the points as (entry, text) pairs; the last axis changes first."""
    keys = [key for axis in axes for key in axis.keys]
    for key in keys:
        if keys.count(key) > 1:
            raise UserError(f"--grid sets {key} twice: put its values in one --grid")
        if key in ("seed", "num_seeds"):
            raise UserError("seeds are no points of a grid: give them with --seeds=0,1,2")
    for parts in itertools.product(*(axis.values for axis in axes)):
        yield list(zip(keys, itertools.chain.from_iterable(parts), strict=True))


def load_trial(spec: str, flags: Sequence[str], point: Sequence[tuple[str, str]] = ()) -> Trial:
    """Returns one point of a search over the config file `spec` under the overrides `flags`.

    Raises:
      UserError: an entry is unknown, a value wrong or impossible, or the run would tune on test.
    """
    from supermask_jax import experiment  # Here and not at the top: --help needs no JAX.

    config = load_with_overrides(spec, [*flags, *(f"--config.{k}={v}" for k, v in point)])
    if config.protocol != "validation":
        raise UserError(
            "a search chooses on the validation split and never on test: leave out "
            f"config.protocol={config.protocol}"
        )
    if config.num_seeds != 1:
        raise UserError("seeds of a search are given with --seeds=0,1,2: leave out num_seeds")
    experiment.build(config)  # The factories check their own options.
    text = json.dumps(plain_config(config), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return Trial({key: _entry(config, key) for key, _ in point}, config, digest)


def plain_config(config: ConfigDict) -> dict[str, Any]:
    """Returns what makes two searches the same: the config without its seed."""
    plain = identity(config)
    plain.pop("seed")
    return plain


def _entry(config: ConfigDict, key: str) -> Any:
    for part in key.split("."):
        config = config[part]
    return config


def load_trials(spec: str, flags: Sequence[str], axes: Sequence[Axis]) -> list[Trial]:
    """Returns every point of the grid; the last axis changes first.

    Raises:
      UserError: as `load_trial`; or two points are the same run.
    """
    trials: dict[str, Trial] = {}
    for point in _points(axes):
        trial = load_trial(spec, flags, point)
        if trial.digest in trials:
            a, b = describe(trials[trial.digest].point), describe(trial.point)
            raise UserError(f"two points of the grid are the same run: {a}, and {b}")
        trials[trial.digest] = trial
    return list(trials.values())


def draw(trials: Sequence[Trial], count: int, seed: int) -> list[Trial]:
    """Returns `count` of the trials, drawn by `seed` without repetition.

    Raises:
      UserError: there are not so many.
    """
    if not 1 <= count <= len(trials):
        raise UserError(f"--random must be from 1 to {len(trials)}, the size of the grid: {count}")
    return random.Random(seed).sample(list(trials), count)


def describe(point: dict[str, Any]) -> str:
    """Returns a point as the flags that set it."""
    return " ".join(f"--config.{key}={value}" for key, value in point.items())
