"""The Flax side of a ticket: the model, with the ticket's arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from supermask_jax import models
from supermask_jax.tickets.layers import preprocess
from supermask_jax.tickets.ticket import Ticket, to_variables


def model(ticket: Ticket, *, convolution: str = "auto") -> Any:
    """Returns the Flax module of a ticket.

    Args:
      ticket: of a network that this package has.
      convolution: a name in `models.CONVOLUTIONS`; "auto" suits the machine that traces it.

    Raises:
      UserError: this version has no such model, or not with these options.
    """
    options = {"num_classes": ticket.num_classes, "convolution": convolution}
    return models.get(**ticket.model, **options)


def forward(ticket: Ticket, *, convolution: str = "auto") -> Callable[[jax.Array], jax.Array]:
    """Returns images [B, H, W, C] -> logits [B, K], not jitted; images as for `tickets.predict`.

    Raises:
      UserError: as `model`, or the ticket does not hold its weights.
    """
    module, variables = model(ticket, convolution=convolution), to_variables(ticket)

    def call(images: jax.Array) -> jax.Array:
        return module.apply(variables, preprocess(ticket, images, jax.numpy))

    return call
