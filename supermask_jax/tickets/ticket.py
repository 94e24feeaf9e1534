"""What a ticket is in memory: sparse layers, free parameters, and where they come from.

`from_run` makes one of a trained network; `to_variables` gives what ``model.apply`` takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from supermask_jax.errors import UserError
from supermask_jax.run_files import versions

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
                "the ticket stores signs and a seed, but not the weights drawn from that seed: add "
                "them with tickets.fill, or export the ticket again with its weights"
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
      num_classes: how many labels there are.
      image_shape: (H, W, C).
      preprocessing: what is done to uint8 images: a name in `data.preprocess`, and options.
      method: name of the method that found it; "" if not known.
      config: settings of the run; {} if not known.
      accuracy: data set, split, number of images, and the accuracy of this ticket on them, in [0,
        1]; {} if it was not measured.
      versions: package -> version that made it.
      weights_sha256: under `drawn`, the digest that the filled ticket must have; else "".
      license: under which others may use it, such as "Apache-2.0"; "" if nobody has said.
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
    license: str = ""

    @property
    def num_outputs(self) -> int:
        """How many logits there are: the classes first."""
        return self.model.get("outputs") or self.num_classes

    @property
    def num_weights(self) -> int:
        """How many masked weights there are, kept and hidden."""
        return sum(layer.size for layer in self.layers.values())

    @property
    def density(self) -> float:
        """Kept fraction over all masked weights, in [0, 1]; 1 without masks."""
        kept = sum(len(layer.positions) for layer in self.layers.values())
        return kept / self.num_weights if self.num_weights else 1.0

    def to_numpy(self) -> Arrays:
        """Returns {name: float32 [*shape]} of effective weights, free parameters and statistics.

        Raises:
          UserError: the weights are not in the ticket.
        """
        dense = {name: layer.dense() for name, layer in self.layers.items()}
        return dense | self.params | self.batch_stats

    def to_torch_state_dict(self, *, flattened: Mapping[str, int] | None = None) -> dict[str, Any]:
        """Returns {name: tensor} for ``load_state_dict``; see `exports.torch_weights`.

        Raises:
          UserError: the weights are not in the ticket, or PyTorch is not installed.
        """
        from supermask_jax.tickets import exports

        return exports.torch_state_dict(self, flattened)


def from_run(
    params: Any,
    masks: Any,
    batch_stats: Any = None,
    *,
    model: Mapping[str, Any],
    num_classes: int,
    image_shape: tuple[int, ...],
    preprocessing: Mapping[str, Any] | None = None,
    method: str = "",
    config: Mapping[str, Any] | None = None,
    accuracy: Mapping[str, Any] | None = None,
) -> Ticket:
    """Makes the ticket of a trained network. Needs JAX.

    Args:
      params: tree of effective parameters, as ``method.apply(trainable, frozen)`` returns it.
      masks: tree of masks, as ``method.masks`` returns it: what is not 0 is kept. Leaves of
        `params` without a mask are free parameters; without any mask the ticket is dense.
      batch_stats: tree of running statistics.
      model: as in `Ticket`; of a network that is not in this package, a ``"name"`` for readers.
      num_classes: as in `Ticket`.
      image_shape: (H, W, C).
      preprocessing: of uint8 images: ``{"name": ...}``, with lists ``"mean"`` and ``"std"`` for
        "mean_std"; None standardises each image.
      method: as in `Ticket`.
      config: as in `Ticket`.
      accuracy: ``{"data": name, "split": name, "images": count, "value": accuracy}``, measured on
        these very parameters; None if it was not.

    Raises:
      UserError: a mask has no array of its shape in `params`, or an array is no float array.

    >>> params = {"head": {"kernel": np.array([[0.5, 0.0], [0.0, -0.5]], np.float32)}}
    >>> masks = {"head": {"kernel": np.array([[1, 0], [0, -1]])}}
    >>> ticket = from_run(
    ...     params, masks, model={"name": "mine"}, num_classes=2, image_shape=(1, 2, 1)
    ... )
    >>> ticket.density, ticket.layers["head/kernel"].positions.tolist()
    (0.5, [0, 3])
    """
    arrays, marks = _arrays(params), _arrays(masks)
    layers = {}
    for name, mask in marks.items():
        if name not in arrays or arrays[name].shape != mask.shape:
            raise UserError(f"mask {name!r} of shape {mask.shape} has no array of that shape")
        layers[name] = make_layer(arrays.pop(name), mask)
    packages = versions(("flax", "jax", "numpy", "supermask-jax"))
    made_with = {name: found for name, found in packages.items() if found}
    return Ticket(
        layers,
        _floats(arrays),
        _floats(_arrays(batch_stats or {})),
        dict(model),
        num_classes,
        tuple(image_shape),
        dict(preprocessing or {"name": "standardize"}),
        method,
        dict(config or {}),
        dict(accuracy or {}),
        made_with,
    )


def make_layer(weights: np.ndarray, mask: np.ndarray) -> Layer:
    """Returns the layer of effective weights [*s] under a mask [*s]: what is not 0 is kept.

    >>> layer = make_layer(np.float32([[0.5, 0.0], [0.0, -0.5]]), np.array([[1, 0], [0, -1]]))
    >>> layer.positions.tolist(), layer.values.tolist()
    ([0, 3], [0.5, -0.5])
    """
    kept = np.asarray(mask).reshape(-1) != 0
    # A sum with 0 makes -0 of an inverted or hidden weight +0: one network has one digest.
    values = np.asarray(weights, np.float32).reshape(-1) + np.float32(0)
    pruned = values[~kept]
    positions = np.flatnonzero(kept).astype(np.int64)
    return Layer(np.shape(mask), positions, values[kept], pruned if pruned.any() else None)


def digest(ticket: Ticket) -> str:
    """Returns the SHA-256 of the effective weights, free parameters and statistics, in hexadecimal.

    Each array counts by ``NAME:SHAPE;`` and little-endian bytes: of a masked layer the positions as
    uint64, then the values as float32, then those of pruned weights; of others the values.

    >>> len(digest(tickets.load_ticket("fcn-sparse")))
    64
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
    statistics = {f"batch_stats/{name}": array for name, array in ticket.batch_stats.items()}
    for name, array in (*ticket.params.items(), *statistics.items()):
        add(name, array.shape, array.astype("<f4"))
    return sha.hexdigest()


