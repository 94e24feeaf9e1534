"""Does the mask of a ticket mean something? What is left of it when chance replaces a part.

A mask over frozen weights is here an array of factors: 0 hides a weight, 1 keeps it, -1 inverts it,
and a method that scales the kept weights has other numbers. Each check makes other factors of them,
layer by layer; an accuracy that they keep is none of the mask's.

Reference: Sreenivasan et al., "Rare Gems", NeurIPS 2022; Frankle et al., "Pruning Neural Networks
at Initialization", ICLR 2021, https://arxiv.org/abs/2009.08576.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from supermask_jax.errors import UserError
from supermask_jax.tickets.drawn import fill
from supermask_jax.tickets.ticket import Arrays, Layer, Ticket, make_layer

# A method multiplies kept weights of a layer by one number, or by the count of their coats.
_MOST_FACTORS = 16


def factors(ticket: Ticket, weights: Mapping[str, np.ndarray]) -> Arrays:
    """Returns what a ticket multiplies frozen weights by: name -> float32 [*shape].

    Where the kept weights of a layer have one magnitude, it is that of all its weights: `combined`
    takes the signs of the frozen ones.

    Args:
      ticket: of a method that trains no weights.
      weights: name -> frozen weights [*shape], such as drawn again from the seed of the run.

    Raises:
      UserError: these are not the weights that the ticket masks.

    >>> ticket = tickets.load_ticket("fcn-sparse")
    >>> weights = {name: np.ones(layer.shape) for name, layer in ticket.layers.items()}
    >>> np.unique(factors(ticket, weights)["dense3/kernel"]).tolist()
    [-1.0, 0.0, 1.0]
    """
    filled = fill(ticket, weights)
    found = {}
    for name, layer in filled.layers.items():
        if name not in weights or np.shape(weights[name]) != layer.shape:
            raise UserError(f"there are no weights of shape {layer.shape} for {name!r}")
        base = _base(layer, weights[name]).reshape(-1)[layer.positions]
        kept = layer.values / np.where(base == 0, np.nan, base)
        different = np.unique(np.round(np.abs(kept), 4))
        if layer.pruned is not None or len(different) > _MOST_FACTORS or np.isnan(kept).any():
            raise UserError(
                f"the weights of {name!r} are no multiples of those drawn from the seed: they were "
                "trained, or this version of JAX draws others"
            )
        flat = np.zeros(layer.size, np.float32)
        flat[layer.positions] = kept
        found[name] = flat.reshape(layer.shape)
    return found


def combined(
    ticket: Ticket, weights: Mapping[str, np.ndarray], factors: Mapping[str, np.ndarray]
) -> Ticket:
    """Returns the ticket of other weights or other factors; free parameters stay as they are.

    Args:
      ticket: it.
      weights: name -> frozen weights [*shape].
      factors: name -> float [*shape], as `factors` and the checks return them.

    >>> ticket = tickets.load_ticket("fcn-sparse")
    >>> weights = {name: np.ones(layer.shape) for name, layer in ticket.layers.items()}
    >>> same = combined(ticket, weights, factors(ticket, weights))
    >>> tickets.digest(same) == tickets.digest(ticket)
    True
    """
    layers = {
        name: make_layer(_base(layer, weights[name]) * factors[name], factors[name])
        for name, layer in ticket.layers.items()
    }
    return ticket._replace(layers=layers, accuracy={}, weights_sha256="")


def _base(layer: Layer, weights: np.ndarray) -> np.ndarray:
    """Returns what factors multiply: the weights, or their signs times the one magnitude kept."""
    magnitudes = np.abs(layer.values)
    weights = np.asarray(weights, np.float32)
    if not layer.drawn and len(magnitudes) and np.ptp(magnitudes) <= 1e-6 * magnitudes.max():
        return np.sign(weights) * magnitudes[0]
    return weights


def shuffled(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Puts the entries of a layer's mask elsewhere in it: each keeps its count.

    >>> mask = np.array([[1, 0, 0], [-1, 0, 0]])
    >>> sorted(shuffled(mask, np.random.default_rng(0)).reshape(-1).tolist())
    [-1, 0, 0, 0, 0, 1]
    """
    return rng.permutation(mask.reshape(-1)).reshape(mask.shape)


def signs_shuffled(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Keeps the places of a layer's mask, and deals its kept and inverted entries anew.

    >>> mask = np.array([1, 0, -1, -1])
    >>> np.abs(signs_shuffled(mask, np.random.default_rng(0))).tolist()
    [1, 0, 1, 1]
    """
    found = mask.copy()
    found[mask != 0] = rng.permutation(mask[mask != 0])
    return found


def inverted(mask: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """Keeps what a layer's mask hides, and hides the rest: where one is 0, the other is not.

    >>> inverted(np.array([1, 0, -1])).tolist()
    [0.0, 1.0, 0.0]
    """
    del rng
    kept = np.abs(mask[mask != 0])
    usual = np.median(kept) if len(kept) else 1
    return np.where(mask == 0, np.float32(usual), np.float32(0))


def random_mask(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws a mask of a layer's density: each entry is kept or not, as one of those kept.

    >>> random_mask(np.ones((2, 3)), np.random.default_rng(0)).tolist()  # Density 1 keeps all.
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    kept = mask[mask != 0]
    if not len(kept):
        return np.zeros_like(mask)
    drawn = rng.choice(kept, mask.shape)
    return np.where(rng.random(mask.shape) < len(kept) / mask.size, drawn, np.zeros((), mask.dtype))


CHECKS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "shuffled": shuffled,
    "signs shuffled": signs_shuffled,
    "inverted": inverted,
    "random": random_mask,
}
"""Check -> (a layer's mask [*s], random numbers) -> another mask [*s]; over the same weights."""


def checked(
    name: str,
    ticket: Ticket,
    weights: Mapping[str, np.ndarray],
    masks: Mapping[str, np.ndarray],
    seed: int,
) -> Ticket:
    """Returns a ticket whose masks a check has replaced.

    Args:
      name: in `CHECKS`.
      ticket: it.
      weights: name -> frozen weights [*shape].
      masks: name -> factors [*shape], of `factors`.
      seed: of the random numbers.

    >>> ticket = tickets.load_ticket("fcn-sparse")
    >>> weights = {name: np.ones(layer.shape) for name, layer in ticket.layers.items()}
    >>> other = checked("shuffled", ticket, weights, factors(ticket, weights), seed=0)
    >>> other.density == ticket.density, tickets.digest(other) == tickets.digest(ticket)
    (True, False)
    """
    rng = np.random.default_rng(seed)
    return combined(ticket, weights, {layer: CHECKS[name](m, rng) for layer, m in masks.items()})
