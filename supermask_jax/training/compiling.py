"""What the compiler for CPU needs to be told, or kept from."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import jax


def compiled_apart(jitted: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a jitted function whose first call compiles it, and only then takes memory to run.

    On CPU the compiler leaves more freed memory in the C library's lists than a large network needs
    to train: it is given back before the program takes its own. On accelerators this does nothing.
    """
    compiled = False

    def call(*args: Any) -> Any:
        nonlocal compiled
        if not compiled and jax.default_backend() == "cpu":
            jitted.lower(*args).compile()  # Kept by JAX for the call below.
            _give_back_freed()
        compiled = True
        return jitted(*args)

    return call


def _give_back_freed() -> None:
    """Gives freed memory back to the system, where the C library is glibc."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # Another C library: nothing to ask it.
        pass


def derives_convolution(jaxpr: Any) -> bool:
    """Says whether a gradient through a jaxpr needs that of XLA's own convolution, as JAX has it.

    On CPU that one is many times slower inside a loop than outside, where alone XLA turns it into a
    convolution of the usual layout. What has a gradient of its own (`models.canonical`) is let be.
    """
    pending = [jaxpr]
    while pending:
        jaxpr = pending.pop()
        for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
            if equation.primitive.name == "conv_general_dilated":
                return True
            if "bwd" not in equation.params:  # The gradient, where it is written by hand.
                inner = jax.tree.leaves(tuple(equation.params.values()))
                pending += [x for x in inner if hasattr(x, "eqns") or hasattr(x, "jaxpr")]
    return False
