"""Networks: the papers' weight counts, and what their layers compute."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from supermask_jax import models
from supermask_jax.config import default_config
from supermask_jax.core.trees import named_leaves, num_params
from supermask_jax.errors import UserError
from supermask_jax.models.layers import binary, max_pool_2x2, max_pool_3x3

MNIST, CIFAR10 = (1, 28, 28, 1), (1, 32, 32, 3)


def shapes(name, image_shape, **options):
    zeros = nn.initializers.zeros  # Quicker to trace than draws.
    model = models.get(name, num_classes=10, kernel_init=zeros, **options)
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(image_shape))["params"]


@pytest.mark.parametrize(
    ("name", "image_shape", "count"),
    [
        ("fcn", MNIST, 266_200),
        ("conv2", CIFAR10, 4_300_992),
        ("conv4", CIFAR10, 2_425_024),
        ("conv6", CIFAR10, 2_261_184),
        ("conv8", CIFAR10, 5_275_840),
        # Nine parts of the published plans' convolutions, and dense layers 512-256-256-10.
        ("vgg16", CIFAR10, 9 * (3 * 64 + 1_634_304) + 512 * 256 + 256 * 256 + 256 * 10),
        ("vgg19", CIFAR10, 9 * (3 * 64 + 2_224_128) + 512 * 256 + 256 * 256 + 256 * 10),
    ],
)
def test_weight_counts_of_the_papers(name, image_shape, count):
    assert num_params(shapes(name, image_shape)) == count


def test_width_scales_convolutions_and_hidden_dense_layers():
    leaves = {
        name: leaf.shape for name, leaf in named_leaves(shapes("conv2", CIFAR10, width=0.5)).items()
    }
    assert leaves == {
        "conv1/kernel": (3, 3, 3, 32),
        "conv2/kernel": (3, 3, 32, 32),
        "dense1/kernel": (16 * 16 * 32, 128),
        "dense2/kernel": (128, 128),
        "dense3/kernel": (128, 10),
    }


def test_width_is_what_is_written():
    # As floats 0.29 * 100 and 0.29 * 300 are just below 29 and 87.
    leaves = named_leaves(shapes("fcn", MNIST, width=0.29))
    assert [leaf.shape for leaf in leaves.values()] == [(784, 87), (87, 29), (29, 10)]


@pytest.mark.parametrize(
    ("name", "convs"), [("conv8", range(1, 9)), ("vgg19", [f"{i:02}" for i in range(1, 17)])]
)
def test_layers_run_in_tree_order(name, convs):
    # Draws and tables go by the sorted names: they must be the order of execution.
    names = list(named_leaves(shapes(name, CIFAR10)))
    assert names == [f"conv{i}/kernel" for i in convs] + [f"dense{i}/kernel" for i in range(1, 4)]


def test_vgg_pools_after_each_stage():
    model = models.get("vgg16", num_classes=10, width=0.125)
    _, state = jax.eval_shape(
        lambda key: model.init_with_output(key, jnp.zeros(CIFAR10), capture_intermediates=True),
        jax.random.key(0),
    )
    seen = state["intermediates"]
    convs = [seen[f"conv{i:02}"]["__call__"][0].shape[1:] for i in range(1, 14)]
    assert convs == [
        *[(32, 32, 8)] * 2,
        *[(16, 16, 16)] * 2,
        *[(8, 8, 32)] * 3,
        *[(4, 4, 64)] * 3,
        *[(2, 2, 64)] * 3,
    ]


def test_elu_of_vgg19_falls_deeper():
    elu = models.ACTIVATIONS["elu_1.673"]
    np.testing.assert_allclose(
        elu(jnp.array([-1e3, -1.0, 2.0])), [-1.673, -1.673 * (1 - np.exp(-1)), 2], rtol=1e-5
    )


def test_fcn_equals_numpy():
    model = models.get("fcn", num_classes=3, width=0.02)
    image = jax.random.normal(jax.random.key(1), (4, 5, 5, 1))
    params = model.init(jax.random.key(0), image)["params"]
    x = np.asarray(image, np.float64).reshape(4, -1)
    for i in (1, 2, 3):
        x = x @ np.asarray(params[f"dense{i}"]["kernel"], np.float64)
        x = np.where(x > 0, x, np.expm1(x)) if i < 3 else x
    np.testing.assert_allclose(model.apply({"params": params}, image), x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(6, 4), (8, 64, 64, 32)])  # At once, and in pieces.
def test_elu_equals_flax_by_value_and_gradient(shape):
    x = 3 * jax.random.normal(jax.random.key(0), shape)
    x = x.ravel().at[:3].set(jnp.array([0.0, -1e-30, 1e-30])).reshape(shape)
    elu = jax.jit(models.ACTIVATIONS["elu_1.673"])
    value, pullback = jax.vjp(elu, x)
    expected, expected_pullback = jax.vjp(lambda x: nn.elu(x, 1.673), x)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    upstream = jax.random.normal(jax.random.key(1), shape)
    ours, theirs = pullback(upstream)[0], expected_pullback(upstream)[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(jax.jvp(elu, (x,), (upstream,))[1], theirs, rtol=1e-6, atol=1e-6)


def test_a_pooled_layer_is_kept_once():
    def loss(kernel, x):
        elu = models.ACTIVATIONS["elu"]
        return jnp.square(elu(max_pool_2x2(elu(x @ kernel) @ kernel))).sum()

    x = jax.ShapeDtypeStruct((32, 32, 32, 64), jnp.float32)
    kernel = jax.ShapeDtypeStruct((64, 64), jnp.float32)
    plan = jax.jit(jax.grad(loss)).lower(kernel, x).compile().memory_analysis()
    # 5.75 to 6.5 where what ELU and pooling were of is kept.
    assert plan.temp_size_in_bytes < 4 * 4 * x.size


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


def test_max_pool_gives_the_gradient_of_ties_to_the_first_and_has_forward_mode():
    x = jnp.array([[1.0, 3.0], [3.0, 3.0]]).reshape(1, 2, 2, 1)
    (dx,) = jax.vjp(max_pool_2x2, x)[1](jnp.full((1, 1, 1, 1), 6.0))
    np.testing.assert_array_equal(dx.ravel(), [0, 6, 0, 0])
    tangent = jnp.arange(1.0, 5).reshape(x.shape)
    value, forward = jax.jvp(max_pool_2x2, (x,), (tangent,))
    np.testing.assert_array_equal([value.item(), forward.item()], [3, 2])
    (dx,) = jax.vjp(max_pool_2x2, x.astype(jnp.bfloat16))[1](jnp.ones((1, 1, 1, 1), jnp.bfloat16))
    assert dx.dtype == jnp.bfloat16


def test_ties_of_a_max_pool_go_where_those_of_flax_go():
    # Values in 0, 1, 2, as after ReLU or a binary activation: most windows tie.
    x = jax.random.randint(jax.random.key(0), (2, 6, 6, 3), 0, 3).astype(jnp.float32)
    value, pullback = jax.vjp(max_pool_2x2, x)
    expected, expected_pullback = jax.vjp(lambda x: nn.max_pool(x, (2, 2), (2, 2)), x)
    np.testing.assert_array_equal(value, expected)
    upstream = jax.random.normal(jax.random.key(1), value.shape)
    np.testing.assert_allclose(
        *pullback(upstream), *expected_pullback(upstream), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("size", [1, 4])
def test_stride_1_max_pool_equals_flax_by_value_and_gradient(size):
    x = jax.random.normal(jax.random.key(0), (2, size, size + 1, 3))
    upstream = jax.random.normal(jax.random.key(1), x.shape)
    value, pullback = jax.vjp(max_pool_3x3, x)
    expected, expected_pullback = jax.vjp(
        lambda x: nn.max_pool(x, (3, 3), strides=(1, 1), padding="SAME"), x
    )
    np.testing.assert_array_equal(value, expected)
    np.testing.assert_allclose(*pullback(upstream), *expected_pullback(upstream), rtol=1e-5)
    assert max_pool_3x3(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_binary_activation_worked_by_hand():
    x = jnp.array([-2.0, -0.5, -0.0, 0.25, 3.0])
    value, pullback = jax.vjp(binary, x)
    np.testing.assert_array_equal(value, [-1, -1, 1, 1, 1])
    np.testing.assert_allclose(pullback(jnp.ones(5))[0], [0, 1, 2, 1.5, 0], rtol=1e-6)


@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_every_model_takes_the_entries_of_the_default_config(name):
    entries = default_config().model.to_dict() | {"name": name, "width": 0.25}
    plain = shapes(image_shape=CIFAR10, **entries)
    assert {leaf.rsplit("/", 1)[-1] for leaf in named_leaves(plain)} == {"kernel"}
    entries |= {"norm": "all", "norm_affine": True, "activation": "relu"}
    normed = shapes(image_shape=CIFAR10, **entries)
    leaves = [leaf.rsplit("/", 1)[-1] for leaf in named_leaves(normed)]
    # A norm after every layer but the last.
    kernels = len(named_leaves(plain))
    assert [leaves.count(kind) for kind in ("kernel", "scale", "bias")] == [
        kernels,
        kernels - 1,
        kernels - 1,
    ]


def test_errors():
    with pytest.raises(UserError, match="unknown norm 'stm': did you mean 'stem'"):
        models.get("fcn", num_classes=10, norm="stm")
    with pytest.raises(UserError, match="unknown shortcut 'projected': did you mean 'projection'"):
        models.get("resnet20", num_classes=10, shortcut="projected")
    with pytest.raises(UserError, match="unknown block 'K': known: C, I"):
        models.KosterResNet(10, layout=("CIK",))
    with pytest.raises(ValueError, match="depth must be 6n"):
        models.cifar_resnet(18)
    with pytest.raises(UserError, match="unknown activation 'swish'"):
        models.get("fcn", num_classes=10, activation="swish")
    with pytest.raises(UserError, match="unknown model 'conv3'"):
        models.get("conv3", num_classes=10)
    with pytest.raises(UserError, match="has no option 'widht': did you mean 'width'"):
        models.get("fcn", num_classes=10, widht=2.0)
