"""Batch norm: where it is, what it holds, and what it counts."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_trees_close, assert_trees_equal

from supermask_jax import models
from supermask_jax.core.trees import named_leaves
from supermask_jax.models.layers import Norm
from supermask_jax.training.evaluate import linen_apply

SMALL = {
    "fcn": partial(models.FCN, 3, width=0.02),
    "conv": partial(models.ConvNet, 3, stages=(4, 4), features=(5,)),
    "resnet": partial(models.ResNet, 3, channels=(4, 6), blocks=(1, 1), shortcut="projection"),
    "koster": partial(models.KosterResNet, 3, channels=(4,), layout=("CI",)),
}
IMAGE = jax.random.normal(jax.random.key(1), (6, 8, 8, 1)) + 5.0


def norm_layers(variables, collection="batch_stats"):
    """Names of the layers whose norms hold something."""
    leaves = named_leaves(variables.get(collection, {}))
    return {name.split("_norm/")[0] for name in leaves if "_norm/" in name}


def layers(variables):
    return {
        name.removesuffix("/kernel")
        for name in named_leaves(variables["params"])
        if name.endswith("kernel")
    }


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("affine", [False, True])
def test_where_norms_are(name, affine):
    def variables(**options):
        model = SMALL[name](norm_affine=affine, kernel_init=nn.initializers.zeros, **options)
        return jax.eval_shape(model.init, jax.random.key(0), IMAGE)

    assert norm_layers(variables()) == set()
    first, *_, last = sorted(layers(variables()))
    for where, expected in (("stem", {first}), ("all", layers(variables()) - {last})):
        found = variables(norm=where)
        assert norm_layers(found) == expected
        assert norm_layers(found, "params") == (expected if affine else set())
        frozen = variables(norm=where, norm_frozen=True)
        assert norm_layers(frozen) == norm_layers(frozen, "params") == set()


@pytest.mark.parametrize("name", SMALL)
def test_padding_does_not_count_and_statistics_move_in_training_only(name):
    model = SMALL[name](norm="all", norm_affine=True)
    variables = jax.jit(model.init)(jax.random.key(0), IMAGE)
    params, stats, mask = variables["params"], variables["batch_stats"], jnp.arange(6) < 4
    apply_fn = jax.jit(linen_apply(model), static_argnames="train")
    logits, updated = apply_fn(params, stats, IMAGE, train=True, mask=mask)
    other = IMAGE.at[4:].set(1e3)
    other_logits, other_updated = apply_fn(params, stats, other, train=True, mask=mask)
    np.testing.assert_allclose(logits[:4], other_logits[:4], rtol=1e-3, atol=1e-4)
    assert_trees_close(updated, other_updated, rtol=1e-3, atol=1e-5)
    for old, new in zip(jax.tree.leaves(stats), jax.tree.leaves(updated), strict=True):
        assert not np.allclose(old, new)
    evaluate = jax.jit(partial(model.apply, mutable=["batch_stats"]))
    before, same = evaluate(variables, IMAGE)
    assert_trees_equal(same["batch_stats"], stats)
    after, _ = evaluate({"params": params, "batch_stats": updated}, IMAGE)
    assert not np.allclose(before, after)  # Evaluation uses the running statistics.


@pytest.mark.parametrize(("name", "kept", "epsilon"), [("fcn", 0.9, 1e-5), ("koster", 0.99, 1e-3)])
def test_momentum_and_epsilon_of_the_families(name, kept, epsilon):
    model = SMALL[name](norm="stem")
    variables = jax.jit(model.init)(jax.random.key(0), IMAGE)
    _, seen = model.apply(
        variables,
        IMAGE,
        train=True,
        capture_intermediates=True,
        mutable=["batch_stats", "intermediates"],
    )
    layer = "dense1" if name == "fcn" else "conv1"
    x, y = (
        np.asarray(seen["intermediates"][key]["__call__"][0], np.float64)
        for key in (layer, f"{layer}_norm")
    )
    axes = tuple(range(x.ndim - 1))
    stats = seen["batch_stats"][f"{layer}_norm"]["bn"]
    np.testing.assert_allclose(stats["mean"], (1 - kept) * x.mean(axes), rtol=1e-4)
    np.testing.assert_allclose(stats["var"], kept + (1 - kept) * x.var(axes), rtol=1e-3)
    np.testing.assert_allclose(
        y, (x - x.mean(axes)) / np.sqrt(x.var(axes) + epsilon), rtol=1e-3, atol=1e-3
    )
    frozen = SMALL[name](norm="stem", norm_frozen=True)
    _, seen = frozen.apply(variables, IMAGE, capture_intermediates=True, mutable=["intermediates"])
    ratio = seen["intermediates"][f"{layer}_norm"]["__call__"][0] / x
    np.testing.assert_allclose(ratio, (1 + epsilon) ** -0.5, rtol=1e-6)


def test_affine_norm_by_hand():
    layer = Norm(affine=True)
    x = jnp.array([[1.0, 10.0], [3.0, 30.0]])
    params = {"bn": {"scale": jnp.array([2.0, 3.0]), "bias": jnp.array([0.5, -1.0])}}
    stats = {"bn": {"mean": jnp.zeros(2), "var": jnp.ones(2)}}
    y, _ = layer.apply(
        {"params": params, "batch_stats": stats}, x, train=True, mutable=["batch_stats"]
    )
    np.testing.assert_allclose(y, [[-1.5, -4.0], [2.5, 2.0]], rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "params_dtype"), [*((name, jnp.bfloat16) for name in SMALL), ("koster", jnp.float32)]
)
def test_bfloat16_with_statistics_in_float32(name, params_dtype):
    model = SMALL[name](norm="all", norm_affine=True)
    variables = jax.jit(model.init)(jax.random.key(0), IMAGE)
    stats = variables["batch_stats"]
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables["params"])
    # Scale and bias may stay float32 and must not lift what follows.
    params = jax.tree.map_with_path(
        lambda path, leaf: leaf if "kernel" in str(path[-1]) else leaf.astype(params_dtype), half
    )

    @jax.jit
    def apply(params, image):
        given = {"params": params, "batch_stats": stats}
        logits, updated = model.apply(given, image, train=True, mutable=["batch_stats"])
        return logits, updated["batch_stats"]

    logits, updated = apply(params, IMAGE.astype(jnp.bfloat16))
    expected, expected_stats = apply(variables["params"], IMAGE)
    assert logits.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(updated)} == {jnp.dtype(jnp.float32)}
    assert_trees_close(updated, expected_stats, rtol=0.1, atol=0.05)
    np.testing.assert_allclose(logits.astype(jnp.float32), expected, atol=0.25)
