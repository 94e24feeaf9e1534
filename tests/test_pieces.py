"""Convolutions in pieces of a batch: the same numbers, each device with its own rows."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from supermask_jax.models import winograd
from supermask_jax.models.pieces import count_pieces, in_pieces


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_a_function_of_rows_is_the_same_in_pieces(count):
    x, y = (jnp.asarray(np.random.default_rng(i).normal(size=(6, 2 + i))) for i in range(2))
    function = lambda x, y: (x[:, :1] * y, {"sum": (x.sum(0), y.sum())})  # noqa: E731
    rows, sums = jax.jit(lambda x, y: in_pieces(function, count, x, y))(x, y)
    np.testing.assert_allclose(rows, x[:, :1] * y, rtol=1e-6)
    np.testing.assert_allclose(sums["sum"][0], x.sum(0), rtol=1e-5)
    np.testing.assert_allclose(sums["sum"][1], y.sum(), rtol=1e-5)


def arrays(batch):
    rng = np.random.default_rng(0)
    shapes = ((batch, 8, 8, 4), (3, 3, 4, 8), (batch, 8, 8, 8))
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


ROW = 8 * 8 * 8 * 4  # bytes


def gradients(rows, x, kernel, dy):
    y, transpose = jax.vjp(winograd.conv3x3(4, rows * ROW), x, kernel)
    return (y, *transpose(dy))


@pytest.mark.parametrize(
    ("batch", "rows", "count"),
    # 7: no divisor of it comes near the wish for two or four pieces.
    [(12, 12, 1), (12, 4, 3), (12, 5, 3), (12, 1, 12), (7, 4, 1), (7, 2, 7)],
)
def test_a_convolution_is_the_same_in_pieces(batch, rows, count):
    operands = arrays(batch)
    x, kernel, _ = operands
    assert count_pieces(x, 8, rows * ROW) == count
    assert count_pieces(x.astype(jnp.bfloat16), 8, rows * ROW) == count
    assert ("scan[" in str(jax.make_jaxpr(partial(gradients, rows))(*operands))) == (count > 1)
    whole = gradients(batch, *operands)
    for ours, expected in zip(gradients(rows, *operands), whole, strict=True):
        assert ours.shape == expected.shape
        # Sums in another order, and of numbers that tiles make larger: relative to the whole.
        assert np.linalg.norm(ours - expected) <= 1e-5 * np.linalg.norm(expected)


def test_bfloat16_stays_between_convolutions():
    operands = [a.astype(jnp.bfloat16) for a in arrays(8)]
    exact = gradients(4, *(a.astype(jnp.float32) for a in operands))
    for ours, expected in zip(gradients(4, *operands), exact, strict=True):
        assert ours.dtype == jnp.bfloat16
        # Computed in float32 and rounded once: half a unit in the last of its eight bits.
        np.testing.assert_allclose(ours.astype(jnp.float32), expected, rtol=2**-8, atol=1e-3)


@pytest.mark.parametrize("over", [False, True])
def test_loops_carry_bfloat16_as_bits(over):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 5)), jnp.bfloat16)
    doubled = jax.jit(lambda x: in_pieces(lambda x: (2 * x, ()), 3, x, over=over)[0])
    np.testing.assert_array_equal(doubled(x), 2 * x)
    puts = [line for line in doubled.lower(x).as_text().splitlines() if "update_slice" in line]
    assert puts and not any("bf16" in line for line in puts)


def test_rows_stay_on_their_devices():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows, whole = (NamedSharding(mesh, PartitionSpec(*axis)) for axis in (("data",), ()))
    x, kernel, dy = arrays(16)
    assert count_pieces(x, 8, 4 * ROW) == 4
    placed = jax.device_put((x, kernel, dy), (rows, whole, rows))
    program = jax.jit(partial(gradients, 4), out_shardings=(rows, rows, whole))
    text = program.lower(*placed).compile().as_text()
    # The kernel's gradient is summed over the devices; images are never moved.
    assert "all-reduce" in text
    for moving in ("all-gather", "all-to-all", "collective-permute"):
        assert moving not in text
    for ours, expected in zip(program(*placed), gradients(4, x, kernel, dy), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)
