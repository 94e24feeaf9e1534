"""Tickets in other formats: Flax, StableHLO, ONNX, and dense weights for PyTorch. Needs JAX.

Exported networks take preprocessed float32 images [B, H, W, C], or uint8 ones where asked, with any
B, and give logits [B, K].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save

from supermask_jax.errors import UserError, one_line
from supermask_jax.run_files import versions
from supermask_jax.tickets.chain import CHAINS, chain, preprocess
from supermask_jax.tickets.ticket import Ticket, to_variables

if TYPE_CHECKING:
    import jax

PLATFORMS = ("cpu", "cuda", "tpu")
_BATCH = 500
KINDS = ("stablehlo", "onnx", "safetensors")


def model(ticket: Ticket, *, convolution: str = "auto") -> Any:
    """Returns the Flax module of a ticket.

    Args:
      ticket: of a network that this package has.
      convolution: a name in `models.CONVOLUTIONS`; "auto" suits the machine that traces it.

    Raises:
      UserError: this version has no such model, or not with these options.

    >>> type(model(tickets.load_ticket("fcn-sparse"))).__name__
    'FCN'
    """
    from supermask_jax import models

    options = {"num_classes": ticket.num_classes, "convolution": convolution}
    return models.get(**ticket.model, **options)


def forward(ticket: Ticket, *, convolution: str = "auto") -> Callable[[jax.Array], jax.Array]:
    """Returns images [B, H, W, C], uint8 or preprocessed floats, -> logits [B, K], not jitted.

    Raises:
      UserError: as `model`, or the ticket does not hold its weights.

    >>> ticket = tickets.load_ticket("fcn-sparse")
    >>> logits = jax.jit(forward(ticket))(jnp.zeros((2, *ticket.image_shape), jnp.uint8))
    >>> logits.shape
    (2, 10)
    """
    import jax.numpy as jnp

    module, variables = model(ticket, convolution=convolution), to_variables(ticket)

    def call(images: jax.Array) -> jax.Array:
        return module.apply(variables, preprocess(ticket, images, jnp))

    return call


def measurer(ticket: Ticket) -> Callable[[Ticket, np.ndarray, np.ndarray], float]:
    """Builds (ticket, uint8 images [N, H, W, C], labels [N]) -> accuracy in [0, 1], by JAX.

    It is compiled once for all tickets that differ from this one in their weights alone.

    Raises:
      UserError: as `model`.

    >>> ticket = tickets.load_ticket("fcn-sparse")
    >>> images, labels = np.zeros((2, *ticket.image_shape), np.uint8), np.array([0, 1])
    >>> measurer(ticket)(ticket, images, labels) in (0.0, 0.5)  # Both are given the same class.
    True
    """
    import jax
    import jax.numpy as jnp

    module = model(ticket)

    @jax.jit
    def right(variables: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
        logits = module.apply(variables, preprocess(ticket, images, jnp))
        return jnp.sum(jnp.argmax(logits, -1) == labels)

    def measure(ticket: Ticket, images: np.ndarray, labels: np.ndarray) -> float:
        variables, parts = to_variables(ticket), range(0, len(labels), _BATCH)
        batches = ((images[i : i + _BATCH], labels[i : i + _BATCH]) for i in parts)
        return sum(int(right(variables, *batch)) for batch in batches) / len(labels)

    return measure


def stablehlo(ticket: Ticket, *, platforms: tuple[str, ...] = PLATFORMS) -> bytes:
    """Returns a network for `jax.export.deserialize`, which takes uint8 images [B, H, W, C].

    It holds its weights and its preprocessing. StableHLO promises to be readable for six months:
    archive the ticket.

    Args:
      ticket: it.
      platforms: that it shall run on.

    Raises:
      UserError: this version has no such model, or the ticket does not hold its weights.
    """
    # What jax.export writes with; its own error would not name the module.
    import flatbuffers  # noqa: F401
    import jax
    from jax import export

    # XLA's own: the file is for other machines than this one.
    call = jax.jit(forward(ticket, convolution="xla"))
    shape = export.symbolic_shape(", ".join(["b", *map(str, ticket.image_shape)]))
    images = jax.ShapeDtypeStruct(shape, np.uint8)
    return bytes(export.export(call, platforms=platforms)(images).serialize())


def onnx(ticket: Ticket) -> Any:
    """Returns an ONNX model that takes preprocessed float32 images [B, H, W, C].

    Raises:
      UserError: jax2onnx is not installed or cannot export from this JAX, or as `stablehlo`.
    """
    call = forward(ticket, convolution="xla")
    try:
        from jax2onnx import to_onnx

        return to_onnx(call, [("B", *ticket.image_shape)], model_name="ticket")
    except Exception as error:  # It reaches into JAX: what breaks with another version is any.
        found = versions(("jax2onnx", "jax"))
        found = " and ".join(f"{name} {version or '(absent)'}" for name, version in found.items())
        raise UserError(
            f"ONNX cannot be written with {found} ({one_line(error, 80)}): pip install "
            "supermask-jax[onnx], whose versions go together"
        ) from error


def to_tree(ticket: Ticket, like: Any) -> Any:
    """Returns the parameters, or statistics, of a ticket as a tree of the structure of another one.

    Args:
      ticket: of any model.
      like: tree of arrays or of `jax.ShapeDtypeStruct`, such as the one that the model's `init`
        returns, `nnx.split`'s or `equinox.partition`'s.

    Raises:
      UserError: the ticket has no array of a leaf's name and shape, or does not hold its weights.

    >>> ticket = tickets.load_ticket("fcn-sparse")
    >>> like = {"dense3": {"kernel": jax.ShapeDtypeStruct((100, 10), jnp.bfloat16)}}
    >>> to_tree(ticket, like)["dense3"]["kernel"].dtype
    dtype(bfloat16)
    """
    import jax
    import jax.numpy as jnp

    from supermask_jax.core.trees import array_name, path_name

    arrays = ticket.to_numpy()

    def leaf(path: tuple[Any, ...], old: Any) -> jax.Array:
        name = array_name(path_name(path))
        if name not in arrays or arrays[name].shape != old.shape:
            raise UserError(f"the ticket has no array {name!r} of shape {old.shape}")
        return jnp.asarray(arrays[name], old.dtype)

    return jax.tree.map_with_path(leaf, like)


# What PyTorch calls the leaves of Flax and Haiku.
_IN_TORCH = {
    "kernel": "weight",
    "w": "weight",
    "scale": "weight",
    "embedding": "weight",
    "b": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def torch_weights(
    ticket: Ticket, flattened: Mapping[str, int] | None = None
) -> dict[str, np.ndarray]:
    """Returns the dense effective weights, named and laid out as PyTorch's layers have them.

    Leaves ``kernel`` and ``w`` become the ``weight`` of a linear layer, [out, in], or of a
    convolution, [out, in, *window]; ``scale``, ``mean`` and ``var`` those of norms. Arrays of any
    other name stay as they are, and so do their names, with dots for slashes.

    Args:
      ticket: of any model.
      flattened: name -> channels, of dense kernels that take a flattened image of so many channels:
        Flax flattens [height, width, channel], PyTorch [channel, height, width]. The networks of
        `chain.CHAINS` need none.

    Raises:
      UserError: the ticket does not hold its weights, or `flattened` does not fit it.

    >>> {n: w.shape for n, w in torch_weights(tickets.load_ticket("fcn-sparse")).items()}
    {'dense1.weight': (300, 784), 'dense2.weight': (100, 300), 'dense3.weight': (10, 100)}
    """
    flattened = dict(flattened or {})
    if ticket.model.get("name") in CHAINS:
        blocks = chain(ticket)
        for block, following in pairwise(blocks):
            if (block.kernel.ndim, following.kernel.ndim) == (4, 2):
                flattened[f"{following.name}/kernel"] = block.kernel.shape[-1]
    found = {}
    for name, array in ticket.to_numpy().items():
        *layer, leaf = name.replace("_norm/bn/", "_norm/").split("/")
        if (channels := flattened.pop(name, 0)) and (array.ndim != 2 or len(array) % channels):
            raise UserError(
                f"{name!r} of shape {array.shape} takes no image of {channels} channels"
            )
        if channels:
            array = array.reshape(-1, channels, array.shape[1]).swapaxes(0, 1).reshape(array.shape)
        if leaf in ("kernel", "w") and array.ndim > 1:
            array = np.moveaxis(array, (-1, -2), (0, 1))
        found[".".join([*layer, _IN_TORCH.get(leaf, leaf)])] = np.ascontiguousarray(array)
    if flattened:
        raise UserError(f"the ticket has no array {min(flattened)!r}")
    return found


def torch_state_dict(ticket: Ticket, flattened: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Returns `torch_weights` as tensors.

    Raises:
      UserError: as `torch_weights`, or PyTorch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise UserError("pip install torch to make tensors of a ticket") from error
    return {name: torch.from_numpy(w) for name, w in torch_weights(ticket, flattened).items()}


def to_bytes(ticket: Ticket, kind: str) -> bytes:
    """Returns the file of a ticket in one of the formats `KINDS`.

    Raises:
      UserError: as `stablehlo`, `onnx` and `torch_weights`, whose results it holds.
    """
    if kind == "stablehlo":
        return stablehlo(ticket)
    if kind == "onnx":
        return onnx(ticket).SerializeToString()
    return save(torch_weights(ticket), metadata={"format": "pt"})
