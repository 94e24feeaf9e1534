"""Optimisers: the signed supermask's SGDW, and optax's by name.

`sgdw` is used as optax's own are. What a config names is made by a factory that takes `factor`, a
function of the step (int32 []) that scales the learning rate, and the hyperparameters. All return
an `optax.GradientTransformation` that gives updates to be added.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from supermask_jax.errors import make

Array = jax.Array
Factor = Callable[[Array], Array]
_SHARES = ("momentum", "b1", "b2")  # in [0, 1)
_LARGEST = float(jnp.finfo(jnp.float32).max)


def _check(**options: Any) -> None:
    """Raises ValueError for numbers with which no training could be."""
    for name, value in options.items():
        if not isinstance(value, numbers.Real):  # A schedule, or a traced number.
            continue
        if name in _SHARES and not 0 <= value < 1:
            raise ValueError(f"{name} must be at least 0 and below 1, got {value}")
        if not 0 <= value <= _LARGEST:
            raise ValueError(f"{name} must be a finite number, at least 0, got {value}")


class SgdwState(NamedTuple):
    """State of `sgdw`."""

    count: Array  # int32 [], steps taken
    trace: Any  # tree of the parameters: momentum, learning rate included


def sgdw(
    learning_rate: optax.ScalarOrSchedule,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    momentum: float = 0.9,
    nesterov: bool = True,
) -> optax.GradientTransformation:
    r"""SGD with decoupled weight decay as the signed supermask uses it.

    With the gradient g taken at s:

    .. math::
      s &\leftarrow s - \lambda_t s \\
      a &\leftarrow \mu a - \eta_t g \\
      s &\leftarrow s + \mu a - \eta_t g & &\text{(Nesterov; else } s + a\text{)}

    The decay is *not* multiplied by the learning rate, and the learning rate is inside the momentum
    buffer: both differ from ``optax.chain(add_decayed_weights, sgd)``. Decays every trained leaf.

    Nor does the decay follow a schedule of the learning rate by itself. The original's falls with
    it, which is one schedule for both::

        falling = optax.cosine_decay_schedule(1.0, steps)
        tx = sgdw(lambda count: 0.05 * falling(count), lambda count: 5e-4 * falling(count))

    Args:
      learning_rate: :math:`\eta_t`, a number or a function of the step, int32 [] from 0.
      weight_decay: :math:`\lambda_t`, likewise: the share of a parameter that a step takes off.
      momentum: :math:`\mu`.
      nesterov: whether the momentum looks ahead.

    Raises:
      ValueError: a number is not finite, a rate is negative, or `momentum` is outside [0, 1).

    Reference: Koster et al., 2022 (released code, tensorflow_addons' SGDW); Loshchilov and Hutter,
    2019, https://arxiv.org/abs/1711.05101.
    """
    _check(learning_rate=learning_rate, weight_decay=weight_decay, momentum=momentum)

    def init(params: optax.Params) -> SgdwState:
        return SgdwState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update(
        grads: optax.Updates, state: SgdwState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, SgdwState]:
        if params is None:
            raise ValueError("sgdw decays the parameters, so update() needs them")
        eta, decay = (
            rate(state.count) if callable(rate) else rate for rate in (learning_rate, weight_decay)
        )

        def step(a: Array, g: Array) -> Array:
            return (momentum * a - eta * g).astype(a.dtype)  # A scheduled rate is float32.

        trace = jax.tree.map(step, state.trace, grads)
        moves = jax.tree.map(step, trace, grads) if nesterov else trace
        updates = jax.tree.map(lambda s, move: move - decay * s, params, moves)
        return updates, SgdwState(state.count + 1, trace)

    return optax.GradientTransformation(init, update)


def _scheduled_sgdw(
    factor: Factor,
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    nesterov: bool = True,
) -> optax.GradientTransformation:
    """`sgdw` with one factor on learning rate and decay, as the original has it."""
    _check(learning_rate=learning_rate, weight_decay=weight_decay)
    rate, decay = (_times(factor, peak) for peak in (learning_rate, weight_decay))
    return sgdw(rate, decay, momentum, nesterov)


def _times(factor: Factor, peak: float) -> Factor:
    return lambda count: peak * factor(count)


def sgd(
    factor: Factor,
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """SGD with coupled L2 decay (added to the gradient), PyTorch's and edge-popup's kind."""
    _check(learning_rate=learning_rate, weight_decay=weight_decay, momentum=momentum)
    tx = optax.sgd(_times(factor, learning_rate), momentum or None, nesterov)
    return optax.chain(optax.add_decayed_weights(weight_decay), tx)


def adam(
    factor: Factor,
    *,
    learning_rate: float,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_before_correction: bool = False,
) -> optax.GradientTransformation:
    r"""Adam without decay.

    With `eps_before_correction` it is TensorFlow's, which adds eps to the root of the moment as it
    is, :math:`\eta \sqrt{1 - \beta_2^t} / (1 - \beta_1^t) \cdot m / (\sqrt{v} + \epsilon)`:
    gradients of about eps move a weight less in the first steps.
    """
    _check(learning_rate=learning_rate, b1=b1, b2=b2, eps=eps)
    rate = _times(factor, learning_rate)
    if not eps_before_correction:
        return optax.adam(rate, b1, b2, eps)

    moments = optax.scale_by_adam(b1, b2, 0.0)

    def update(
        grads: optax.Updates, state: optax.ScaleByAdamState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.ScaleByAdamState]:
        _, state = moments.update(grads, state, params)
        correction = jnp.sqrt(1 - b2**state.count) / (1 - b1**state.count)
        move = jax.tree.map(lambda m, v: correction * m / (jnp.sqrt(v) + eps), state.mu, state.nu)
        return move, state

    return optax.chain(
        optax.GradientTransformation(moments.init, update), optax.scale_by_learning_rate(rate)
    )


def adamw(
    factor: Factor,
    *,
    learning_rate: float,
    weight_decay: float = 1e-4,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """AdamW: decay decoupled from the moments, multiplied by the learning rate."""
    _check(learning_rate=learning_rate, weight_decay=weight_decay, b1=b1, b2=b2, eps=eps)
    return optax.adamw(_times(factor, learning_rate), b1, b2, eps, weight_decay=weight_decay)


def rmsprop(
    factor: Factor,
    *,
    learning_rate: float,
    decay: float = 0.9,
    momentum: float = 0.0,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """RMSprop, as SupSup's code trains its masks."""
    _check(learning_rate=learning_rate, decay=decay, momentum=momentum, eps=eps)
    rate = _times(factor, learning_rate)
    return optax.rmsprop(rate, decay, eps, momentum=momentum or None)


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgdw": _scheduled_sgdw,
    "sgd": sgd,
    "adam": adam,
    "adamw": adamw,
    "rmsprop": rmsprop,
}


def get(name: str, factor: Factor, **options: float | bool) -> optax.GradientTransformation:
    """Returns an optimiser by name.

    Raises:
      UserError: the name or an option is unknown, or an option is impossible.
    """
    return make("optimizer", OPTIMIZERS, name, factor=factor, **options)
