"""The NumPy side of the networks: activations, pooling, and the order of layers.

Arrays here have the batch last, [C, H, W, B] and [F, B]: a sparse matrix multiplies columns, and a
flattened image needs no copy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from supermask_jax.data.preprocess import PREPROCESSES
from supermask_jax.errors import UserError, one_line, unknown_name
from supermask_jax.tickets.ticket import Ticket

# Models that are a chain of the layers below. Others are loaded, but run by Flax alone.
CHAINS = ("fcn", "conv2", "conv4", "conv6", "conv8")


_IMAGES = "give integers from 0 to 255, or floats that are preprocessed already"


def preprocess(ticket: Ticket, images: Any, xp: Any = np) -> Any:
    """Returns what the network takes: integers from 0 to 255 preprocessed, floats as they are.

    Raises:
      UserError: images are of another type, or the preprocessing is unknown.

    >>> ticket = tickets.load_ticket("fcn-sparse")
    >>> images = np.zeros((2, *ticket.image_shape), np.uint8)
    >>> preprocess(ticket, images).dtype  # Standardised; `jnp` as `xp` does it under jit.
    dtype('float32')
    """
    if xp.issubdtype(images.dtype, xp.floating):
        return images if images.dtype == np.float32 else images.astype(xp.float32)
    wide = images.dtype != np.uint8
    if wide and not xp.issubdtype(images.dtype, xp.integer):
        raise UserError(f"images are {images.dtype}: {_IMAGES}")
    if wide and xp is np and images.size and (images.min() < 0 or images.max() > 255):
        raise UserError(f"images go from {images.min()} to {images.max()}: {_IMAGES}")
    name, options = ticket.preprocessing.get("name"), dict(ticket.preprocessing)
    if not isinstance(name, str) or name not in PREPROCESSES:
        raise unknown_name("preprocessing", name, PREPROCESSES)
    del options["name"]
    try:
        return PREPROCESSES[name](images.astype(xp.float32), xp, **options)
    except (TypeError, ValueError) as error:
        raise UserError(f"preprocessing {name!r} failed: {one_line(error)}") from error


def elu(x: np.ndarray) -> np.ndarray:
    """x where it is positive, else exp(x) - 1: the larger of both, since exp(x) - 1 >= x."""
    return np.maximum(x, np.expm1(np.minimum(x, 0)))


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "elu": elu,
    "elu_1.673": lambda x: np.maximum(x, 0) + np.float32(1.673) * np.expm1(np.minimum(x, 0)),
    "relu": lambda x: np.maximum(x, 0),
    "binary": lambda x: np.where(x >= 0, np.float32(1), np.float32(-1)),
}


def max_pool_2x2(x: np.ndarray) -> np.ndarray:
    """Max-pools [C, H, W, B] by 2 with stride 2; an odd last row or column is dropped."""
    height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    x = np.maximum(x[:, 0:height:2], x[:, 1:height:2])
    return np.maximum(x[:, :, 0:width:2], x[:, :, 1:width:2])


class Block(NamedTuple):
    """A layer of the chain with what follows it.

    Attributes:
      name: of the layer.
      kernel: float32 [3, 3, C, D] of a convolution, or [F, G] with the features of an image in
        height, width, channel order.
      scale: float32 [D], of what normalises the output, with the layer's bias folded in below.
      shift: float32 [D], added after scaling.
      pool: max-pool 2 x 2 before normalising.
      activate: whether the activation follows.
    """

    name: str
    kernel: np.ndarray
    scale: np.ndarray | None
    shift: np.ndarray | None
    pool: bool
    activate: bool


def chain(ticket: Ticket) -> list[Block]:
    """Returns the layers of a ticket in the order in which they run, with dense kernels.

    Raises:
      UserError: this model does not run here, or its layers do not fit each other.
    """
    name = ticket.model.get("name")
    if name not in CHAINS:
        raise UserError(
            f"model {name!r} cannot run without JAX (only {', '.join(CHAINS)} can): pass "
            "tickets.to_variables(ticket) to the model's apply"
        )
    if (activation := str(ticket.model.get("activation", "elu"))) not in ACTIVATIONS:
        raise unknown_name("activation", activation, ACTIVATIONS)
    if (norm := ticket.model.get("norm", "none")) not in ("none", "stem", "all"):
        raise unknown_name("norm", norm, ("none", "stem", "all"))
    kernels = _kernels(ticket)
    leaves = ("/kernel", "/bias", "_norm/bn/scale", "_norm/bn/bias")
    used = {layer + leaf for layer in kernels for leaf in leaves}
    if unknown := (ticket.layers.keys() | ticket.params.keys()) - used:
        raise UserError(f"the ticket holds {min(unknown)!r}, which model {name!r} does not have")
    first, *_, last = [*kernels, *kernels]
    blocks = []
    for layer, kernel in kernels.items():
        normed = layer != last and norm in (("stem", "all") if layer == first else ("all",))
        scale, shift = _affine(ticket, layer, kernel.shape[-1], normed)
        pool = layer.startswith("conv") and int(layer[4:]) % 2 == 0
        blocks.append(Block(layer, kernel, scale, shift, pool, layer != last))
    _check_shapes(ticket, blocks)
    return blocks


def _kernels(ticket: Ticket) -> dict[str, np.ndarray]:
    """Returns {layer: kernel}, convolutions first, each kind by number."""
    order = in_order([*ticket.layers, *ticket.params])
    if not any(name.startswith("dense") for name in order):
        raise UserError("the ticket holds no dense layer, so the network has no output")
    found = ticket.params | {n: ticket.layers[n].dense() for n in order if n in ticket.layers}
    return {name.removesuffix("/kernel"): found[name] for name in order}


def in_order(names: Iterable[str]) -> list[str]:
    """Returns those of `names` that are kernels of a chain, in the order in which they run."""
    matches = [re.fullmatch(r"(conv|dense)([1-9]\d?)/kernel", name) for name in names]
    return [m[0] for m in sorted(filter(None, matches), key=lambda m: (m[1], int(m[2])))]


def _affine(
    ticket: Ticket, layer: str, width: int, norm: bool
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Returns (scale, shift) that a layer's bias and batch norm make together."""
    shift, scale = ticket.params.get(f"{layer}/bias"), None
    if norm:
        epsilon = ticket.model.get("norm_epsilon", 1e-5)
        if type(epsilon) is not float or not epsilon > 0:
            raise UserError(f"norm_epsilon must be a positive number, got {epsilon!r}")
        mean, var = np.zeros(width, np.float32), np.ones(width, np.float32)
        path = f"{layer}_norm/bn"
        if not ticket.model.get("norm_frozen", False):
            if not {f"{path}/mean", f"{path}/var"} <= ticket.batch_stats.keys():
                raise UserError(f"the ticket lacks the statistics of {path!r}")
            mean, var = (ticket.batch_stats[f"{path}/{name}"] for name in ("mean", "var"))
        scale = ticket.params.get(f"{path}/scale", np.float32(1)) / np.sqrt(var + epsilon)
        bias = ticket.params.get(f"{path}/bias", np.float32(0))
        shift = ((0 if shift is None else shift) - mean) * scale + bias
    for array in (scale, shift):
        if array is not None and array.shape != (width,):
            raise UserError(f"bias or batch statistics of {layer!r} must have {width} values")
    scale, shift = (a if a is None else a.astype(np.float32) for a in (scale, shift))
    return scale, shift


def _check_shapes(ticket: Ticket, blocks: list[Block]) -> None:
    height, width, channels = ticket.image_shape
    features = height * width * channels
    for block in blocks:
        if block.kernel.ndim == 4:
            if block.kernel.shape[:3] != (3, 3, channels):
                raise UserError(
                    f"the kernel of {block.name!r} is {block.kernel.shape}, and its input has "
                    f"{channels} channels: it must be (3, 3, {channels}, ...)"
                )
            channels = block.kernel.shape[3]
            if block.pool:
                height, width = height // 2, width // 2
            features = height * width * channels
        elif block.kernel.ndim != 2 or block.kernel.shape[0] != features:
            raise UserError(
                f"the kernel of {block.name!r} is {block.kernel.shape}, and its input has "
                f"{features:,} features"
            )
        else:
            features = block.kernel.shape[1]
    if features != ticket.num_outputs:
        raise UserError(
            f"the last layer has {features} outputs, and the network {ticket.num_outputs}"
        )
