"""What a ticket is in memory: sparse layers, free parameters, and where they come from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from supermask_jax.errors import UserError

Arrays = dict[str, np.ndarray]


class Layer(NamedTuple):
    """A masked array of n weights of which k are kept.

    Attributes:
      shape: of the array.
      positions: int64 [k], places of the kept weights in C order, rising.
      values: float32 [k], the effective weights there; under `drawn`, their signs 1 or -1.
      pruned: float32 [n - k], what the other weights are frozen at; None is zero.
      drawn: the magnitudes are not here but drawn from the run's seed: see `fill`.
    """

    shape: tuple[int, ...]
    positions: np.ndarray
    values: np.ndarray
    pruned: np.ndarray | None = None
    drawn: bool = False

    @property
    def size(self) -> int:
        """n."""
        return int(np.prod(self.shape, dtype=object))

    @property
    def density(self) -> float:
        """Kept fraction, in [0, 1]."""
        return len(self.positions) / max(self.size, 1)

    def mask(self) -> np.ndarray:
        """Returns bool [*shape]: True where a weight is kept."""
        mask = np.zeros(self.size, bool)
        mask[self.positions] = True
        return mask.reshape(self.shape)

    def dense(self) -> np.ndarray:
        """Returns the effective weights, float32 [*shape].

        Raises:
          UserError: they are not in the ticket.
        """
        if self.drawn:
            raise UserError(
                "the ticket holds signs and a seed, but not the weights drawn from it: fill it "
                "with tickets.fill, or export it with the weights"
            )
        weights = np.zeros(self.size, np.float32)
        if self.pruned is not None:
            weights[~self.mask().reshape(-1)] = self.pruned
        weights[self.positions] = self.values
        return weights.reshape(self.shape)


class Ticket(NamedTuple):
    """A found network. Names are slash-separated paths in the model's parameters.

    Attributes:
      layers: name -> masked array.
      params: name -> free parameters, float32.
      batch_stats: name -> running statistics, float32.
      model: the model's name and options, as `supermask_jax.models.get` takes them.
      num_classes: width of the logits.
      image_shape: (H, W, C).
      preprocessing: what is done to uint8 images: a name in `layers.PREPROCESSING`, and options.
      method: name of the method that found it; "" if not known.
      config: settings of the run; {} if not known.
      accuracy: data set, split, number of images, and the accuracy of this ticket on them, in [0,
        1]; {} if it was not measured.
      versions: package -> version that made it.
      weights_sha256: under `drawn`, the digest that the filled ticket must have; else "".
    """

    layers: Mapping[str, Layer]
    params: Arrays
    batch_stats: Arrays
    model: Mapping[str, Any]
    num_classes: int
    image_shape: tuple[int, ...]
    preprocessing: Mapping[str, Any] = {"name": "standardize"}
    method: str = ""
    config: Mapping[str, Any] = {}
    accuracy: Mapping[str, Any] = {}
    versions: Mapping[str, str] = {}
    weights_sha256: str = ""

    @property
    def density(self) -> float:
        """Kept fraction over all masked weights, in [0, 1]; 1 without masks."""
        total = sum(layer.size for layer in self.layers.values())
        kept = sum(len(layer.positions) for layer in self.layers.values())
        return kept / total if total else 1.0


def digest(ticket: Ticket) -> str:
    """Returns the SHA-256 of the effective weights, free parameters and statistics, in hexadecimal.

    Each array counts by ``NAME:SHAPE;`` and little-endian bytes: of a masked layer the positions as
    uint64, then the values as float32, then those of pruned weights; of others the values.
    """
    sha = hashlib.sha256()

    def add(name: str, shape: tuple[int, ...], *arrays: np.ndarray) -> None:
        sha.update(f"{name}:{'x'.join(map(str, shape))};".encode())
        for array in arrays:
            sha.update(np.ascontiguousarray(array).data)

    for name, layer in ticket.layers.items():
        pruned = () if layer.pruned is None else (layer.pruned.astype("<f4"),)
        values = layer.values.astype("<f4")
        add(name, layer.shape, layer.positions.astype("<u8"), values, *pruned)
    for name, array in _free(ticket):
        add(name, array.shape, array.astype("<f4"))
    return sha.hexdigest()


def _free(ticket: Ticket) -> Iterator[tuple[str, np.ndarray]]:
    yield from ticket.params.items()
    for name, array in ticket.batch_stats.items():
        yield f"batch_stats/{name}", array


def fill(ticket: Ticket, weights: Mapping[str, np.ndarray]) -> Ticket:
    """Returns a ticket that holds its weights, from one that holds signs and a seed.

    Args:
      ticket: saved with ``values="seed"``.
      weights: name -> frozen weights [*shape], drawn again from the seed in its config.

    Raises:
      UserError: a layer is missing or of another shape, or these are not the weights of the run, as
        when another version of JAX draws others.
    """
    layers = {}
    for name, layer in ticket.layers.items():
        if not layer.drawn:
            layers[name] = layer
            continue
        if name not in weights or np.shape(weights[name]) != layer.shape:
            raise UserError(f"there are no weights of shape {layer.shape} for {name!r}")
        drawn = np.asarray(weights[name], np.float32).reshape(-1)[layer.positions]
        layers[name] = layer._replace(values=drawn * layer.values + 0.0, drawn=False)
    filled = ticket._replace(layers=layers, weights_sha256="")
    if ticket.weights_sha256 and digest(filled) != ticket.weights_sha256:
        raise UserError(
            "the weights drawn are not those of the ticket: jax.random may draw others in another "
            f"version of JAX; the ticket was made with {dict(ticket.versions) or 'one not known'}"
        )
    return filled


def to_params(ticket: Ticket) -> dict[str, Any]:
    """Returns the effective parameters as nested dicts of float32 arrays, for ``model.apply``.

    Raises:
      UserError: the weights are not in the ticket.
    """
    dense = {name: layer.dense() for name, layer in ticket.layers.items()}
    return nested(dense | ticket.params)


def to_variables(ticket: Ticket) -> dict[str, Any]:
    """Returns ``{"params": ...}``, and ``"batch_stats"`` where there are any.

    Raises:
      UserError: the weights are not in the ticket.
    """
    variables = {"params": to_params(ticket)}
    if ticket.batch_stats:
        variables["batch_stats"] = nested(ticket.batch_stats)
    return variables


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns {"a/b": x} as {"a": {"b": x}}.

    Raises:
      UserError: a name lies under another one.
    """
    tree: dict[str, Any] = {}
    for name, leaf in flat.items():
        *folders, last = name.split("/")
        node: Any = tree
        for folder in folders:
            node = node.setdefault(folder, {})
            if not isinstance(node, dict):
                raise UserError(f"{name!r} lies under another array of the ticket")
        if last in node:
            raise UserError(f"{name!r} names two things in the ticket")
        node[last] = leaf
    return tree
