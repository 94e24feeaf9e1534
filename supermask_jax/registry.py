"""Looks a name up in a dict of factories and calls the factory with keyword options."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from supermask_jax.errors import UserError, unknown_name

T = TypeVar("T")


def make(kind: str, registry: Mapping[str, Callable[..., T]], name: str, /, **options: Any) -> T:
    """Returns `registry[name](**options)`; every misspelt name or option is one clear line.

    Args:
      kind: what the registry holds, for messages ("method", "optimizer").
      registry: name -> factory.
      name: the entry wanted.
      **options: keyword arguments of the factory.

    Raises:
      UserError: the name is unknown, an option is unknown, missing or refused by the factory.
    """
    if name not in registry:
        raise unknown_name(kind, name, registry)
    factory = registry[name]
    parameters = inspect.signature(factory).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for option in options:
            if option not in parameters:
                near = difflib.get_close_matches(option, parameters, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                known = ", ".join(parameters) or "none"
                raise UserError(
                    f"{kind} {name!r} has no option {option!r}: {hint}its options: {known}"
                )
    try:
        return factory(**options)
    except UserError:  # Of what the factory itself made.
        raise
    except (TypeError, ValueError) as error:
        raise UserError(f"{kind} {name!r}: {error}") from error
