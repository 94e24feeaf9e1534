"""Reduction on a plateau: learning rate and decay fall when the training loss stops falling.

The controller lives in the optimiser's state and on the device, so that it jits, vmaps over seeds
and is checkpointed like any other state; nothing of it is read on the host but, once an epoch,
whether training should stop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Array = jax.Array
Factor = Callable[[Array], Array]


class PlateauState(NamedTuple):
    """State of `plateau`. Its arrays have no leading axis but the one that vmap gives them."""

    inner: optax.OptState  # of the optimiser that is controlled
    factor: Array  # float32 [], on learning rate and decay, from 1 down
    wait: Array  # int32 [], epochs without improvement
    cooldown: Array  # int32 [], epochs left in which nothing is compared
    reductions: Array  # int32 [], so far
    history: Array  # float32 [window], losses of the epochs before, the newest last; inf: none yet
    loss_sum: Array  # float32 [], over the steps of this epoch
    steps: Array  # int32 [], steps of this epoch so far
    epoch: Array  # int32 [], epochs finished
    stopped: Array  # bool [], no more reductions are left: training should end


class _Rule(NamedTuple):
    """The options of `plateau`, and what they make of its state."""

    patience: int
    reductions: int
    factor: float
    cooldown: int
    start: int
    min_delta: float
    original_quirks: bool

    def check(self) -> None:
        """Raises ValueError for options with which no plateau could be found or acted upon."""
        if self.patience < 3:
            raise ValueError(f"patience must be at least 3 epochs, got {self.patience}")
        if not 0 < self.factor < 1:
            raise ValueError(f"factor must lie between 0 and 1, both excluded, got {self.factor}")
        if self.cooldown < 0 or self.start < 0 or not 0 <= self.min_delta < float("inf"):
            raise ValueError(
                "cooldown, start and min_delta must be 0 or more, got "
                f"{self.cooldown}, {self.start} and {self.min_delta}"
            )

    def first(self, inner: optax.OptState) -> PlateauState:
        """Returns the state before the first step."""
        window = self.patience - 2 if self.original_quirks else self.patience
        # Each an array of its own: a state is donated, and a buffer can be given away once.
        counts = ("wait", "cooldown", "reductions", "steps", "epoch")
        return PlateauState(
            inner=inner,
            factor=jnp.ones((), jnp.float32),
            history=jnp.full((window,), jnp.inf, jnp.float32),
            loss_sum=jnp.zeros((), jnp.float32),
            stopped=jnp.zeros((), bool),
            **{name: jnp.zeros((), jnp.int32) for name in counts},
        )

    def next(self, state: PlateauState, loss: Array) -> PlateauState:
        """Returns the state after an epoch of mean `loss`."""
        loss = jnp.where(jnp.isnan(loss), jnp.inf, loss)
        active = (state.epoch >= self.start) & ~state.stopped
        cooling = state.cooldown > 0
        improved = loss + self.min_delta < jnp.min(state.history)
        wait = state.wait + (active & ~cooling & ~improved)
        reduce = active & ~cooling & ~improved & (wait > self.patience)
        if not self.original_quirks:
            wait = jnp.where(reduce | (active & ~cooling & improved), 0, wait)
        count = state.reductions + reduce
        return state._replace(
            factor=jnp.where(reduce, state.factor * self.factor, state.factor),
            wait=wait,
            cooldown=jnp.where(reduce, self.cooldown, state.cooldown - (active & cooling)),
            reductions=count,
            history=jnp.append(state.history[1:], loss),
            loss_sum=jnp.zeros_like(state.loss_sum),
            steps=jnp.zeros_like(state.steps),
            epoch=state.epoch + 1,
            stopped=count >= self.reductions,
        )


def plateau(
    make_tx: Callable[[Factor], optax.GradientTransformation],
    *,
    steps_per_epoch: int,
    patience: int = 15,
    reductions: int = 5,
    factor: float = 0.2,
    cooldown: int = 10,
    start: int = 10,
    min_delta: float = 1e-4,
    original_quirks: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""Wraps an optimiser so that its factor falls when the mean training loss of an epoch stalls.

    At the end of every epoch :math:`e \ge` `start`, counted from 0, with its mean loss L:

    1. while a cooldown lasts, it gets one epoch shorter, and nothing else happens;
    2. the epoch is an improvement if :math:`L + \text{min\_delta}` is below the smallest loss of
       the `patience` epochs before it; then `wait` restarts at 0;
    3. otherwise `wait` grows by 1; once it exceeds `patience`, the factor is multiplied by
       `factor`, a cooldown begins and `wait` restarts at 0;
    4. after so many `reductions` the state is `stopped`, and its factor stays as it is.

    With `original_quirks` it does as the released code, whose reductions come sooner: `wait` never
    restarts, neither at an improvement nor at a reduction, so that after the first reduction every
    epoch without improvement, outside cooldowns, is another one; and the loss is compared with the
    `patience` - 2 epochs before it only.

    A loss that is not a number counts as infinite: never an improvement, and none to beat.

    Args:
      make_tx: builds the optimiser from a function step -> factor, as every factory of
        `optimizers` does from its `factor`; learning rate and decay get the same one.
      steps_per_epoch: calls of ``update`` that make an epoch.
      patience: epochs without improvement that are borne.
      reductions: after which training stops.
      factor: of one reduction, in (0, 1).
      cooldown: epochs after a reduction in which nothing is compared.
      start: first epoch that is compared.
      min_delta: by which a loss must be lower, in units of the loss.
      original_quirks: do as the released code.

    Returns:
      A transformation whose ``update(grads, state, params, value=loss)`` needs the step's mean
      training loss, float [], as `optax.contrib.reduce_on_plateau` does.

    Raises:
      ValueError: an option is impossible.

    Reference: Koster et al., 2022 (released code); used for its ResNets, with 15, 5 and 0.2.
    """
    if steps_per_epoch < 1 or reductions < 1:
        raise ValueError(
            f"steps_per_epoch and reductions must be at least 1, got {steps_per_epoch} and "
            f"{reductions}"
        )
    rule = _Rule(patience, reductions, factor, cooldown, start, min_delta, original_quirks)
    rule.check()

    def init(params: optax.Params) -> PlateauState:
        inner = make_tx(lambda count: jnp.ones((), jnp.float32)).init(params)
        return rule.first(inner)

    def update(
        grads: optax.Updates,
        state: PlateauState,
        params: optax.Params | None = None,
        *,
        value: Array | float,
        **extra: Any,
    ) -> tuple[optax.Updates, PlateauState]:
        value = jnp.asarray(value, jnp.float32)
        if value.shape:
            raise ValueError(f"value must be the mean loss of the step, got shape {value.shape}")
        tx = optax.with_extra_args_support(make_tx(lambda count: state.factor))
        updates, inner = tx.update(grads, state.inner, params, value=value, **extra)
        state = state._replace(inner=inner, loss_sum=state.loss_sum + value, steps=state.steps + 1)
        ended = rule.next(state, state.loss_sum / steps_per_epoch)
        last = state.steps == steps_per_epoch
        pair = ended._replace(inner=None), state._replace(inner=None)
        ours = jax.tree.map(lambda new, old: jnp.where(last, new, old), *pair)
        return updates, ours._replace(inner=inner)

    return optax.GradientTransformationExtraArgs(init, update)


def without_history(opt_state: optax.OptState) -> optax.OptState:
    """Returns an optimiser's state without the losses of `plateau`, which are infinite at first."""
    return jax.tree.map(
        lambda node: node._replace(history=None) if _is_ours(node) else node,
        opt_state,
        is_leaf=_is_ours,
    )


def stopped(opt_state: optax.OptState) -> Array | None:
    """Returns the `stopped` flag of the first `PlateauState` in an optimiser's state.

    bool [], with the leading axes of the state where there are many seeds; None where no
    `plateau` is in it.
    """
    nodes = jax.tree.leaves(opt_state, is_leaf=_is_ours)
    return next((node.stopped for node in nodes if _is_ours(node)), None)


def _is_ours(node: Any) -> bool:
    return isinstance(node, PlateauState)
