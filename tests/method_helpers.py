"""Every method under test, two small layers, and a training step: shared by tests of methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from supermask_jax import methods
from supermask_jax.core import initializers, thresholds
from supermask_jax.training import optimizers
from supermask_jax.training.loop import make_train_step
from supermask_jax.training.sharding import one_device
from supermask_jax.training.trainer import Plan, Trainer


class Row(NamedTuple):
    """A method under test."""

    make: Callable[[], methods.Method]
    # (weights, scores) -> the documented dL/ds for dL/dw_eff = 1, in NumPy.
    gradient: Callable[[np.ndarray, np.ndarray], np.ndarray] | None
    ternary: bool = True  # effective weights are the frozen ones times the mask
    polarities: tuple[int, ...] = (-1, 0, 1)


def straight(weights, scores):
    return weights


def by_sign(weights, scores):
    return weights * np.sign(scores)


def sigmoid(weights, scores):
    p = 1 / (1 + np.exp(-scores.astype(np.float64)))
    return weights * p * (1 - p)


RESTRICTED: dict[str, Callable[[], methods.Method]] = {
    "edge_popup": lambda: methods.edge_popup(density=0.4),
    "edge_popup_value": lambda: methods.edge_popup(density=0.2, by_value=True),
    "signed": lambda: methods.signed(threshold=thresholds.fraction_of_max(0.5), density=0.3),
    "signed_topk": lambda: methods.signed_topk(density=0.2),
    "bernoulli": lambda: methods.bernoulli(density=0.3),
    "hard_concrete": lambda: methods.hard_concrete(density=0.3, start_density=0.5),
    "signed_gates": lambda: methods.signed_gates(density=0.3, sigma=0.2),
    "probmask": lambda: methods.probmask(density=0.3),
    "piggyback": lambda: methods.piggyback(cut=0.0, score_init=initializers.uniform("xavier")),
}


ON_SOURCES = {
    f"restricted_{name}": Row(
        lambda make=make: methods.restricted(make(), density=0.7, lock=0.1), None
    )
    for name, make in RESTRICTED.items()
}


METHODS_UNDER_TEST = {
    "dense": Row(methods.dense, None),
    "signed": Row(lambda: methods.signed(threshold=thresholds.absolute(0.2)), straight),
    "signed_fraction": Row(
        lambda: methods.signed(threshold=thresholds.fraction_of_max(0.5)), straight
    ),
    "signed_density": Row(
        lambda: methods.signed(threshold=thresholds.absolute(0.2), density=0.3), straight
    ),
    "bernoulli": Row(lambda: methods.bernoulli(score_init=initializers.normal("unit")), sigmoid),
    "bernoulli_round": Row(
        lambda: methods.bernoulli(score_init=initializers.normal("unit"), variant="round"),
        None,  # Half of the entries have none: tests/test_bernoulli.py.
    ),
    "bernoulli_rescaled": Row(
        lambda: methods.bernoulli(score_init=initializers.normal("unit"), rescale=True),
        None,
        ternary=False,
    ),
    "bernoulli_density": Row(lambda: methods.bernoulli(density=0.3), sigmoid),
    "bernoulli_gumbel": Row(
        lambda: methods.bernoulli(score_init=initializers.normal("unit"), estimator="gumbel"), None
    ),
    # Gradients of sampled gates: tests/test_gates.py. At the end of training, scores of 0.
    "continuous_sparsification": Row(
        lambda: methods.continuous_sparsification(penalty=0.1, final_temperature=4.0),
        lambda weights, scores: 2 * weights,
        ternary=False,  # times 1 / sigmoid(0)
        polarities=(0, 1),
    ),
    "continuous_density": Row(
        lambda: methods.continuous_sparsification(penalty=0.0, density=0.3),
        None,
        ternary=False,
        polarities=(0, 1),
    ),
    "hard_concrete": Row(methods.hard_concrete, None, polarities=(0, 1)),
    "hard_concrete_density": Row(
        lambda: methods.hard_concrete(density=0.3, start_density=0.5), None, polarities=(0, 1)
    ),
    "gaussian_gates": Row(methods.gaussian_gates, None, polarities=(0, 1)),
    "piggyback": Row(
        lambda: methods.piggyback(cut=0.0, score_init=initializers.uniform("xavier")),
        straight,
        polarities=(0, 1),
    ),
    "probmask": Row(lambda: methods.probmask(density=0.3), None, polarities=(0, 1)),
    "gem_miner": Row(
        lambda: methods.gem_miner(density=0.5, penalty=0.1), straight, polarities=(0, 1)
    ),
    "signed_continuous": Row(
        lambda: methods.signed_continuous(penalty=0.1, final_temperature=4.0),
        # At |s| = 1: the derivative of the gate is 4 (sigmoid'(0) + sigmoid'(-8)).
        lambda weights, scores: 2 / np.tanh(1) * 4 * (0.25 + 3.3523767e-4) * weights,
        ternary=False,
    ),
    "signed_gates": Row(methods.signed_gates, None),
    "signed_gates_density": Row(lambda: methods.signed_gates(density=0.3, sigma=0.2), None),
    "edge_popup": Row(lambda: methods.edge_popup(density=0.3), by_sign),
    "edge_popup_value": Row(lambda: methods.edge_popup(density=0.3, by_value=True), straight),
    "edge_popup_global": Row(lambda: methods.edge_popup(density=0.3, scope="global"), by_sign),
    "edge_popup_groups": Row(lambda: methods.edge_popup(scope="1:2"), by_sign),
    "signed_topk_groups": Row(lambda: methods.signed_topk(scope="1:2"), straight),
    "biprop": Row(lambda: methods.biprop(density=0.3), by_sign, ternary=False),
    "biprop_global": Row(
        lambda: methods.biprop(density=0.3, scope="global", anneal=0.1), by_sign, ternary=False
    ),
    "signed_topk": Row(lambda: methods.signed_topk(density=0.3), straight),
    "signed_topk_layer": Row(lambda: methods.signed_topk(density=0.3, scope="layer"), straight),
    "multicoat": Row(
        lambda: methods.multicoat(densities=(0.5, 0.2)),
        lambda weights, scores: 2 * by_sign(weights, scores),  # once for each coat
        polarities=(0, 1, 2),
    ),
    "multicoat_once": Row(
        lambda: methods.multicoat(densities=(0.5, 0.2), per_coat=False),
        by_sign,
        polarities=(0, 1, 2),
    ),
    # On a source: tests/test_restricted.py.
    **{name: ON_SOURCES[name] for name in ("restricted_edge_popup", "restricted_bernoulli")},
    "signed_top": Row(lambda: methods.signed(threshold=thresholds.top_fraction(0.2)), straight),
}
MASKED = [name for name in METHODS_UNDER_TEST if name != "dense"]
WITH_GRADIENT = [name for name, row in METHODS_UNDER_TEST.items() if row.gradient is not None]

every_method = pytest.mark.parametrize("name", METHODS_UNDER_TEST)
every_masked = pytest.mark.parametrize("name", MASKED)


def params(key, dtype=jnp.float32):
    """Two dense layers; the second has a bias, which is trained and not masked."""
    init = initializers.signed_constant("elus_sqrt3")
    keys = jax.random.split(key, 2)
    return {
        "first": {"kernel": init(keys[0], (6, 8), dtype)},
        "second": {"kernel": init(keys[1], (8, 3), dtype), "bias": jnp.zeros(3, dtype)},
    }


def apply_fn(params, batch_stats, image, *, train, mask=None, key=None):
    x = jax.nn.elu(image @ params["first"]["kernel"])
    return x @ params["second"]["kernel"] + params["second"]["bias"][None], batch_stats


def batch(seed=0):
    key = jax.random.key(seed)
    image = jax.random.normal(key, (16, 6))
    return {
        "image": image,
        "label": jnp.argmax(image[:, :3], -1),
        "weight": jnp.ones(16).at[-2:].set(0),
    }


def trainer_of(method, tx, microbatches=1, init=params, apply_fn=apply_fn):
    """Returns the trainer of the two layers, or of those that `init` draws."""
    return Trainer(
        method=method,
        tx=tx,
        apply_fn=apply_fn,
        init_fn=lambda key: {"params": init(key)},
        prepare=None,  # The batches are there.
        plan=Plan(epochs=4, batch_size=16, steps_per_epoch=10, microbatches=microbatches),
        layout=one_device(),
        seeds=range(1),
    )


def make(name, seed=0, learning_rate=0.5, dtype=jnp.float32, microbatches=1):
    """Returns (method, state, frozen, un-jitted step)."""
    method = (METHODS_UNDER_TEST | ON_SOURCES)[name].make()
    # The rate of a schedule: an array.
    tx = optimizers.sgdw(lambda count: jnp.float32(learning_rate), weight_decay=1e-2)
    trainer = trainer_of(method, tx, microbatches, lambda key: params(key, dtype))
    state, frozen = trainer.create(jax.random.key(seed))
    return method, state, frozen, make_train_step(trainer)