def to_params(ticket: Ticket) -> dict[str, Any]:
    """Returns the effective parameters as nested dicts of float32 arrays.

    Raises:
      UserError: the weights are not in the ticket.

    >>> to_params(tickets.load_ticket("fcn-sparse"))["dense3"]["kernel"].shape
    (100, 10)
    """
    return nested(ticket._replace(batch_stats={}).to_numpy())


def to_variables(ticket: Ticket) -> dict[str, Any]:
    """Returns ``{"params": ...}``, and ``"batch_stats"`` where there are any.

    Raises:
      UserError: the weights are not in the ticket.

    >>> list(to_variables(tickets.load_ticket("fcn-sparse")))  # No batch statistics in this one.
    ['params']
    """
    statistics = {"batch_stats": nested(ticket.batch_stats)} if ticket.batch_stats else {}
    return {"params": to_params(ticket), **statistics}


def nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Returns {"a/b": x} as {"a": {"b": x}}.

    Raises:
      UserError: a name lies under another one.

    >>> nested({"a/b": 1, "c": 2})
    {'a': {'b': 1}, 'c': 2}
    """
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *folders, last = name.split("/")
        node: Any = tree
        for folder in folders:
            node = node.setdefault(folder, {}) if isinstance(node, dict) else None
        if not isinstance(node, dict) or last in node:
            raise UserError(f"array {name!r} is in the ticket twice, or under another array's name")
        node[last] = leaf
    return tree


def _arrays(tree: Any) -> Arrays:
    """Returns any tree as {"a/b": array}, in its order; `None` leaves are left out."""
    from supermask_jax.core.trees import array_name, named_leaves

    return {array_name(name): np.asarray(leaf) for name, leaf in named_leaves(tree).items()}


def _floats(arrays: Arrays) -> Arrays:
    for name, array in arrays.items():
        # bfloat16 is of kind V in NumPy; it and float16 are exact in float32.
        if array.dtype.kind not in "fV" or array.dtype.itemsize > 4:
            raise UserError(f"{name!r} is {array.dtype}: a ticket holds float32 parameters")
    return {name: array.astype(np.float32) for name, array in arrays.items()}
