"""The train step and the evaluation step: pure, and not yet jitted."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from supermask_jax.data.pipeline import Batch
from supermask_jax.methods import Method
from supermask_jax.training.accumulate import value_and_grad
from supermask_jax.training.plateau import stopped
from supermask_jax.training.state import TrainState, zero_sums

Array = jax.Array
PyTree = Any


COMPUTE_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class ApplyFn(Protocol):
    """A model as the steps see it."""

    def __call__(
        self,
        params: PyTree,
        batch_stats: PyTree,
        image: Array,
        *,
        train: bool,
        mask: Array | None = None,
    ) -> tuple[Array, PyTree]:
        """Maps images [B, H, W, C] to (logits [B, K], new batch statistics).

        Rows where `mask` [B] is False are padding: batch statistics must not see them.
        """


def linen_apply(model: nn.Module, compute_dtype: jnp.dtype = jnp.float32) -> ApplyFn:
    """Adapts a Flax Linen module; batch statistics are updated in training only.

    The padding mask is passed on where the module's `__call__` takes `mask`.

    Args:
      model: any module whose `__call__` takes an image batch and `train`.
      compute_dtype: what effective parameters and images are rounded to before the model runs.
        Scores, trained parameters, batch statistics and logits stay float32. A mask is exact in
        bfloat16; a layer's constant is rounded once, the same for all its weights.
    """

    def cast(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x.astype(compute_dtype), tree)

    takes_mask = "mask" in inspect.signature(type(model).__call__).parameters

    def apply_fn(
        params: PyTree,
        batch_stats: PyTree,
        image: Array,
        *,
        train: bool,
        mask: Array | None = None,
    ) -> tuple[Array, PyTree]:
        variables = {"params": cast(params), "batch_stats": batch_stats}
        options = {"train": train} | ({"mask": mask} if takes_mask else {})
        if not (train and batch_stats):
            logits = model.apply(variables, cast(image), **options)
        else:
            logits, updated = model.apply(
                variables, cast(image), **options, mutable=["batch_stats"]
            )
            batch_stats = updated["batch_stats"]
        return logits.astype(jnp.float32), batch_stats

    return apply_fn


def batch_sums(logits: Array, batch: Batch) -> dict[str, Array]:
    """Returns cross-entropy, correct predictions and examples, summed over rows of weight 1."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
    correct = jnp.argmax(logits, -1) == batch["label"]
    return {
        "loss": jnp.sum(losses * batch["weight"]),
        "correct": jnp.sum(correct * batch["weight"]),
        "count": jnp.sum(batch["weight"]),
    }


def make_train_step(
    apply_fn: ApplyFn,
    method: Method,
    tx: optax.GradientTransformation,
    *,
    steps_per_epoch: int,
    total_steps: int,
    microbatches: int = 1,
) -> Callable[[TrainState, PyTree, Batch], tuple[TrainState, Array]]:
    """Builds ``step(state, frozen, batch) -> (state, loss [])``.

    The loss is the mean cross-entropy over the rows of weight 1. `total_steps` tells annealing
    methods how far training is; at the first step of an epoch the metric sums restart. A schedule
    that stops training leaves the state as it is from then on. With `microbatches` the gradient is
    summed over parts of the batch, in less memory: `accumulate.value_and_grad`.
    """
    tx = optax.with_extra_args_support(tx)

    def forward(
        params: PyTree, batch_stats: PyTree, batch: Batch, mask: Array
    ) -> tuple[dict[str, Array], PyTree]:
        logits, batch_stats = apply_fn(params, batch_stats, batch["image"], train=True, mask=mask)
        return batch_sums(logits, batch), batch_stats

    def step(state: TrainState, frozen: PyTree, batch: Batch) -> tuple[TrainState, Array]:
        key = jax.random.fold_in(state.key, state.step)
        progress = state.step / total_steps

        def effective(trainable: PyTree) -> PyTree:
            return method.apply(trainable, frozen, key, progress)

        grad_fn = value_and_grad(effective, forward, microbatches)
        (loss, (sums, batch_stats)), grads = grad_fn(state.trainable, state.batch_stats, batch)
        updates, opt_state = tx.update(grads, state.opt_state, state.trainable, value=loss)
        trainable = optax.apply_updates(state.trainable, updates)
        if method.project is not None:
            trainable = method.project(trainable, frozen, (state.step + 1) / total_steps)
        first = state.step % steps_per_epoch == 0
        after = state.replace(
            step=state.step + 1,
            trainable=trainable,
            batch_stats=batch_stats,
            opt_state=opt_state,
            sums=jax.tree.map(lambda old, new: jnp.where(first, 0, old) + new, state.sums, sums),
        )
        if (flag := stopped(state.opt_state)) is not None:
            after = jax.tree.map(lambda old, new: jnp.where(flag, old, new), state, after)
        return after, loss

    return step


def make_eval_step(
    apply_fn: ApplyFn,
) -> Callable[[PyTree, PyTree, Batch, dict[str, Array]], dict[str, Array]]:
    """Builds ``step(params, batch_stats, batch, sums) -> sums`` with the batch added."""

    def step(
        params: PyTree, batch_stats: PyTree, batch: Batch, sums: dict[str, Array]
    ) -> dict[str, Array]:
        logits, _ = apply_fn(params, batch_stats, batch["image"], train=False)
        return jax.tree.map(jnp.add, sums, batch_sums(logits, batch))

    return step


def mean_metrics(sums: dict[str, Array], prefix: str) -> list[dict[str, float]]:
    """Returns {prefix_loss, prefix_accuracy} of each seed from sums [] or [S].

    Accuracies are in [0, 1]; the list has one entry for a run of one seed.
    """
    names = tuple(zero_sums())
    rows = np.stack([np.ravel(sums[name]) for name in names], -1).tolist()
    return [
        {f"{prefix}_loss": loss / count, f"{prefix}_accuracy": correct / count}
        for loss, correct, count in rows
    ]
