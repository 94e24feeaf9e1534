"""A model on a batch, and the evaluation of a split."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from supermask_jax.core import stats
from supermask_jax.data.pipeline import Batch, Examples, Stack, batch_of, epoch_order, num_batches
from supermask_jax.training.environment import seed_key
from supermask_jax.training.state import TrainState, zero_sums
from supermask_jax.training.streaming import Stream, pieces
from supermask_jax.training.xla_cpu import in_parts, parts_of_rows, quick_jit

if TYPE_CHECKING:
    from supermask_jax.training.trainer import Trainer

Array = jax.Array
PyTree = Any
Sums = dict[str, Array]
Metrics = dict[str, Any]

# Of a batch that goes through the network at once on a CPU, even where training batches are less.
_LEAST_ROWS = 128

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
        key: Array | None = None,
    ) -> tuple[Array, PyTree]:
        """Maps images [B, H, W, C] to (logits [B, K], new batch statistics).

        Rows where `mask` [B] is False are padding: batch statistics must not see them. In training
        there is a `key`, of whatever is drawn.
        """


def linen_apply(model: nn.Module, compute_dtype: jnp.dtype = jnp.float32) -> ApplyFn:
    """Adapts a Flax Linen module; batch statistics are updated in training only.

    The padding mask is passed on where the module's `__call__` takes `mask`; the key is the one
    that `make_rng("dropout")` draws from.

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
        key: Array | None = None,
    ) -> tuple[Array, PyTree]:
        variables = {"params": cast(params), "batch_stats": batch_stats}
        options = {"train": train} | ({"mask": mask} if takes_mask else {})
        options |= {} if key is None else {"rngs": {"dropout": key}}
        if not (train and batch_stats):
            logits = model.apply(variables, cast(image), **options)
        else:
            logits, updated = model.apply(
                variables, cast(image), **options, mutable=["batch_stats"]
            )
            batch_stats = updated["batch_stats"]
        return logits.astype(jnp.float32), batch_stats

    return apply_fn


def batch_sums(logits: Array, batch: Batch, smoothing: float = 0.0) -> Sums:
    """Returns cross-entropy, correct predictions and examples, summed over rows of weight 1.

    With `smoothing` a, the cross-entropy is to targets of ``1 - a`` at the label and ``a / K`` at
    every class more (Szegedy et al., 2016, https://arxiv.org/abs/1512.00567).
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
    if smoothing:
        uniform = -jnp.mean(jax.nn.log_softmax(logits), -1)
        losses = (1 - smoothing) * losses + smoothing * uniform
    correct = jnp.argmax(logits, -1) == batch["label"]
    return {
        "loss": jnp.sum(losses * batch["weight"]),
        "correct": jnp.sum(correct * batch["weight"]),
        "count": jnp.sum(batch["weight"]),
    }


def mean_metrics(sums: Mapping[str, Array], prefix: str) -> list[Metrics]:
    """Returns {prefix_loss, prefix_accuracy} of each seed from sums [S].

    Accuracies are in [0, 1].
    """
    rows = np.stack([sums[name] for name in zero_sums()], -1).tolist()
    return [
        {f"{prefix}_loss": loss / count, f"{prefix}_accuracy": correct / count}
        for loss, correct, count in rows
    ]


def make_evaluate(
    trainer: Trainer,
) -> Callable[[TrainState, PyTree, Examples | Stream, str], list[Metrics]]:
    """Builds ``evaluate(state, frozen, examples, prefix)`` -> the metrics of each seed on a split.

    They are loss and accuracy; ``remaining_weights`` and `stats.layer_shares`; ``penalty`` where
    the method has one; and what it reports. Methods that sample are evaluated on several masks, and
    all of these are means.
    """
    samples = max(trainer.method.eval_samples, 1)
    apply_mask, sum_split = _make_apply_mask(trainer), _make_sum_split(trainer)

    def evaluate(
        state: TrainState, frozen: PyTree, examples: Examples | Stream, prefix: str
    ) -> list[Metrics]:
        found = []
        for sample in range(samples):
            params, numbers = apply_mask(state, frozen, sample)
            found.append((sum_split(state, params, examples), numbers))
        sums, numbers = jax.device_get(jax.tree.map(lambda *leaves: sum(leaves), *found))
        numbers = jax.tree.map(lambda x: x / samples, numbers)
        rows = mean_metrics(sums, prefix)
        return [row | _numbers_of(numbers, i) for i, row in enumerate(rows)]

    return evaluate


def _numbers_of(numbers: Mapping[str, Any], index: int) -> Metrics:
    """Returns one seed's numbers; what is told layer by layer to six digits, as it is read."""
    return {
        name: {layer: round(float(x[index]), 6) for layer, x in value.items()}
        if isinstance(value, Mapping)
        else float(value[index])
        for name, value in numbers.items()
    }


