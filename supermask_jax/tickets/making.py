"""Making tickets of parameters: what a run calls when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from supermask_jax.errors import UserError
from supermask_jax.tickets.ticket import Arrays, Layer, Ticket, digest
from supermask_jax.versions import versions

_PACKAGES = ("flax", "jax", "numpy", "supermask-jax")


def from_run(
    params: Mapping[str, Any],
    masks: Mapping[str, Any],
    batch_stats: Mapping[str, Any] | None = None,
    *,
    model: Mapping[str, Any],
    num_classes: int,
    image_shape: tuple[int, ...],
    preprocessing: Mapping[str, Any] | None = None,
    method: str = "",
    config: Mapping[str, Any] | None = None,
    accuracy: Mapping[str, Any] | None = None,
) -> Ticket:
    """Makes the ticket of a trained network.

    Args:
      params: nested effective parameters, as ``method.apply(trainable, frozen)`` returns them.
      masks: nested masks, as ``method.masks`` returns them: what is not 0 is kept. Leaves of
        `params` without a mask are free parameters; without any mask the ticket is dense.
      batch_stats: nested running statistics.
      model: name and options of the model, as `supermask_jax.models.get` takes them.
      num_classes: width of the logits.
      image_shape: (H, W, C).
      preprocessing: what the network expects to be done to uint8 images: ``{"name": ...}``, with
        ``"mean"`` and ``"std"`` lists for "mean_std"; None standardises each image.
      method: name of the method.
      config: settings of the run, plain JSON.
      accuracy: ``{"data": name, "split": name, "images": count, "value": accuracy}``, measured on
        these very parameters; None if it was not.

    Raises:
      UserError: a mask has no array of its shape in `params`, or an array is no float array.
    """
    arrays, marks = flat(params), flat(masks)
    layers = {}
    for name, mask in marks.items():
        if name not in arrays or arrays[name].shape != mask.shape:
            raise UserError(f"there is no array of shape {mask.shape} for the mask {name!r}")
        layers[name] = make_layer(arrays.pop(name), mask)
    return Ticket(
        layers=layers,
        params=_floats(arrays),
        batch_stats=_floats(flat(batch_stats or {})),
        model=dict(model),
        num_classes=num_classes,
        image_shape=tuple(image_shape),
        preprocessing=dict(preprocessing or {"name": "standardize"}),
        method=method,
        config=dict(config or {}),
        accuracy=dict(accuracy or {}),
        versions={name: found for name, found in versions(_PACKAGES).items() if found},
    )


def make_layer(weights: np.ndarray, mask: np.ndarray) -> Layer:
    """Returns the layer of effective weights [*s] under a mask [*s]: what is not 0 is kept."""
    kept = np.asarray(mask).reshape(-1) != 0
    # A sum with 0 makes -0 of an inverted or hidden weight +0: one network has one digest.
    values = np.asarray(weights, np.float32).reshape(-1) + np.float32(0)
    pruned = values[~kept]
    return Layer(
        tuple(np.shape(mask)),
        np.flatnonzero(kept).astype(np.int64),
        values[kept],
        pruned if pruned.any() else None,
    )


def without_values(ticket: Ticket, weights: Mapping[str, np.ndarray]) -> Ticket:
    """Returns the ticket with signs only, for frozen weights that can be drawn again from a seed.

    Args:
      ticket: it; layers of one magnitude stay as they are, since they hold no more than signs.
      weights: name -> frozen weights [*shape]; an effective weight must be 1 or -1 times its own.

    Raises:
      UserError: an effective weight is not.
    """
    layers = {}
    for name, layer in ticket.layers.items():
        if len(np.unique(np.abs(layer.values))) > 1:
            drawn = np.asarray(weights[name], np.float32).reshape(-1)[layer.positions]
            signs = np.where(layer.values == drawn, 1, -1).astype(np.float32)
            if layer.pruned is not None or (drawn * signs != layer.values).any():
                raise UserError(
                    f"the weights of {name!r} are not those drawn from the seed, kept or inverted: "
                    "store their values"
                )
            layer = layer._replace(values=signs, drawn=True)
        layers[name] = layer
    return ticket._replace(layers=layers, weights_sha256=digest(ticket))


def flat(tree: Mapping[str, Any], prefix: str = "") -> Arrays:
    """Returns nested dicts as {"a/b": array}, in their order; `None` leaves are left out."""
    found: Arrays = {}
    for name, node in tree.items():
        if isinstance(node, Mapping):
            found |= flat(node, f"{prefix}{name}/")
        elif node is not None:
            found[prefix + name] = np.asarray(node)
    return found


def _floats(arrays: Arrays) -> Arrays:
    for name, array in arrays.items():
        # bfloat16 is of kind V in NumPy; it and float16 are exact in float32.
        if array.dtype.kind not in "fV" or array.dtype.itemsize > 4:
            raise UserError(f"{name!r} is {array.dtype}: a ticket holds float32 parameters")
    return {name: array.astype(np.float32) for name, array in arrays.items()}
