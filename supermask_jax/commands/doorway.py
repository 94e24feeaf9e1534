"""How a command was called, what the commands are, and what their exit status says.

Imports nothing but the standard library: ``supermask --help`` answers at once.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Command -> what it does. Each is the module of its name in this package, with a `main(argv)`.
COMMANDS = {
    "train": "train one network, or one for each of some seeds",
    "lottery": "train, prune and train again in levels, over a grid of ways to prune",
    "search": "compare settings on the validation split",
    "evaluate": "measure the accuracy of a run or a ticket",
    "inspect": "show a run or a ticket layer by layer: signs, flips, dead units",
    "compare": "set two runs or tickets side by side, and their masks against chance",
    "export": "make tickets of runs, and StableHLO, ONNX and PyTorch files of tickets",
    "ticket": "verify, inspect, size and compare tickets, without JAX",
    "report": "write a run as a page: curves, masks, layers",
    "front": "draw accuracy against remaining weights",
    "reproduce": "run rows of the results table",
    "benchmark": "measure steps, epochs, memory and inference",
    "data": "say which sources of data sets are in reach, and prepare one",
    "completion": "print the completion script of a shell",
}

EXIT_STATUS = """\
exit status: 0 done, or already done; 1 bad input, or it failed (data, disk, divergence), with one \
line on stderr that says what to change; 128 + n stopped by signal n (Ctrl-C: 130), with the work \
saved.
"""

_PROG: ContextVar[str | None] = ContextVar("prog", default=None)


def whole_streams() -> None:
    """Makes stdout and stderr take any text, also where they are closed or know few characters."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # ``2>&-``. The next file opened must not be descriptor 2.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def entered_as(prog: str) -> Iterator[None]:
    """Makes the parsers within call themselves `prog`, e.g. ``supermask train``."""
    token = _PROG.set(prog)
    try:
        yield
    finally:
        _PROG.reset(token)


def program(script: str) -> str:
    """Returns what the user typed to get here: a file in ``experiments/`` unless `entered_as`."""
    return _PROG.get() or f"python experiments/{script}"


def no_backend() -> str:
    """Says that JAX finds none of the devices that the environment asks for, "" where it does."""
    asked = os.environ.get("JAX_PLATFORMS")
    if not asked or "jax" not in sys.modules:
        return ""
    try:
        sys.modules["jax"].devices()
    except (RuntimeError, AssertionError):
        return (
            f"JAX finds no device of JAX_PLATFORMS={asked} here: unset it, or install the JAX that "
            "drives one"
        )
    return ""


# What a strict setting of the process would refuse in what is right, also in Flax and optax.
_PLAIN = {"jax_numpy_dtype_promotion": "standard", "jax_transfer_guard": "allow"}


@contextmanager
def plain_jax() -> Iterator[None]:
    """Runs under JAX's own rules of promotion and transfer, whatever the environment says."""
    names = [name for name in _PLAIN if name.upper() in os.environ]
    old = {name: os.environ[name.upper()] for name in names}
    for name in names:
        os.environ[name.upper()] = _PLAIN[name]  # Read where JAX is not imported yet.
        if "jax" in sys.modules:
            sys.modules["jax"].config.update(name, _PLAIN[name])
    try:
        yield
    finally:
        for name in names:
            os.environ[name.upper()] = old[name]
