"""Residual networks: weight counts of the papers, resolutions, and blocks against NumPy."""

import re
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from supermask_jax import models
from supermask_jax.core.trees import named_leaves, num_params
from supermask_jax.models.layers import Norm
from supermask_jax.models.resnet import BasicBlock, CBlock, IBlock


def traced(name, classes=10, size=32, **options):
    """Shapes of parameters and of what every layer returns."""
    zeros = nn.initializers.zeros  # Quicker to trace than draws.
    model = models.get(name, num_classes=classes, kernel_init=zeros, **options)
    image = jnp.zeros((1, size, size, 3))
    logits, variables = jax.eval_shape(
        lambda key: model.init_with_output(key, image, capture_intermediates=True),
        jax.random.key(0),
    )
    assert logits.shape == (1, classes)
    outputs = {
        layer: entry["__call__"][0].shape[1:]
        for layer, entry in variables["intermediates"].items()
        if layer != "__call__"
    }
    return variables["params"], outputs


@pytest.mark.parametrize(
    ("width", "count"),
    [(1, 248_624), (1.5, 558_600), (3.5, 3_036_264)],
)
def test_weight_counts_of_kosters_resnet20(width, count):
    assert num_params(traced("koster_resnet20", width=width)[0]) == count


@pytest.mark.parametrize(
    ("name", "count", "tensors"),
    [
        ("koster_resnet56", 834_992, 59),
        ("koster_resnet110", 1_705_904, 113),
        ("koster_resnet110_masked", 1_668_272, 116),
    ],
)
def test_weight_counts_of_kosters_deep_networks(name, count, tensors):
    params, _ = traced(name, classes=100)
    assert (num_params(params), len(named_leaves(params))) == (count, tensors)


# Parameters of well-known PyTorch versions, with batch norm and the bias of the last layer.
@pytest.mark.parametrize(
    ("name", "count"),
    [("resnet18", 11_173_962), ("resnet20", 269_722), ("resnet110", 1_727_962)],
)
def test_parameter_counts_of_standard_networks(name, count):
    params, _ = traced(name, norm="all", norm_affine=True)
    assert num_params(params) + 10 == count


def test_projections_add_their_weights():
    padded, projected = (
        num_params(traced("resnet20", shortcut=shortcut)[0])
        for shortcut in ("padded", "projection")
    )
    assert projected - padded == 16 * 32 + 32 * 64


