"""What XLA on CPU needs, that XLA on accelerators does not: there all of this does nothing."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array
PyTree = Any
Carry = TypeVar("Carry")

# Steps of a convolutional network in a dispatch, and seconds after which a compilation is a long
# one.
_STEPS, _LONG_S = 8, 0.1

_COMPILED = "/jax/core/compile/backend_compile_duration"


@functools.cache
def free_after_compiling() -> None:
    """Makes long compilations end with freed memory given back, before a program takes its own.

    The compiler leaves more of it in the C library's lists than a large network needs to train.
    """

    def ended(event: str, seconds: float, **unused: Any) -> None:
        if event == _COMPILED and seconds > _LONG_S and jax.default_backend() == "cpu":
            _give_back_freed()

    jax.monitoring.register_event_duration_secs_listener(ended)


def _give_back_freed() -> None:
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # Not glibc: nothing to ask.
        pass


def quick_jit(function: Callable[..., Any], **options: Any) -> Any:
    """Returns `jax.jit(function, **options)`, on a CPU optimised at the first level.

    Programs compile in 0.7 to 0.9 of the time, and steps take no more: of the FCN and Conv2 with
    jaxlib 0.10 and 0.12, of Conv8 with 0.12.
    """
    level = None
    # Whoever asks JAX for less than the first level, as our tests do, gets it.
    less = jax.config.read("jax_disable_most_optimizations")
    if jax.default_backend() == "cpu" and not less:
        level = {"xla_backend_optimization_level": 1}
    return jax.jit(function, compiler_options=level, **options)


def useful_devices() -> list[jax.Device]:
    """Returns all devices, but of CPUs one a process: the further ones are the same cores again."""
    devices = jax.devices()
    if devices[0].platform != "cpu":
        return devices
    first = {device.process_index: device for device in reversed(devices)}
    return [first[process] for process in sorted(first)]


def steps_in_dispatch(epoch: int, traced: Any, *, convolutional: bool) -> int:
    """Returns how many of the steps of an `epoch` to dispatch at once: all, but on CPU.

    There every dispatch takes the memory of its temporaries from the system anew, which may be a
    good part of a step: a few steps share it, and what stops a run need not wait long. It
    is one for networks whose gradients are many times slower inside a loop.

    Args:
      epoch: steps.
      traced: the network as a jaxpr: see `derives_convolution`.
      convolutional: whether it holds convolutions.
    """
    if jax.default_backend() != "cpu" or not convolutional:
        return epoch
    return 1 if derives_convolution(traced) else min(_STEPS, epoch)


def parts_of_rows(rows: int, most: int, whole_rows: Callable[[int], int]) -> int:
    """Returns in how many parts to run a network on a batch without gradients: 1, but on CPU.

    There a batch as large as evaluation's takes more memory than the train step does, and no less
    time in one.

    Args:
      rows: of the batch.
      most: of a part.
      whole_rows: rows -> as many or more, which devices share evenly.
    """
    if jax.default_backend() != "cpu":
        return 1
    fit = lambda n: rows % n == 0 and rows // n <= most and whole_rows(rows // n) * n == rows  # noqa: E731
    return next(filter(fit, range(1, rows + 1)), 1)


def in_parts(forward: Callable[[Array], Array], parts: int, rows: Array) -> Array:
    """Returns `forward` of rows [B, ...], [B, ...], computed in turn for `parts` of them.

    Every parts-th row makes a part: rows that lie on several devices stay where they are.
    """
    if parts == 1:
        return forward(rows)
    split = jnp.moveaxis(rows.reshape(-1, parts, *rows.shape[1:]), 1, 0)
    found = jnp.moveaxis(lax.map(forward, split), 0, 1)
    return found.reshape(-1, *found.shape[2:])


def derives_convolution(jaxpr: Any) -> bool:
    """Says whether a gradient through a jaxpr needs that of XLA's own convolution, as JAX has it.

    That one is many times slower inside a loop than outside, where alone XLA turns it into a
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


def in_turn(
    add: Callable[[Carry, Array], Carry], start: Carry, count: int, forward: Callable[[], PyTree]
) -> Carry:
    """Applies `add` for the indices 0 ... count - 1: in a loop, which compiles once, or in turn.

    Args:
      add: (found so far, index) -> found.
      start: what is found before the first.
      count: of indices.
      forward: what `add` takes the gradient of, to be traced.
    """
    if jax.default_backend() != "cpu" or not derives_convolution(jax.make_jaxpr(forward)()):
        return lax.scan(lambda found, i: (add(found, i), None), start, jnp.arange(count))[0]
    found = start
    for i in range(count):
        found = add(found, _after(found, i))
    return found


def _after(found: PyTree, index: int) -> Array:
    """Returns `index`, but not before what is `found` is there: turns side by side save no memory.

    The compiler for CPU drops optimisation barriers before it orders; a condition that it cannot
    see to be constant it keeps.
    """
    probe = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(found))
    always = (lax.bitcast_convert_type(jnp.float32(probe), jnp.int32) | 1) != 0
    return jnp.where(always, index, 0)
