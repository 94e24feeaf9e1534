"""Tickets in other formats: Flax, StableHLO, ONNX, and dense weights for PyTorch. Needs JAX.

Exported networks take preprocessed float32 images [B, H, W, C], or uint8 ones where asked, with any
B, and give logits [B, K].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save

from supermask_jax.errors import UserError, one_line
from supermask_jax.run_files import versions
from supermask_jax.tickets.chain import chain, preprocess
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
    """
    from supermask_jax import models

    options = {"num_classes": ticket.num_classes, "convolution": convolution}
    return models.get(**ticket.model, **options)


def forward(ticket: Ticket, *, convolution: str = "auto") -> Callable[[jax.Array], jax.Array]:
    """Returns images [B, H, W, C], uint8 or preprocessed floats, -> logits [B, K], not jitted.

    Raises:
      UserError: as `model`, or the ticket does not hold its weights.
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


def torch_weights(ticket: Ticket) -> dict[str, np.ndarray]:
    """Returns the dense effective weights, named and laid out as PyTorch's layers have them.

    ``conv1.weight`` is [out, in, 3, 3], ``dense1.weight`` [out, in]; the first dense layer takes
    the features of an image in PyTorch's order of channel, height, width. Batch norm is
    ``conv1_norm.running_mean`` and ``conv1_norm.running_var``.

    Raises:
      UserError: the ticket's model is no chain of layers, or it does not hold its weights.
    """
    found: dict[str, np.ndarray] = {}
    channels = 0
    for block in chain(ticket):
        kernel = block.kernel
        if kernel.ndim == 4:
            channels, kernel = kernel.shape[-1], kernel.transpose(3, 2, 0, 1)
        else:
            if channels:
                kernel = kernel.reshape(-1, channels, kernel.shape[-1])
                kernel, channels = kernel.transpose(1, 0, 2).reshape(block.kernel.shape), 0
            kernel = kernel.T
        found[f"{block.name}.weight"] = np.ascontiguousarray(kernel)
        if (bias := ticket.params.get(f"{block.name}/bias")) is not None:
            found[f"{block.name}.bias"] = bias
    for name, array in ticket.batch_stats.items():
        layer, _, kind = name.split("/")
        found[f"{layer}.running_{kind}"] = array
    return found


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
