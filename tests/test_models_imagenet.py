"""Residual networks for ImageNet: parameter counts, resolutions, the pool and where strides lie."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_models_resnet import traced

from supermask_jax.core.trees import named_leaves, num_params
from supermask_jax.models.imagenet import Bottleneck
from supermask_jax.models.layers import Norm, max_pool_3x3

NETWORKS = ("resnet18_imagenet", "resnet50", "resnet101", "wide_resnet50")
traced = partial(traced, classes=1000, norm="all")


# torchvision's parameters, and the channels that it normalises: of the stem, and of every block.
@pytest.mark.parametrize(
    ("name", "count", "channels", "tensors"),
    [
        ("resnet18_imagenet", 11_689_512, 64 + 4 * (64 + 128 + 256 + 512) + 896, 21),
        ("resnet50", 25_557_032, 26_560, 54),
        ("resnet101", 44_549_160, 26_560 + 17 * (2 * 256 + 1024), 105),
        ("wide_resnet50", 68_883_240, 34_112, 54),
    ],
)
def test_parameters_are_those_of_torchvision(name, count, channels, tensors):
    affine, _ = traced(name, size=224, norm_affine=True)
    assert num_params(affine) + 1000 == count  # The bias of the last layer.
    params, _ = traced(name, size=224)
    assert len(named_leaves(params)) == tensors
    assert num_params(params) == count - 1000 - 2 * channels


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("size", "sizes"), [(224, (112, 56, 28, 14, 7)), (65, (33, 17, 9, 5, 3))])
def test_resolutions(name, size, sizes):
    _, shapes = traced(name, size=size)
    outer = 1 if name == "resnet18_imagenet" else 4
    assert shapes["conv1"] == (sizes[0], sizes[0], 64)
    for group, side in enumerate(sizes[1:]):
        last = max(layer for layer in shapes if layer.startswith(f"group{group + 1}_"))
        assert shapes[last] == (side, side, outer * 64 * 2**group)
    assert sorted(shapes)[:2] == ["conv1", "conv1_norm"]


@pytest.mark.parametrize("size", [7, 8])
def test_the_pool_is_flax_s_and_so_is_its_gradient(size):
    x = jax.random.normal(jax.random.key(0), (2, size, size + 1, 3))
    pool = partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
    ours = partial(max_pool_3x3, stride=2)
    np.testing.assert_array_equal(ours(x), pool(x))
    grads = [jax.grad(lambda x, f=f: jnp.sum(jnp.sin(f(x))))(x) for f in (ours, pool)]
    np.testing.assert_allclose(*grads, atol=1e-6)


def test_a_bottleneck_s_stride_is_that_of_its_3x3_convolution():
    block = Bottleneck(
        features=2,
        inner=3,
        stride=2,
        kernel_init=nn.initializers.ones,
        norms=partial(Norm, used=False),
        activation=nn.relu,
    )
    image = jnp.zeros((1, 8, 8, 1)).at[0, 3, 3].set(1.0)  # Read by no convolution of 1 x 1.
    out, _ = block.init_with_output(jax.random.key(0), image)
    assert out.shape == (1, 4, 4, 8)
    expected = np.zeros((4, 4))
    expected[1:3, 1:3] = 9.0  # 3 x 3 windows around the pixels 2 and 4 hold it.
    np.testing.assert_array_equal(out[0, :, :, 0], expected)