@pytest.mark.parametrize(
    ("name", "resolutions"),
    [
        ("koster_resnet20", 3 * [32] + 3 * [16] + 3 * [8]),
        ("koster_resnet110", 18 * [32] + 18 * [16] + 18 * [8]),
        ("koster_resnet110_masked", 18 * [32] + 9 * [16] + 9 * [8] + 9 * [4] + 9 * [2]),
        ("resnet20", 3 * [32] + 3 * [16] + 3 * [8]),
        ("resnet18", 2 * [32] + 2 * [16] + 2 * [8] + 2 * [4]),
    ],
)
def test_resolution_of_every_block(name, resolutions):
    _, outputs = traced(name, width=0.25)
    channels = outputs["conv1"][-1]
    assert outputs.pop("conv1") == (32, 32, channels)
    del outputs["head"], outputs["conv1_norm"]
    groups = 4 if name == "resnet18" else 3
    widths = np.repeat(channels * 2 ** np.arange(groups), len(resolutions) // groups)
    assert list(outputs.values()) == [
        (size, size, width) for size, width in zip(resolutions, widths, strict=True)
    ]
    # Draws and tables go by the sorted names: they must be the order of execution.
    in_order = sorted(outputs, key=lambda name: [int(n) for n in re.findall(r"\d+", name)])
    assert sorted(outputs) == in_order


def conv(x, kernel, stride=1):
    """Convolves [B, H, W, I] with [s, s, I, O], padded by s // 2, in float64."""
    pad, (height, width) = len(kernel) // 2, x.shape[1:3]
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    whole = sum(
        x[:, i : i + height, j : j + width] @ kernel[i, j]
        for i in range(len(kernel))
        for j in range(len(kernel))
    )
    return whole[:, ::stride, ::stride]


def elu(x):
    return np.where(x > 0, x, np.expm1(x))


def numpy_c_block(x, kernels, stride):
    """Norms halve what they get."""
    main = elu(conv(x, kernels["conv1"], stride) / 2)
    main = elu(conv(main, kernels["conv2"]) / 2)
    return elu(main + conv(x, kernels["shortcut"], stride) / 2)


def numpy_i_block(x, kernels, stride):
    del stride
    main = elu(conv(x, kernels["conv1"]) / 2)
    return elu(conv(main, kernels["conv2"]) / 2 + x)


def numpy_basic_block(x, kernels, stride):
    main = conv(elu(conv(x, kernels["conv1"], stride) / 2), kernels["conv2"]) / 2
    if "shortcut" in kernels:
        x = conv(x, kernels["shortcut"], stride) / 2
    elif main.shape != x.shape:
        zeros = np.zeros((*main.shape[:3], main.shape[-1] - x.shape[-1]))
        x = np.concatenate([x[:, ::stride, ::stride], zeros], -1)
    return elu(main + x)


PADDED, PROJECTED = partial(BasicBlock, project=False), partial(BasicBlock, project=True)


@pytest.mark.parametrize(
    ("kind", "reference", "features", "stride"),
    [
        pytest.param(CBlock, numpy_c_block, 4, 1, id="C"),
        pytest.param(CBlock, numpy_c_block, 6, 2, id="C-strided"),
        pytest.param(IBlock, numpy_i_block, 4, 1, id="I"),
        pytest.param(PADDED, numpy_basic_block, 4, 1, id="basic"),
        pytest.param(PADDED, numpy_basic_block, 7, 2, id="padded"),
        pytest.param(PROJECTED, numpy_basic_block, 7, 2, id="projected"),
    ],
)
@pytest.mark.parametrize("size", [5, 6])
def test_blocks_equal_numpy(kind, reference, features, stride, size):
    block = kind(
        features=features,
        stride=stride,
        kernel_init=nn.initializers.he_normal(),
        norms=partial(Norm, frozen=True, epsilon=3.0),  # x / sqrt(1 + 3)
        activation=nn.elu,
    )
    x = jax.random.normal(jax.random.key(1), (2, size, size, 4))
    params = jax.jit(block.init)(jax.random.key(0), x)["params"]
    kernels = {name: np.asarray(layer["kernel"], np.float64) for name, layer in params.items()}
    expected = reference(np.asarray(x, np.float64), kernels, stride)
    output = jax.jit(block.apply)({"params": params}, x)
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


def test_a_small_koster_network_equals_numpy():
    model = models.KosterResNet(
        3, layout=("C", "IC"), channels=(4, 4), norm="all", norm_frozen=True, norm_epsilon=3.0
    )
    x = jax.random.normal(jax.random.key(1), (2, 6, 6, 3))
    params = jax.jit(model.init)(jax.random.key(0), x)["params"]
    kernels = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    h = elu(conv(np.asarray(x, np.float64), kernels["conv1"]["kernel"]) / 2)
    h = np.asarray(nn.max_pool(jnp.asarray(h), (3, 3), padding="SAME"), np.float64)
    for name, block, stride in (
        ("group1_block01", numpy_c_block, 1),
        ("group2_block01", numpy_i_block, 1),
        ("group2_block02", numpy_c_block, 2),
    ):
        h = block(h, {k: v["kernel"] for k, v in kernels[name].items()}, stride)
    expected = h.mean((1, 2)) @ kernels["head"]["kernel"]
    logits = jax.jit(model.apply)({"params": params}, x)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_a_small_standard_network_equals_numpy():
    model = models.ResNet(3, channels=(4, 6), blocks=(1, 2))
    x = jax.random.normal(jax.random.key(1), (2, 6, 6, 3))
    params = jax.jit(model.init)(jax.random.key(0), x)["params"]
    kernels = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    h = elu(conv(np.asarray(x, np.float64), kernels["conv1"]["kernel"]))
    for name, stride in (("group1_block01", 1), ("group2_block01", 2), ("group2_block02", 1)):
        # Halved by the reference, doubled here: this network has no norm.
        h = numpy_basic_block(h, {k: 2 * v["kernel"] for k, v in kernels[name].items()}, stride)
    expected = h.mean((1, 2)) @ kernels["head"]["kernel"]
    logits = jax.jit(model.apply)({"params": params}, x)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
