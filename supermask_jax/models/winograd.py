r"""Winograd's minimal filtering for 3 x 3 convolutions: a quarter to a half of the products.

A tile of m x m outputs of one channel pair is

.. math:: Y = A^T \big[(G g G^T) \odot (B^T d B)\big] A

for a kernel g [3, 3] and the (m + 2) x (m + 2) inputs d around the tile. Summed over channels, the
elementwise product becomes one matrix product for each of the (m + 2)^2 positions in the tile:
XLA runs those on CPU near the peak of the machine, where its convolutions, above all their
gradients, are far from it. The backward pass is the transpose of the forward one, written out so
that both gradients share its transform, and the transformed input is made again, not kept. Large
batches are computed in pieces whose transforms fit a cache.

Reference: Lavin and Gray, 2016, https://arxiv.org/abs/1509.09308, sec. 4 and eq. 8.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from supermask_jax.models.pieces import PIECE_BYTES, always, count_pieces, in_pieces

Array = jax.Array
Grid = list[list[Array]]  # [m + 2][m + 2] arrays [B, T, S, C]: T x S tiles in an image


class Transform(NamedTuple):
    """The matrices of F(m x m, 3 x 3)."""

    input: np.ndarray  # B^T, [m + 2, m + 2]
    kernel: np.ndarray  # G, [m + 2, 3]
    output: np.ndarray  # A^T, [m, m + 2]


# At the points 0, 1, -1 and infinity: about as exact as the sum itself.
_TWO = Transform(
    np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
    np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]]),
    np.array([[1, 1, 1, 0], [0, 1, -1, -1]]),
)
# At 0, 1, -1, 2, -2 and infinity: about one digit less exact.
_FOUR = Transform(
    np.array(
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ]
    ),
    np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24,
    np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]),
)
TRANSFORMS = {2: _TWO, 4: _FOUR}


def _combine(row: Sequence[float], arrays: Sequence[Array]) -> Array:
    """Returns the sum of `row[i] * arrays[i]`, without products by 0, 1 and -1; not all are 0."""
    total: Any = None
    # By `lax`: the operators of arrays take longer to trace, and there are thousands.
    for factor, array in zip(row, arrays, strict=True):
        if factor == 0:
            continue
        if abs(factor) != 1 or (total is None and factor < 0):
            array, factor = lax.mul(array, lax.full_like(array, factor)), 1
        if total is None:
            total = array
        else:
            total = (lax.add if factor > 0 else lax.sub)(total, array)
    return total


def _alone(function: Callable[..., Any], probe: Array, *operands: Any) -> Any:
    """Computes `function(*operands)` in a piece of program of its own.

    What is computed here is stored: fused with its readers, XLA computes it anew for every reader,
    or branch by branch where images are interleaved, at several times the cost of the convolution.
    It drops optimisation barriers on CPU before it fuses; over a condition it does not fuse.

    Args:
      function: operands -> a tree of arrays.
      probe: see `pieces.always`.
      operands: trees of arrays.
    """
    function = jax.jit(function, inline=True)  # Traced once, for its shapes and its branch.
    shapes = jax.eval_shape(function, *operands)
    zeros = lambda *unused: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)  # noqa: E731
    return lax.cond(always(probe), function, zeros, *operands)


def _spread(matrix: np.ndarray, x: Array, tile: int, tiles: tuple[int, int], probe: Array) -> Grid:
    """Transforms the tiles of x [B, H, W, C], which start every `tile` pixels, by `matrix`.

    `x` is padded so that the last tile, as wide as `matrix`, is whole.
    """

    def slices(x: Array, axis: int) -> list[Array]:
        stop = tile * (tiles[axis - 1] - 1) + 1
        return [lax.slice_in_dim(x, i, i + stop, tile, axis=axis) for i in range(matrix.shape[1])]

    def by_rows(x: Array) -> list[Array]:
        rows = slices(x, 1)
        return [_combine(row, rows) for row in matrix]

    halves = _alone(by_rows, probe, x)
    return [
        [_combine(row, columns) for row in matrix] for columns in (slices(h, 2) for h in halves)
    ]


def _gather(
    matrix: np.ndarray, grid: Grid, fold: Callable[[list[Array], int], list], probe: Array
) -> Array:
    """Transforms a grid by `matrix` and lays the m x m results of all tiles side by side.

    `fold` makes of the results along an axis the m that stay: [B, T * m, S * m, C].
    """

    def by_rows(grid: Grid) -> Grid:
        columns = zip(*grid, strict=True)
        return [fold([_combine(row, column) for row in matrix], 1) for column in columns]

    def by_columns(halves: Grid) -> Array:
        rows = zip(*halves, strict=True)
        parts = [fold([_combine(row, half) for row in matrix], 2) for half in rows]
        image = jnp.stack([jnp.stack(row, 3) for row in parts], 2)
        batch, height, m, width, _, channels = image.shape
        return image.reshape(batch, height * m, width * m, channels)

    return _alone(by_columns, probe, _alone(by_rows, probe, grid))


def _overlap(tile: int) -> Callable[[list[Array], int], list]:
    """Returns the `fold` that adds what neighbouring tiles of m + 2 inputs share."""

    def shift(x: Array, axis: int, by: int) -> Array:
        count = x.shape[axis]
        padding = [(int(by < 0), int(by > 0)) if i == axis else (0, 0) for i in range(x.ndim)]
        return lax.slice_in_dim(jnp.pad(x, padding), max(by, 0), max(by, 0) + count, axis=axis)

    def fold(parts: list[Array], axis: int) -> list[Array]:
        # An image starts at the second input of its first tile: the first is padding.
        first = parts[1] + shift(parts[tile + 1], axis, -1)
        last = parts[tile] + shift(parts[0], axis, 1)
        return [first, *parts[2:tile], last]

    return fold


def _each(function: Callable[..., Array], *grids: Grid) -> Grid:
    return [
        [function(*entries) for entries in zip(*rows, strict=True)]
        for rows in zip(*grids, strict=True)
    ]


def _product(x: Array, y: Array, axes: tuple[int, int]) -> Array:
    """Returns a matrix product, summed over an axis of either."""
    return lax.dot_general(x, y, (((axes[0],), (axes[1],)), ((), ())))


def _times(axis: int, x: Array, kernel: Array) -> Array:
    """Multiplies tiles [B, T, S, C] by a kernel, summed over an axis of that."""
    return _product(lax.collapse(x, 0, 3), kernel, (1, axis)).reshape(*x.shape[:3], -1)


def _of_tiles(x: Array, dy: Array) -> Array:
    """Returns the products [C, F] of inputs [B, T, S, C] and gradients [B, T, S, F]."""
    return _product(lax.collapse(x, 0, 3), lax.collapse(dy, 0, 3), (0, 0))


def _of_kernels(transform: Transform) -> np.ndarray:
    """Returns what transforms a kernel, laid out as a vector, along both axes at once.

    One product then leaves the kernels of all positions whole, one after another: of a product for
    each axis XLA makes an array in which the positions lie innermost.
    """
    return np.kron(transform.kernel, transform.kernel).astype(np.float32)


def _kernels(kernel: Array, transform: Transform) -> Grid:
    size, (*_, channels, features) = len(transform.kernel), kernel.shape
    whole = _of_kernels(transform) @ kernel.astype(jnp.float32).reshape(9, -1)
    entries = [*whole.reshape(-1, channels, features)]
    return [entries[start : start + size] for start in range(0, len(entries), size)]


def _inputs(x: Array, tile: int, transform: Transform, probe: Array) -> Grid:
    tiles = _tiles(x, tile)
    # 'SAME': one pixel on every side, and what the last tile needs.
    rests = [tile * count - size for count, size in zip(tiles, x.shape[1:3], strict=True)]
    padding = [(0, 0), *[(1, 1 + rest) for rest in rests], (0, 0)]
    return _spread(transform.input, jnp.pad(x, padding), tile, tiles, probe)


def _tiles(x: Array, tile: int) -> tuple[int, int]:
    return -(-x.shape[1] // tile), -(-x.shape[2] // tile)


def _convolve(x: Array, kernels: Grid, tile: int, transform: Transform) -> Array:
    probe = x[0, 0, 0, 0]
    grid = _each(partial(_times, 0), _inputs(x, tile, transform, probe), kernels)
    y = _gather(transform.output, grid, lambda parts, axis: parts, probe)
    return y[:, : x.shape[1], : x.shape[2]]


def _transpose(
    x: Array, dy: Array, kernels: Grid, tile: int, transform: Transform
) -> tuple[Array, Array]:
    """Returns dx, and the gradients to the transformed kernels: [(m + 2)^2, C, F]."""
    tiles, probe = _tiles(x, tile), x[0, 0, 0, 0]
    rests = [(0, tile * count - size) for count, size in zip(tiles, x.shape[1:3], strict=True)]
    padded = jnp.pad(dy, [(0, 0), *rests, (0, 0)])
    grid = _spread(transform.output.T, padded, tile, tiles, probe)
    back = _each(partial(_times, 1), grid, kernels)
    dx = _gather(transform.input.T, back, _overlap(tile), probe)
    products = _each(_of_tiles, _inputs(x, tile, transform, probe), grid)
    whole = jnp.stack([product for row in products for product in row])
    return dx[:, : x.shape[1], : x.shape[2]], whole


@cache
def conv3x3(tile: int, piece_bytes: int = PIECE_BYTES) -> Callable[[Array, Array], Array]:
    """Returns ``conv(x, kernel)``: 3 x 3, stride 1, borders padded with 0 so that sizes stay.

    Args:
      tile: m, 2 or 4: 16 products for 4 outputs, or 36 for 16, where 36 and 144 are usual.
      piece_bytes: of input or output, as float32, in a piece of the batch, about.

    Returns:
      conv(x [B, H, W, C], kernel [3, 3, C, F]) -> [B, H, W, F], all of one dtype; within rounding
      of XLA's convolution: relative errors of about 1e-6 (tile 2) and 5e-6 (tile 4). Computes
      in float32, also what is bfloat16. Reverse mode only: `jax.jvp` raises.
    """
    transform = TRANSFORMS[tile]

    @jax.custom_vjp
    def conv(x: Array, kernel: Array) -> Array:
        kernels = _kernels(kernel, transform)

        def forward(x: Array) -> tuple[Array, tuple]:
            return _convolve(x.astype(jnp.float32), kernels, tile, transform).astype(x.dtype), ()

        return in_pieces(forward, count_pieces(x, max(kernel.shape[2:]), piece_bytes), x)[0]

    def forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
        return conv(x, kernel), (x, kernel)

    def backward(residuals: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
        x, kernel = residuals
        kernels = _kernels(kernel, transform)

        def transpose(x: Array, dy: Array) -> tuple[Array, Array]:
            operands = (x.astype(jnp.float32), dy.astype(jnp.float32))
            dx, products = _transpose(*operands, kernels, tile, transform)
            return dx.astype(x.dtype), products

        count = count_pieces(x, max(kernel.shape[2:]), piece_bytes)
        dx, products = in_pieces(transpose, count, x, dy, over=True)
        whole = _of_kernels(transform).T @ products.reshape(len(products), -1)
        return dx, whole.reshape(kernel.shape).astype(kernel.dtype)

    conv.defvjp(forward, backward)
    return conv
