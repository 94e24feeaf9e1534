"""Schedules: the factor on learning rate and weight decay as a function of the epoch.

A schedule maps a fractional epoch (float32 [], 0 at the start) to a factor in [0, 1]. Signed
supermasks scale learning rate and weight decay by the same factor (METHODS: Koster et al., 2022,
released code).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import optax

from supermask_jax.errors import make
from supermask_jax.training.plateau import plateau

Schedule = Callable[[jax.Array], jax.Array]


def _floor(x: jax.Array) -> jax.Array:
    """Rounds down; a quotient that float32 puts just under a whole number counts as that number."""
    return jnp.floor(x + 1e-5)


def constant(*, epochs: int) -> Schedule:
    """Factor 1 throughout."""
    del epochs
    return lambda epoch: jnp.ones_like(epoch)


def exponential(
    *, epochs: int, rate: float = 0.9, every: float = 10.0, staircase: bool = False
) -> Schedule:
    """``rate ** (epoch / every)``; with `staircase` the exponent is rounded down.

    Rate 0.9 every 10 epochs, continuous, is the released code's; rate 0.96 with staircase that of
    the code of the published FCN row.
    """
    del epochs
    if not (0 < rate < float("inf") and 0 < every < float("inf")):
        raise ValueError(f"rate and every must be positive and finite, got {rate} and {every}")

    def factor(epoch: jax.Array) -> jax.Array:
        exponent = epoch / every
        return rate ** (_floor(exponent) if staircase else exponent)

    return factor


def cosine(*, epochs: int, per_epoch: bool = False, warmup: float = 0.0) -> Schedule:
    """``(1 + cos(pi * epoch / epochs)) / 2``, from 1 to 0.

    Args:
      epochs: length of training.
      per_epoch: hold the factor within an epoch, as edge-popup's code does.
      warmup: epochs of a linear rise to 1 before; the cosine spans the rest.
    """
    _check_warmup(warmup, epochs)

    def factor(epoch: jax.Array) -> jax.Array:
        epoch = _floor(epoch) if per_epoch else epoch
        done = (epoch - warmup if warmup else epoch) / (epochs - warmup)
        falling = 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(done, 1)))
        return _warmed(falling, epoch, warmup, per_epoch=per_epoch)

    return factor


def milestones(
    *,
    epochs: int,
    at: Sequence[float] = (30, 60, 80),
    rate: float = 0.1,
    per_epoch: bool = False,
    warmup: float = 0.0,
) -> Schedule:
    """``rate ** n`` from the n-th of the epochs `at` on.

    Args:
      epochs: length of training.
      at: epochs from the start of training, warm-up included.
      rate: what each of them multiplies by.
      per_epoch: hold the factor within an epoch, which a warm-up only shows.
      warmup: epochs of a linear rise to 1.
    """
    _check_warmup(warmup, epochs)
    if not (0 < rate < float("inf")) or list(at) != sorted(at) or min(at, default=0) < 0:
        raise ValueError(f"rate must be positive and at ascending epochs, got {rate} and {at}")

    def factor(epoch: jax.Array) -> jax.Array:
        epoch = _floor(epoch) if per_epoch else epoch
        passed = sum(jnp.where(epoch + 1e-5 >= e, 1.0, 0.0) for e in at)
        return _warmed(rate**passed * jnp.ones_like(epoch), epoch, warmup, per_epoch=per_epoch)

    return factor


def _check_warmup(warmup: float, epochs: int) -> None:
    if not 0 <= warmup < max(epochs, 1):
        raise ValueError(f"warmup must be from 0 to less than {epochs} epochs, got {warmup}")


def _warmed(factor: jax.Array, epoch: jax.Array, warmup: float, *, per_epoch: bool) -> jax.Array:
    """Returns the factor after a warm-up, and before its end the line to 1.

    Held within epochs, the line begins with ``1 / warmup``: as edge-popup's code has it.
    """
    if not warmup:
        return factor
    return jnp.where(epoch < warmup, jnp.minimum((epoch + per_epoch) / warmup, 1), factor)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "exponential": exponential,
    "cosine": cosine,
    "milestones": milestones,
}


# Schedules that follow the training loss: wrappers of an optimiser.
CONTROLLERS: dict[str, Callable[..., optax.GradientTransformationExtraArgs]] = {"plateau": plateau}


def scheduled(
    make_tx: Callable[[Callable[[jax.Array], jax.Array]], optax.GradientTransformation],
    *,
    name: str,
    epochs: int,
    steps_per_epoch: int,
    **options: float | bool,
) -> optax.GradientTransformation:
    """Returns an optimiser under a schedule.

    Args:
      make_tx: builds the optimiser from a function step -> factor.
      name: in `SCHEDULES` or `CONTROLLERS`.
      epochs: length of training.
      steps_per_epoch: steps of an epoch.
      **options: of the schedule.

    Raises:
      UserError: the name or an option is unknown or impossible.
    """
    if name in SCHEDULES:
        schedule = get(name, epochs=epochs, **options)
        return make_tx(lambda step: schedule(step / steps_per_epoch))
    known = {**SCHEDULES, **{key: partial(wrap, make_tx) for key, wrap in CONTROLLERS.items()}}
    return make("schedule", known, name, steps_per_epoch=steps_per_epoch, **options)


def get(name: str, *, epochs: int, **options: float | bool) -> Schedule:
    """Returns a schedule by name.

    Raises:
      UserError: the name or an option is unknown or impossible.
    """
    return make("schedule", SCHEDULES, name, epochs=epochs, **options)
