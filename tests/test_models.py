"""Networks: the papers' weight counts, and what their layers compute."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from supermask_jax import models
from supermask_jax.core.trees import named_leaves, num_params
from supermask_jax.errors import UserError
from supermask_jax.models.layers import binary, max_pool_2x2
from supermask_jax.training.step import linen_apply

MNIST, CIFAR10 = (1, 28, 28, 1), (1, 32, 32, 3)


def shapes(name, image_shape, **options):
    model = models.get(name, num_classes=10, **options)
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(image_shape))["params"]


@pytest.mark.parametrize(
    ("name", "image_shape", "count"),
    [
        ("fcn", MNIST, 266_200),
        ("conv2", CIFAR10, 4_300_992),
        ("conv4", CIFAR10, 2_425_024),
        ("conv6", CIFAR10, 2_261_184),
        ("conv8", CIFAR10, 5_275_840),
    ],
)
def test_weight_counts_of_the_papers(name, image_shape, count):
    assert num_params(shapes(name, image_shape)) == count


def test_width_scales_convolutions_and_hidden_dense_layers():
    leaves = {name: leaf.shape for name, leaf in named_leaves(shapes("conv2", CIFAR10, width=0.5))
              .items()}  # fmt: skip
    assert leaves == {
        "conv1/kernel": (3, 3, 3, 32),
        "conv2/kernel": (3, 3, 32, 32),
        "dense1/kernel": (16 * 16 * 32, 128),
        "dense2/kernel": (128, 128),
        "dense3/kernel": (128, 10),
    }


def test_layers_run_in_tree_order():
    # Draws and tables go by the sorted names: they must be the order of execution.
    names = list(named_leaves(shapes("conv8", CIFAR10)))
    assert names == [f"conv{i}/kernel" for i in range(1, 9)] + [
        f"dense{i}/kernel" for i in range(1, 4)
    ]


def test_fcn_equals_numpy():
    model = models.get("fcn", num_classes=3, width=0.02)
    image = jax.random.normal(jax.random.key(1), (4, 5, 5, 1))
    params = model.init(jax.random.key(0), image)["params"]
    x = np.asarray(image, np.float64).reshape(4, -1)
    for i in (1, 2, 3):
        x = x @ np.asarray(params[f"dense{i}"]["kernel"], np.float64)
        x = np.where(x > 0, x, np.expm1(x)) if i < 3 else x
    np.testing.assert_allclose(model.apply({"params": params}, image), x, rtol=1e-4, atol=1e-5)


def test_conv2_equals_numpy():
    model = models.get("conv2", num_classes=3, width=1 / 32, activation="relu")
    image = jax.random.normal(jax.random.key(1), (2, 4, 4, 3))
    params = model.init(jax.random.key(0), image)["params"]
    x = np.asarray(image, np.float64)
    for name in ("conv1", "conv2"):
        kernel = np.asarray(params[name]["kernel"], np.float64)
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        x = sum(padded[:, i : i + 4, j : j + 4] @ kernel[i, j] for i in range(3) for j in range(3))
        x = np.maximum(x, 0)
    x = x.reshape(2, 2, 2, 2, 2, -1).max((2, 4)).reshape(2, -1)
    for name in ("dense1", "dense2", "dense3"):
        x = x @ np.asarray(params[name]["kernel"], np.float64)
        x = np.maximum(x, 0) if name != "dense3" else x
    np.testing.assert_allclose(model.apply({"params": params}, image), x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [4, 5])
def test_max_pool_equals_flax_by_value_and_gradient(size):
    x = jax.random.normal(jax.random.key(0), (2, size, size, 3))
    upstream = jax.random.normal(jax.random.key(1), (2, 2, 2, 3))
    for value, expected in zip(
        jax.vjp(max_pool_2x2, x)[1](upstream),
        jax.vjp(lambda x: nn.max_pool(x, window_shape=(2, 2), strides=(2, 2)), x)[1](upstream),
        strict=True,
    ):
        np.testing.assert_allclose(value, expected)


def test_binary_activation_worked_by_hand():
    x = jnp.array([-2.0, -0.5, -0.0, 0.25, 3.0])
    value, pullback = jax.vjp(binary, x)
    np.testing.assert_array_equal(value, [-1, -1, 1, 1, 1])
    np.testing.assert_allclose(pullback(jnp.ones(5))[0], [0, 1, 2, 1.5, 0], rtol=1e-6)


def test_batch_norm_counts_no_padding_and_updates_in_training_only():
    model = models.get("fcn", num_classes=3, width=0.02, norm="batch")
    image = jax.random.normal(jax.random.key(1), (6, 4, 4, 1)) + 5.0
    variables = model.init(jax.random.key(0), image)
    apply_fn = linen_apply(model)
    stats, mask = variables["batch_stats"], jnp.arange(6) < 4
    logits, updated = apply_fn(variables["params"], stats, image, train=True, mask=mask)
    other = image.at[4:].set(1e3)
    other_logits, other_updated = apply_fn(variables["params"], stats, other, train=True, mask=mask)
    np.testing.assert_allclose(logits[:4], other_logits[:4], rtol=1e-4, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), updated, other_updated)
    flat = np.asarray(image[:4]).reshape(4, -1) @ np.asarray(
        variables["params"]["dense1"]["kernel"]
    )
    np.testing.assert_allclose(
        updated["dense1_norm"]["bn"]["mean"], 0.1 * flat.mean(0), rtol=1e-4, atol=1e-5
    )
    _, same = apply_fn(variables["params"], stats, image, train=False)
    assert same is stats
    assert num_params(variables["params"]) == 16 * 6 + 6 * 2 + 2 * 3


def test_errors():
    with pytest.raises(UserError, match="unknown norm 'bacth': did you mean 'batch'"):
        models.get("fcn", num_classes=10, norm="bacth")
    with pytest.raises(UserError, match="unknown activation 'swish'"):
        models.get("fcn", num_classes=10, activation="swish")
    with pytest.raises(UserError, match="unknown model 'conv3'"):
        models.get("conv3", num_classes=10)
    with pytest.raises(UserError, match="has no option 'widht': did you mean 'width'"):
        models.get("fcn", num_classes=10, widht=2.0)
