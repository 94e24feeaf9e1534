"""Methods: which leaves train, which are frozen, and how both make the parameters of the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from supermask_jax.methods.base import Method as Method
from supermask_jax.methods.base import supermask as supermask
from supermask_jax.methods.dense import dense as dense
from supermask_jax.methods.signed import signed as signed
from supermask_jax.registry import make

METHODS: dict[str, Callable[..., Method]] = {
    "dense": dense,
    "signed": signed,
}


def get(name: str, **options: Any) -> Method:
    """Returns a method by name.

    Raises:
      UserError: the name or an option is unknown.
    """
    return make("method", METHODS, name, **options)
