"""Many masks over one network: their superposition, and which of them an input belongs to.

Reference: Wortsman et al., "Supermasks in Superposition", NeurIPS 2020,
https://arxiv.org/abs/2006.14769.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from supermask_jax.errors import unknown_name

Array = jax.Array
PyTree = Any

RULES = ("one_shot", "binary")


def superpose(weights: PyTree, masks: Sequence[PyTree]) -> Callable[[Array], PyTree]:
    r"""Builds coefficients -> weights under a mixture of masks.

    .. math:: W(\alpha) = w \odot \sum_i \alpha_i m_i

    The coefficients of one mask alone give its network, bit for bit. Nothing needs a mask to be at
    least 0: those of signed supermasks are superposed as others are.

    Args:
      weights: tree of frozen weights [*s].
      masks: k trees like it, of numbers or bools, such as `Method.masks` returns.

    Returns:
      alphas, float [k] -> tree of effective weights, differentiable.

    Raises:
      ValueError: there is no mask.

    >>> effective = superpose(jnp.array([2.0, 4.0]), [jnp.array([1, 0]), jnp.array([1, -1])])
    >>> effective(jnp.array([0.5, 0.5])).tolist()
    [2.0, -2.0]
    """
    if not masks:
        raise ValueError("a superposition needs at least one mask")

    def effective(alphas: Array) -> PyTree:
        def one(w: Array, *own: Array) -> Array:
            return w * sum(a * m.astype(w.dtype) for a, m in zip(alphas, own, strict=True))

        return jax.tree.map(one, weights, *masks)

    return effective


def entropy(logits: Array) -> Array:
    r"""Returns the mean over examples of :math:`-\sum_c p_c \log p_c`, in nats: [B, K] -> [].

    >>> round(float(entropy(jnp.zeros((3, 2)))), 4)  # log 2
    0.6931
    """
    log_p = jax.nn.log_softmax(logits)
    return -jnp.mean(jnp.sum(jnp.exp(log_p) * log_p, -1))


def infer_task(
    logits_fn: Callable[[PyTree], Array],
    weights: PyTree,
    masks: Sequence[PyTree],
    rule: str = "one_shot",
) -> Array:
    r"""Finds the mask that an input was trained under, from its entropy H in the superposition.

    .. math:: \text{task} = \arg\min_i \frac{\partial H}{\partial \alpha_i}
      \quad \text{at} \quad \alpha_i = 1 / k

    Args:
      logits_fn: tree of effective weights -> logits [B, K] of the input: one image may be enough.
        More outputs than classes help.
      weights: tree of frozen weights [*s].
      masks: k trees like it.
      rule: "one_shot", one gradient; or "binary", which keeps the half of the masks with the
        smallest derivatives and asks again, at most ceil(log2 k) times.

    Returns:
      The index of the mask, int32 []. Works inside `jax.jit`.

    Raises:
      ValueError: there is no mask.
      UserError: the rule is unknown.

    >>> weights, masks = jnp.array([9.0, 9.0]), [jnp.array([0, 0]), jnp.array([1, 0])]
    >>> int(infer_task(lambda w: w[None], weights, masks))  # the mask that makes the output sure
    1
    """
    if rule not in RULES:
        raise unknown_name("rule", rule, RULES)
    effective = superpose(weights, masks)
    slopes = jax.grad(lambda alphas: entropy(logits_fn(effective(alphas))))
    alive, left = jnp.arange(len(masks)), len(masks)
    while left > 1:
        alphas = jnp.zeros(len(masks)).at[alive].set(1 / left)
        left = 1 if rule == "one_shot" else (left + 1) // 2
        alive = alive[jnp.argsort(slopes(alphas)[alive])[:left]]
    return alive[0].astype(jnp.int32)
