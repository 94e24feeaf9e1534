"""ProbMask: a probability for every weight, whose sum is projected onto the budget of weights.

Reference: Zhou, Zhang, Xu, Zhang, "Effective Sparsification of Neural Networks with Global Sparsity
Constraint", CVPR 2021, https://arxiv.org/abs/2105.01571.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from supermask_jax.core import initializers
from supermask_jax.core.density import check_density, ramp
from supermask_jax.core.initializers import Initializer
from supermask_jax.core.trees import LabelFn, mask_kernels, num_params, tree_mean
from supermask_jax.methods.base import Method
from supermask_jax.methods.gates import Gate, relaxed

Array = jax.Array
PyTree = Any

# The gates' temperature falls from 1 to this, linearly in the fraction of training: the code's.
COLDEST = 0.03

_EDGE = 1e-6  # Added inside logarithms.
_HALVINGS = 32


def probmask(
    *,
    density: float = 0.1,
    start: float = 0.16,
    anneal: float = 0.6,
    evaluation: str = "hard",
    score_init: Initializer | str | None = None,
    label_fn: LabelFn = mask_kernels,
) -> Method:
    r"""ProbMask of a network whose weights do not train: a score is a probability.

    .. math::
      w_\text{eff} = w \odot \sigma\Big(\frac{\text{logit}(s) + n}{T}\Big), \quad
      n \text{ logistic}, \quad T = 0.97\,(1 - t) + 0.03 \text{ in training}; \qquad
      w_\text{eff} = w \odot 1[s > \tfrac12] \text{ in the end}

    with :math:`t` the fraction of training done. After every step, all scores go down by one number
    where their sum is above the budget :math:`d_t N`, and into [0, 1]: see `to_budget`. The
    released code trains the weights too, averages two samples a step, and clips gradients.

    Args:
      density: mean of all probabilities at the end, a bound; that of the mask emerges.
      start: fraction of training up to which the budget is all weights.
      anneal: fraction of training from which on it is `density`: a cubic ramp in between.
      evaluation: without a key, "hard" takes the mask, which is what a ticket holds; "soft" the
        probabilities. `masks` is the hard one always.
      score_init: default 1 everywhere: all weights are there.
      label_fn: which leaves are masked, trained or frozen.

    Raises:
      ValueError: a number is impossible.
      UserError: `evaluation` is unknown.

    >>> method = probmask(density=0.25)
    >>> trainable, frozen = method.init(jax.random.key(0), {"kernel": jnp.ones((8, 4))})
    >>> trainable = method.project(trainable, frozen, progress=1.0)
    >>> round(float(method.report(trainable, frozen)["mean_probability"]), 3)
    0.25
    """
    check_density(density)
    if not 0 <= start < anneal <= 1:
        raise ValueError(f"start must be below anneal, both in [0, 1], got {start} and {anneal}")
    gate = Gate(
        train=lambda scores, key, progress: gates(
            scores, jax.random.logistic(key, scores.shape, jnp.float32), progress
        ),
        soft=lambda scores, progress: _inside(scores),
        cost=lambda scores, progress: scores,
        cut=0.5,
    )
    init = initializers.constant("unit", 1.0) if score_init is None else score_init
    # Its own projection holds the density.
    method = relaxed(gate, 0.0, evaluation, 0.0, 1.0, 0.0, init, label_fn)

    def project(trainable: PyTree, frozen: PyTree, progress: ArrayLike) -> PyTree:
        del frozen
        done = (jnp.asarray(progress, jnp.float32) - start) / (anneal - start)
        budget = density + (1 - density) * ramp(jnp.maximum(done, 0), 1.0)
        return trainable | {"scores": to_budget(trainable["scores"], budget)}

    def report(trainable: PyTree, frozen: PyTree) -> dict[str, Array]:
        del frozen
        return {"mean_probability": tree_mean(trainable["scores"])}

    return method._replace(project=project, report=report, hidden_score=0.0)


def gates(probabilities: Array, noise: Array, progress: ArrayLike) -> Array:
    """Returns gates in (0, 1), float32 [*s]: above 1/2 with just these probabilities.

    Args:
      probabilities: float32 [*s]; the gradient is finite at 0 and 1 too.
      noise: of the standard logistic distribution, float32 [*s].
      progress: fraction of training done.

    >>> bool((gates(jnp.array([0.1, 0.9]), jnp.zeros(2), 1.0).round() == jnp.array([0, 1])).all())
    True
    """
    temperature = 1 - (1 - COLDEST) * jnp.clip(jnp.asarray(progress, jnp.float32), 0, 1)
    kept = _inside(probabilities)
    logits = jnp.log(kept + _EDGE) - jnp.log(1 - kept + _EDGE)
    return jax.nn.sigmoid((logits + noise) / temperature)


def to_budget(scores: PyTree, density: ArrayLike) -> PyTree:
    r"""Projects scores onto probabilities whose mean is at most `density`.

    .. math:: s \leftarrow \min(1, \max(0, s - v)), \qquad
      v \ge 0 \text{ the smallest with } \overline{s} \le d

    Args:
      scores: tree of float32 arrays; one that is not finite stays so, and training is seen to
        diverge.
      density: d, float32 [].

    >>> to_budget({"kernel": jnp.array([1.0, 0.5, 0.0])}, 0.25)["kernel"].round(3).tolist()
    [0.625, 0.125, 0.0]
    """
    budget = jnp.asarray(density, jnp.float32) * num_params(scores)

    def lowered(v: Array) -> PyTree:
        return jax.tree.map(lambda s: _inside(s - v), scores)

    def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) / 2
        above = _total(lowered(middle)) > budget
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    most = jnp.max(jnp.stack([jnp.max(leaf) for leaf in jax.tree.leaves(scores)]))
    _, v = jax.lax.fori_loop(0, _HALVINGS, halve, (jnp.float32(0), jnp.maximum(most, 0)))
    return lowered(jnp.where(_total(lowered(jnp.float32(0))) > budget, v, 0.0))


def _total(scores: PyTree) -> Array:
    return sum((jnp.sum(leaf) for leaf in jax.tree.leaves(scores)), jnp.float32(0))


def _inside(scores: Array) -> Array:
    # Not jnp.clip, whose gradient at 0 and 1 themselves is a half; what is not finite stays.
    held = jnp.where(scores < 0, 0.0, jnp.where(scores > 1, 1.0, scores))
    return jnp.where(jnp.isfinite(scores), held, scores)