def _make_apply_mask(trainer: Trainer) -> Callable[..., tuple[PyTree, Metrics]]:
    """Builds the jitted (state, frozen, sample) -> (effective parameters, numbers)."""
    method, layout = trainer.method, trainer.layout

    def one(state: TrainState, frozen: PyTree, sample: Array) -> tuple[PyTree, Metrics]:
        # Counted from the other end than the keys of the steps: never one of those.
        key = jax.random.fold_in(jax.random.fold_in(state.key, -1 - state.step), sample)
        operands = (
            state.trainable,
            frozen,
            key if method.eval_samples else None,
            state.step / trainer.plan.total_steps,
        )
        numbers = {} if method.report is None else method.report(state.trainable, frozen)
        if method.penalty is not None:
            numbers["penalty"] = method.penalty(*operands)
        masks = method.masks(*operands)
        numbers |= {"remaining_weights": stats.density(masks), **stats.layer_shares(masks)}
        return method.apply(*operands), numbers

    place = (layout.per_seed, layout.replicated)
    return quick_jit(layout.lift(one, (True, True, False)), out_shardings=place)


def _make_sum_split(trainer: Trainer) -> Callable[[TrainState, PyTree, Examples | Stream], Sums]:
    """Builds (state, params, examples) -> metric sums of effective parameters over a split."""
    layout, in_loop = trainer.layout, trainer.plan.steps_per_call > 1
    size = layout.whole_rows(trainer.plan.eval_batch_size)  # of a batch
    place = {"prepare": trainer.prepare, "place": layout.split_rows}
    most = max(trainer.plan.batch_size, _LEAST_ROWS)
    parts = parts_of_rows(size, most, layout.whole_rows)

    def count(data: Examples | Stack) -> int:
        return len(data.labels) if isinstance(data, Stack) else num_batches(len(data.labels), size)

    def some(
        sums: Sums, params: PyTree, batch_stats: PyTree, data: Examples | Stack, index: Array
    ) -> Sums:
        """Adds all batches, or batch `index` where they are dispatched one by one."""
        order = None
        if isinstance(data, Examples):
            order = epoch_order(seed_key(0), 0, len(data.labels), size, shuffle=False)

        def forward(image: Array) -> Array:
            return trainer.apply_fn(params, batch_stats, image, train=False)[0]

        def one(index: Array, sums: Sums) -> Sums:
            batch = batch_of(data, order, index, size, **place)
            logits = in_parts(forward, parts, batch["image"])
            return jax.tree.map(jnp.add, sums, batch_sums(logits, batch))

        if not in_loop:
            return one(index, sums)
        return lax.fori_loop(0, count(data), one, sums)

    lifted = layout.lift(some, (True, True, True, False, False))
    program = quick_jit(lifted, out_shardings=layout.replicated)

    def sum_split(state: TrainState, params: PyTree, data: Examples | Stream) -> Sums:
        sums = jax.tree.map(jnp.zeros_like, state.sums)
        for part in pieces(data, size):
            for index in range(1 if in_loop else count(part)):
                sums = program(sums, params, state.batch_stats, part, index)
        return sums

    return sum_split
