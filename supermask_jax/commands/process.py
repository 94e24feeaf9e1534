"""The process that a command runs in: its streams, and what its environment asks of JAX.

Imports nothing but the standard library: ``supermask --help`` answers at once.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def whole_streams() -> None:
    """Makes stdout and stderr take any text, also where they are closed or know few characters."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # ``2>&-``. The next file opened must not be descriptor 2.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


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
