"""What is measured: the parts, their options, and `run`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from supermask_jax.benchmark.epoch import measure_epoch
from supermask_jax.benchmark.memory import measure_memory
from supermask_jax.benchmark.peer import check_peer, measure_peer
from supermask_jax.benchmark.seeds import measure_seeds
from supermask_jax.benchmark.start import measure_imports, measure_start
from supermask_jax.benchmark.steps import measure_steps
from supermask_jax.config import default_config
from supermask_jax.errors import UserError, unknown_name
from supermask_jax.experiment import build
from supermask_jax.models import MODELS
from supermask_jax.training.environment import environment

PARTS = ("steps", "epoch", "start", "seeds")
# Only where they are asked for: minutes of a large network, and another framework.
_ALL = (*PARTS, "memory", "peer")

_IMPORTS, _LAUNCHES = 5, 3  # at most: a fresh process takes seconds


class Options(NamedTuple):
    """How much is measured."""

    parts: tuple[str, ...] = PARTS
    repeats: int = 7  # pairs of chunks of steps; launches and imports are fewer
    chunk_steps: int = 0  # steps in a chunk; 0 chooses by how the steps are dispatched
    epochs: int = 8  # timed ones
    seeds: int = 4  # in one program
    peer: str | None = None  # of the part "peer"
    peer_python: str = ""  # the interpreter that has it; "" is this one

    def check(self) -> None:
        """Raises UserError where an option is impossible."""
        if not self.parts:
            raise UserError(f"no part to measure: choose among {', '.join(PARTS)}")
        for part in self.parts:
            known = _ALL if self.peer else _ALL[:-1]
            if part not in known:
                raise unknown_name("part", part, known)
        for name, least in (("repeats", 1), ("chunk_steps", 0), ("epochs", 1), ("seeds", 2)):
            if getattr(self, name) < least:
                raise UserError(f"{name} must be at least {least}, got {getattr(self, name)}")


_DEFAULT = Options()

_MEASURES: dict[str, Callable[[ConfigDict, Options], Any]] = {
    "steps": lambda config, options: measure_steps(
        config, repeats=options.repeats, chunk_steps=options.chunk_steps
    ),
    "epoch": lambda config, options: measure_epoch(config, epochs=options.epochs),
    "seeds": lambda config, options: measure_seeds(
        config,
        num_seeds=options.seeds,
        repeats=options.repeats,
        chunk_steps=options.chunk_steps,
    ),
    "start": lambda config, options: measure_start(config, repeats=min(options.repeats, _LAUNCHES)),
    "memory": lambda config, options: measure_memory(config),
    "peer": lambda config, options: measure_peer(
        config,
        repeats=options.repeats,
        chunk_steps=options.chunk_steps,
        python=options.peer_python,
    ),
}


def model_config(name: str) -> ConfigDict:
    """Returns the signed supermask of a model, on MNIST for the FCN and on CIFAR-10 otherwise.

    Sizes, method and optimiser are those of the model's published config; rates and thresholds,
    which change no time, are the defaults.

    Raises:
      UserError: there is no such model.
    """
    if name not in MODELS:
        raise unknown_name("model", name, MODELS)
    config = default_config()
    config.name = config.model.name = name
    config.data.name = "mnist" if name == "fcn" else "cifar10"
    config.protocol = "paper"
    return config


def run(
    configs: Mapping[str, ConfigDict],
    options: Options = _DEFAULT,
    note: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measures every config.

    Args:
      configs: name in the result -> run with a masking method.
      options: how much is measured.
      note: called with a line of text before each part.

    Returns:
      {"env", "load_average", "imports", "models": {name: {part: figures}}}, with units in the
      names of the figures; "imports" is there with the part "start". "load_average" holds the
      machine's, over one minute, before and after.

    Raises:
      UserError: an option or a config is wrong.
    """
    options.check()
    for config in configs.values():
        _check(config)
        if options.peer:
            check_peer(options.peer, config, options.peer_python)
    load = [os.getloadavg()[0]]
    result: dict[str, Any] = {"env": environment(), "load_average": load}
    if "start" in options.parts:
        note("imports")
        result["imports"] = measure_imports(repeats=min(options.repeats, _IMPORTS))
    result["models"] = {}
    for name, config in configs.items():
        figures = {"data": config.data.name, "batch_size": config.batch_size}
        if how := build(config).convolution:
            figures["convolution"] = how
        for part in _ALL:
            if part in options.parts:
                note(f"{name}: {part}")
                figures[part] = _MEASURES[part](config, options)
        result["models"][name] = figures
    load.append(os.getloadavg()[0])
    return result


def _check(config: ConfigDict) -> None:
    """Raises UserError where a run is impossible, or has no dense twin that differs from it."""
    build(config)
    if config.method.name == "dense":
        raise UserError(
            f"config {config.name!r} trains a dense network: there is no mask to measure; give "
            "another variant"
        )
