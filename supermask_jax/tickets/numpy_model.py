"""Running a ticket with NumPy and SciPy: dead units dropped, then the cheaper route a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from supermask_jax.errors import UserError, unknown_name
from supermask_jax.tickets.chain import ACTIVATIONS, Block, chain, max_pool_2x2, preprocess
from supermask_jax.tickets.ticket import Ticket

ROUTES = ("auto", "sparse", "dense")

# Below this density of what is left, a product with a sparse matrix is the faster one: measured on
# x86 with OpenBLAS at batch sizes of 1 and 128, see docs/tickets.md.
SPARSE_BELOW = 1 / 8

# Images of a batch are taken so many at a time that unfolded patches fill about this many floats.
_CHUNK = 1 << 22


class Network:
    """A ticket made ready to run: ``Network(ticket)(images) -> logits``.

    Attributes:
      blocks: the layers, without dead units.
      sparse: names of the layers that run as sparse matrices.
    """

    def __init__(self, ticket: Ticket, *, route: str = "auto", drop_dead: bool = True) -> None:
        """Prepares a ticket.

        Args:
          ticket: of a model in `chain.CHAINS`.
          route: "sparse" or "dense" for every layer, or "auto" for the one expected to be faster.
          drop_dead: drop units that nothing reaches, and those that nothing reads.

        Raises:
          UserError: the model does not run here, or the ticket does not hold its weights.
        """
        if route not in ROUTES:
            raise unknown_name("route", route, ROUTES)
        self._ticket = ticket
        self.blocks = chain(ticket)
        self._act = ACTIVATIONS[ticket.model.get("activation", "elu")]
        if drop_dead:
            self.blocks = without_dead(self.blocks, self._act)
        self.sparse: list[str] = []
        self._runs = [self._prepare(block, route) for block in _batch_last(self.blocks)]
        height, width, channels = ticket.image_shape
        # Float32 values in the largest unfolded image.
        self._unfolded = max(
            [b.kernel[..., 0].size * height * width for b in self.blocks if b.kernel.ndim == 4],
            default=height * width * channels,
        )

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Maps images [B, H, W, C] to logits float32 [B, K]; see `predict`.

        Raises:
          UserError: the images are not of the ticket's shape, or of another type.
        """
        images = np.asarray(images)
        shape = self._ticket.image_shape
        if images.ndim != 4 or images.shape[1:] != shape:
            raise UserError(f"images are of shape {images.shape}, not [B, {str(shape)[1:-1]}]")
        step = max(_CHUNK // self._unfolded, 1)
        chunks = [self._run(images[i : i + step]) for i in range(0, len(images), step)]
        empty = np.zeros((0, self._ticket.num_outputs), np.float32)
        return chunks[0] if len(chunks) == 1 else np.concatenate([empty, *chunks])

    def _run(self, images: np.ndarray) -> np.ndarray:
        x = np.asarray(preprocess(self._ticket, images))
        batch = len(x)
        if self.blocks[0].kernel.ndim == 4:
            x = np.ascontiguousarray(x.transpose(3, 1, 2, 0))
        else:
            x = np.ascontiguousarray(x.reshape(batch, -1).T)
        for run in self._runs:
            x = run(x)
        return np.ascontiguousarray(x.T)

    def _prepare(self, block: Block, route: str) -> Callable[[np.ndarray], np.ndarray]:
        """Returns the function [C, H, W, B] or [F, B] -> the same of the next layer."""
        kernel, conv = block.kernel, block.kernel.ndim == 4
        matrix = kernel.reshape(-1, kernel.shape[-1]).T
        rows = np.zeros(0, np.int64)
        if conv:  # Only patches' entries that some weight reads are unfolded.
            reads = matrix.any(0)
            reads[0] |= not reads.any()
            rows = np.flatnonzero(reads)
            matrix = matrix[:, rows]
        product: Any = np.ascontiguousarray(matrix)
        density = np.count_nonzero(matrix) / max(matrix.size, 1)
        if route == "sparse" or (route == "auto" and density < SPARSE_BELOW):
            from scipy import sparse  # Slow to import, and no part of training.

            product = sparse.csr_array(matrix)
            self.sparse.append(block.name)
        taps = _taps(rows, kernel.shape[2]) if conv else []
        affine = [None if a is None else a[:, None] for a in (block.scale, block.shift)]
        activate = self._act if block.activate else lambda x: x

        def finish(y: np.ndarray) -> np.ndarray:
            y = y if affine[0] is None else y * affine[0]
            return activate(y if affine[1] is None else y + affine[1])

        def run_dense(x: np.ndarray) -> np.ndarray:
            return finish(product @ x.reshape(-1, x.shape[-1]))

        def run_conv(x: np.ndarray) -> np.ndarray:
            patches = _unfold(x, taps)
            y = (product @ patches.reshape(len(patches), -1)).reshape(-1, *x.shape[1:])
            y = max_pool_2x2(y) if block.pool else y
            return finish(y.reshape(len(y), -1)).reshape(y.shape)

        return run_conv if conv else run_dense


def predict(ticket: Ticket, images: np.ndarray) -> np.ndarray:
    """Returns the logits of images, float32 [B, K]. To call it often, keep a `Network`.

    Args:
      ticket: of a model in `chain.CHAINS`.
      images: [B, H, W, C], integers from 0 to 255, or floats that are preprocessed already.

    Raises:
      UserError: the model does not run here, or images are not of its shape, or of another type.

    >>> ticket = tickets.load_ticket("fcn-sparse")
    >>> predict(ticket, np.zeros((2, *ticket.image_shape), np.uint8)).shape
    (2, 10)
    """
    return Network(ticket)(images)


def accuracy(ticket: Ticket, images: np.ndarray, labels: np.ndarray) -> float:
    """Returns the share of images whose largest logit is that of their label, in [0, 1].

    Args:
      ticket: of a model in `chain.CHAINS`.
      images: as for `predict`.
      labels: integers [B], from 0.

    Raises:
      UserError: as `predict`, or labels are no such integers, or there are none.

    >>> ticket = tickets.load_ticket("fcn-sparse")
    >>> images = np.zeros((10, *ticket.image_shape), np.uint8)
    >>> accuracy(ticket, images, np.arange(10))  # Ten images that are alike, of ten classes.
    0.1
    """
    labels = checked_labels(labels, np.shape(images)[:1], ticket.num_classes)
    return float(np.mean(np.argmax(predict(ticket, images), -1) == labels))


def checked_labels(labels: np.ndarray, shape: tuple[int, ...], num_classes: int) -> np.ndarray:
    """Returns labels as an array of `shape`, one for each image.

    Raises:
      UserError: they are no integers from 0 to `num_classes` - 1, or not one for each image.
    """
    found = np.asarray(labels)
    if not np.issubdtype(found.dtype, np.integer):
        raise UserError(f"labels are {found.dtype}: give integers [B], the number of each class")
    if found.shape != shape:
        hint = ", of one-hot labels their argmax(-1)" if found.ndim == 2 else ""
        raise UserError(
            f"labels are of shape {found.shape}, and images {shape}: give one for each{hint}"
        )
    if not found.size:
        raise UserError("there are no images to measure an accuracy on")
    if found.min() < 0 or found.max() >= num_classes:
        raise UserError(
            f"labels go from {found.min()} to {found.max()}, and the classes from 0 to "
            f"{num_classes - 1}"
        )
    return found


def _taps(rows: np.ndarray, channels: int) -> list[tuple[int, int, np.ndarray, slice]]:
    """Returns (dy, dx, channels read, where they go among `rows`) of every tap in use."""
    taps, at = [], 0
    for tap in range(9):
        read = rows[rows // channels == tap] % channels
        if len(read):
            taps.append((tap // 3, tap % 3, read, slice(at, at + len(read))))
        at += len(read)
    return taps


def _unfold(x: np.ndarray, taps: list[tuple[int, int, np.ndarray, slice]]) -> np.ndarray:
    """Returns the entries of all 3 x 3 patches that are read: [rows, H, W, B]."""
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    patches = np.empty((taps[-1][3].stop, *x.shape[1:]), np.float32)
    for dy, dx, read, where in taps:
        patches[where] = padded[read, dy : dy + height, dx : dx + width]
    return patches


def without_dead(
    blocks: list[Block], activation: Callable[[np.ndarray], np.ndarray]
) -> list[Block]:
    """Returns the blocks without units whose output is always 0, and without those nobody reads.

    Exact: a unit that no weight reaches gives activation(shift), and is dropped where that is 0.
    Inputs of the network stay; a dense layer after a convolution loses the features of the channels
    that are gone.

    >>> blocks = chain(tickets.load_ticket("fcn-sparse"))
    >>> kept = without_dead(blocks, ACTIVATIONS["elu"])
    >>> kept[0].kernel.shape[-1] < blocks[0].kernel.shape[-1] == 300
    True
    """
    blocks = list(blocks)
    while True:
        before = [block.kernel.shape for block in blocks]
        for i in range(len(blocks) - 1):
            block, reader = blocks[i : i + 2]
            kernel = block.kernel
            constant = np.zeros(kernel.shape[-1]) if block.shift is None else block.shift
            reached = kernel.reshape(-1, kernel.shape[-1]).any(0) | (activation(constant) != 0)
            live = reached & reads(reader.kernel, kernel.shape[-1])
            live[0] |= not live.any()  # No array is left empty.
            if live.all():
                continue
            blocks[i] = block._replace(
                kernel=kernel[..., live],
                scale=None if block.scale is None else block.scale[live],
                shift=None if block.shift is None else block.shift[live],
            )
            blocks[i + 1] = reader._replace(kernel=_narrowed(reader.kernel, live))
        if before == [block.kernel.shape for block in blocks]:
            return blocks


def _batch_last(blocks: list[Block]) -> list[Block]:
    """Returns the blocks with flattened features in the order of [C, H, W]."""
    blocks = list(blocks)
    for i in range(len(blocks) - 1):
        block, reader = blocks[i : i + 2]
        if block.kernel.ndim == 4 and reader.kernel.ndim == 2:
            kernel = reader.kernel.reshape(-1, block.kernel.shape[-1], reader.kernel.shape[-1])
            kernel = kernel.transpose(1, 0, 2).reshape(reader.kernel.shape)
            blocks[i + 1] = reader._replace(kernel=kernel)
    return blocks


def reads(kernel: np.ndarray, units: int) -> np.ndarray:
    """Returns which of the units before it a kernel reads: bool [units].

    >>> reads(np.array([[0.0, 0.0], [0.0, 1.0]]), 2).tolist()
    [False, True]
    """
    if kernel.ndim == 4:
        return kernel.any((0, 1, 3))
    return kernel.reshape(-1, units, kernel.shape[-1]).any((0, 2))


def _narrowed(kernel: np.ndarray, live: np.ndarray) -> np.ndarray:
    """Returns a kernel without the inputs of dead units."""
    if kernel.ndim == 4:
        return kernel[:, :, live]
    return kernel.reshape(-1, len(live), kernel.shape[-1])[:, live].reshape(-1, kernel.shape[-1])
