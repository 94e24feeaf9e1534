"""Convolutions by matrix products: XLA's own in float64, by value and by both gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny_config
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from supermask_jax import models
from supermask_jax.config.files import _CHOICES
from supermask_jax.errors import UserError
from supermask_jax.experiment import build
from supermask_jax.models import canonical, im2col, winograd
from supermask_jax.models.convolution import CONVOLUTIONS, by_products, way_of
from supermask_jax.training.loop import make_train_step
from supermask_jax.training.xla_cpu import derives_convolution

NUMBERS = ("NHWC", "HWIO", "NHWC")
WAYS = {"im2col": im2col.conv3x3, "tile 2": winograd.conv3x3(2), "tile 4": winograd.conv3x3(4)}
# Relative errors of norms; the sum itself has about 3e-7.
TOLERANCES = {"im2col": 1e-6, "tile 2": 1e-6, "tile 4": 1e-5}


def with_gradients(conv, x, kernel, dy):
    y, transpose = jax.vjp(conv, x, kernel)
    return [np.asarray(part) for part in (y, *transpose(dy))]


def operands(batch, height, width, channels, features):
    rng = np.random.default_rng(height * width)
    shapes = [
        (batch, height, width, channels),
        (3, 3, channels, features),
        (batch, height, width, features),
    ]
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def xla(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=NUMBERS)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [(4, 8), (7, 5), (1, 2)])
def test_values_and_gradients_are_those_of_the_convolution(way, size):
    arrays = operands(3, *size, 5, 6)
    with jax.enable_x64(True):
        exact = with_gradients(xla, *(jnp.asarray(a, jnp.float64) for a in arrays))
    found = with_gradients(jax.jit(WAYS[way]), *map(jnp.asarray, arrays))
    for ours, theirs in zip(found, exact, strict=True):
        assert ours.dtype == np.float32
        assert np.linalg.norm(ours - theirs) <= TOLERANCES[way] * np.linalg.norm(theirs)


@pytest.mark.parametrize("way", WAYS)
def test_seeds_are_mapped_over(way):
    x, kernel, dy = (jnp.stack([a, -2 * a]) for a in map(jnp.asarray, operands(2, 4, 4, 3, 3)))
    both = jax.jit(jax.vmap(partial(with_parts, WAYS[way])))(x, kernel, dy)
    for i in range(2):
        one = with_gradients(jax.jit(WAYS[way]), x[i], kernel[i], dy[i])
        for ours, alone in zip(both, one, strict=True):
            np.testing.assert_allclose(ours[i], alone, rtol=1e-4, atol=1e-4)


def with_parts(conv, x, kernel, dy):
    y, transpose = jax.vjp(conv, x, kernel)
    return (y, *transpose(dy))


def choice(x, kernel, strides=(1, 1), padding="SAME", **options):
    options = {"dimension_numbers": NUMBERS, **options}
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (x, kernel)]
    return way_of(*shapes, strides, padding, **options)


def test_the_choice():
    image, kernel = (8, 32, 32, 64), (3, 3, 64, 128)
    assert choice(image, kernel) is winograd.conv3x3(4)
    assert choice(image, kernel, padding=((1, 1), (1, 1))) is winograd.conv3x3(4)
    assert choice((8, 8, 8, 64), kernel) is winograd.conv3x3(4)
    assert choice((8, 4, 4, 64), kernel) is winograd.conv3x3(2)
    assert choice((8, 32, 32, 3), (3, 3, 3, 64)) is im2col.conv3x3
    same, half = ((1, 1), (1, 1)), ((0, 1), (0, 1))
    assert choice((8, 32, 32, 16), (3, 3, 16, 16)) is canonical.conv((1, 1), same)
    assert choice(image, kernel, (2, 2)) is canonical.conv((2, 2), half)
    assert choice(image, kernel, padding="VALID") is canonical.conv((1, 1), ((0, 0), (0, 0)))


# Size, strides and padding of images of 9 x 8; some windows end before the image does.
OTHERS = [
    ((3, 3), (2, 2), "SAME"),
    ((3, 2), (1, 3), "VALID"),
    ((5, 4), (3, 2), ((0, 3), (2, 1))),
    ((1, 1), (2, 2), "SAME"),
    ((1, 1), (2, 3), "VALID"),
    ((1, 1), (2, 1), ((1, 0), (0, 2))),
]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(("size", "strides", "padding"), OTHERS)
def test_other_sizes_strides_and_padding(size, strides, padding, dtype):
    ours = lambda x, kernel: by_products(x, kernel, strides, padding)  # noqa: E731
    theirs = lambda x, kernel: lax.conv_general_dilated(  # noqa: E731
        x, kernel, strides, padding, dimension_numbers=NUMBERS
    )
    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.normal(size=s), dtype) for s in ((3, 9, 8, 5), (*size, 5, 6)))
    dy = jnp.asarray(rng.normal(size=jax.eval_shape(theirs, x, kernel).shape), dtype)
    with jax.enable_x64(True):
        exact = with_gradients(theirs, *(jnp.asarray(a, jnp.float64) for a in (x, kernel, dy)))
    tolerance = 1e-6 if dtype == jnp.float32 else 2**-8  # Rounded once, of eight bits.
    for found, expected in zip(with_gradients(ours, x, kernel, dy), exact, strict=True):
        assert found.dtype == dtype
        assert np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected)


def test_gradients_are_convolutions_of_the_usual_layout():
    """What alone XLA computes on CPU as fast inside a loop as outside."""
    shapes = (8, 8, 8, 16), (3, 3, 16, 32), (8, 4, 4, 32)
    conv = canonical.conv((2, 2), ((1, 1), (1, 1)))
    jaxpr = jax.make_jaxpr(lambda *o: with_parts(conv, *o))(*map(jnp.zeros, shapes))
    assert derives_convolution(jax.make_jaxpr(jax.jit(xla))(*map(jnp.zeros, shapes[:2])))
    assert not derives_convolution(jax.make_jaxpr(jax.jit(conv))(*map(jnp.zeros, shapes[:2])))
    usual = lax.conv_dimension_numbers(*shapes[:2], NUMBERS)
    convolutions = [
        equation for equation in jaxpr.eqns if equation.primitive.name == "conv_general_dilated"
    ]
    assert len(convolutions) == 2
    for equation in convolutions:
        assert equation.params["dimension_numbers"] == usual


def test_rows_of_other_convolutions_stay_on_their_devices():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows, whole = (NamedSharding(mesh, PartitionSpec(*axis)) for axis in (("data",), ()))
    rng = np.random.default_rng(0)
    for size in (1, 3):
        conv = lambda x, kernel: by_products(x, kernel, (2, 2), "SAME")  # noqa: E731
        shapes = (16, 8, 8, 4), (size, size, 4, 8), (16, 4, 4, 8)
        arrays = [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]
        placed = jax.device_put(arrays, [rows, whole, rows])
        program = jax.jit(
            lambda *o, conv=conv: with_parts(conv, *o), out_shardings=(rows, rows, whole)
        )
        text = program.lower(*placed).compile().as_text()
        assert "all-reduce" in text
        for moving in ("all-gather", "all-to-all", "collective-permute"):
            assert moving not in text
        for ours, alone in zip(program(*placed), with_gradients(conv, *arrays), strict=True):
            np.testing.assert_allclose(ours, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        ((3, 3, 32, 64), {"feature_group_count": 2}),
        ((3, 3, 64, 64), {"rhs_dilation": (2, 2), "padding": ((2, 2), (2, 2))}),
        ((3, 3, 64, 64), {"lhs_dilation": (2, 2)}),
    ],
)
def test_groups_and_dilation_stay_with_xla(kernel, options):
    padding = options.pop("padding", ((1, 1), (1, 1)))
    assert choice((2, 8, 8, 64), kernel, padding=padding, **options) is None
    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((2, 8, 8, 64), kernel))
    ours = by_products(x, kernel, (1, 1), padding, **options)
    options["dimension_numbers"] = NUMBERS
    np.testing.assert_array_equal(
        ours, lax.conv_general_dilated(x, kernel, (1, 1), padding, **options)
    )


def test_the_dtype_stays():
    x, kernel, _ = (jnp.asarray(a, jnp.bfloat16) for a in operands(2, 8, 8, 32, 32))
    y = by_products(x, kernel, (1, 1), "SAME")
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        y.astype(jnp.float32), xla(x, kernel).astype(jnp.float32), rtol=0.02, atol=0.2
    )


@pytest.mark.parametrize("name", ["conv2", "resnet18"])
def test_a_network_is_the_same_by_every_way(name):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 3)), jnp.float32)
    networks = {
        way: models.get(name, num_classes=3, width=0.5, convolution=way) for way in CONVOLUTIONS
    }
    variables = jax.jit(networks["xla"].init)(jax.random.key(0), x)
    results = {way: jax.jit(each.apply)(variables, x) for way, each in networks.items()}
    text = jax.jit(networks["products"].apply).lower(variables, x).as_text()
    assert text.count("stablehlo.dot_general") > 20  # Of the tiles: it is not XLA's way.
    for logits in results.values():
        np.testing.assert_allclose(logits, results["xla"], rtol=1e-4, atol=1e-4)


def test_the_config_chooses():
    assert set(_CHOICES["convolution"]) == set(CONVOLUTIONS)
    texts = {}
    for way in CONVOLUTIONS:
        config = tiny_config(**{"model.name": "conv2", "model.width": 0.5, "convolution": way})
        job = build(config)
        state, frozen = jax.eval_shape(job.create, jax.random.key(0))
        batch = {
            "image": jax.ShapeDtypeStruct((4, 8, 8, 1), jnp.float32),
            "label": jax.ShapeDtypeStruct((4,), jnp.int32),
            "weight": jax.ShapeDtypeStruct((4,), jnp.float32),
        }
        texts[way] = jax.jit(make_train_step(job)).lower(state, frozen, batch).as_text()
    assert "stablehlo.convolution" in texts["xla"]
    assert "stablehlo.convolution" not in texts["products"]
    assert ("stablehlo.convolution" in texts["auto"]) == (jax.default_backend() != "cpu")


def test_precision_and_float64_stay_with_xla():
    image, kernel = (8, 32, 32, 64), (3, 3, 64, 128)
    assert choice(image, kernel, precision=lax.Precision.HIGHEST) is None
    assert choice(image, kernel, preferred_element_type=jnp.float32) is None
    with jax.enable_x64(True):
        x, kernel, _ = (jnp.asarray(a, jnp.float64) for a in operands(2, 8, 8, 32, 32))
        np.testing.assert_array_equal(by_products(x, kernel, (1, 1), "SAME"), xla(x, kernel))


def test_networks_by_themselves_have_forward_mode_gradients():
    network = models.get("conv2", num_classes=3, width=0.5)
    x = jnp.ones((2, 8, 8, 3))
    variables = network.init(jax.random.key(0), x)
    _, tangent = jax.jvp(lambda x: network.apply(variables, x), (x,), (x,))
    assert np.isfinite(tangent).all()


def test_an_unknown_way_is_named():
    with pytest.raises(UserError, match="products"):
        models.get("conv2", num_classes=3, convolution="product")
