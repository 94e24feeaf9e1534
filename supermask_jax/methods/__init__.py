"""Methods: which leaves train, which are frozen, and how both make the parameters of the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from supermask_jax.methods.base import Method as Method
from supermask_jax.methods.base import supermask as supermask
from supermask_jax.methods.bernoulli import bernoulli as bernoulli
from supermask_jax.methods.biprop import biprop as biprop
from supermask_jax.methods.dense import dense as dense
from supermask_jax.methods.edge_popup import edge_popup as edge_popup
from supermask_jax.methods.multicoat import multicoat as multicoat
from supermask_jax.methods.signed import signed as signed
from supermask_jax.methods.signed_topk import signed_topk as signed_topk
from supermask_jax.registry import make

METHODS: dict[str, Callable[..., Method]] = {
    "bernoulli": bernoulli,
    "biprop": biprop,
    "dense": dense,
    "edge_popup": edge_popup,
    "multicoat": multicoat,
    "signed": signed,
    "signed_topk": signed_topk,
}


def get(name: str, **options: Any) -> Method:
    """Returns a method by name.

    Raises:
      UserError: the name or an option is unknown.
    """
    return make("method", METHODS, name, **options)
