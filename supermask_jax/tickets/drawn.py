"""Tickets of signs alone, whose frozen weights are drawn again from the seed of the run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from supermask_jax.errors import UserError
from supermask_jax.tickets.ticket import Ticket, digest


def without_values(ticket: Ticket, weights: Mapping[str, np.ndarray]) -> Ticket:
    """Returns the ticket with signs only, for frozen weights that can be drawn again from a seed.

    Args:
      ticket: it; a layer of one magnitude stays as it is where some of its weights are inverted,
        since it holds no more than signs.
      weights: name -> frozen weights [*shape]; an effective weight must be 1 or -1 times its own.

    Raises:
      UserError: an effective weight is not.

    >>> weights = {"w": np.array([0.5, -2.0, 1.0], np.float32)}
    >>> mask = {"w": np.array([1, 0, -1])}  # Keeps the first weight, inverts the last.
    >>> ticket = tickets.from_run(
    ...     {"w": weights["w"] * mask["w"]}, mask, model={"name": "mine"}, num_classes=2,
    ...     image_shape=(1, 1, 3),
    ... )
    >>> without_values(ticket, weights).layers["w"].values.tolist()
    [1.0, -1.0]
    """
    layers = dict(ticket.layers)
    for name, layer in ticket.layers.items():
        drawn = np.asarray(weights[name], np.float32).reshape(-1)[layer.positions]
        if len(np.unique(np.abs(layer.values))) <= 1 and (layer.values != drawn).any():
            continue
        signs = np.where(layer.values == drawn, 1, -1).astype(np.float32)
        if layer.pruned is not None or (drawn * signs != layer.values).any():
            raise UserError(
                f"the effective weights of {name!r} are not 1 or -1 times those drawn from the "
                "seed: export the ticket with its values"
            )
        layers[name] = layer._replace(values=signs, drawn=True)
    return ticket._replace(layers=layers, weights_sha256=digest(ticket))


def fill(ticket: Ticket, weights: Mapping[str, np.ndarray]) -> Ticket:
    """Returns a ticket that holds its weights, from one that holds signs and a seed.

    Args:
      ticket: saved with ``values="seed"``.
      weights: name -> frozen weights [*shape], drawn again from the seed in its config.

    Raises:
      UserError: a layer is missing or of another shape, or these are not the weights of the run, as
        when another version of JAX draws others.

    >>> weights = {"w": np.array([0.5, -2.0, 1.0], np.float32)}
    >>> layer = tickets.Layer((3,), np.array([0, 2]), np.float32([1, -1]), drawn=True)
    >>> ticket = tickets.Ticket({"w": layer}, {}, {}, {"name": "mine"}, 2, (1, 1, 3))
    >>> fill(ticket, weights).layers["w"].values.tolist()
    [0.5, -1.0]
    """
    layers = dict(ticket.layers)
    for name, layer in ticket.layers.items():
        if not layer.drawn:
            continue
        if name not in weights or np.shape(weights[name]) != layer.shape:
            raise UserError(f"the weights lack layer {name!r} of shape {layer.shape}")
        drawn = np.asarray(weights[name], np.float32).reshape(-1)[layer.positions]
        layers[name] = layer._replace(values=drawn * layer.values + 0.0, drawn=False)
    filled = ticket._replace(layers=layers, weights_sha256="")
    if ticket.weights_sha256 and digest(filled) != ticket.weights_sha256:
        raise UserError(
            "these are not the weights of the ticket's run: another version of JAX may draw others "
            f"from one seed; the ticket was made with {dict(ticket.versions) or 'unknown ones'}"
        )
    return filled
