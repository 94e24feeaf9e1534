"""Looks a name up in a dict of factories and calls the factory with keyword options."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from supermask_jax.errors import UserError, one_line, unknown_name

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
    if not isinstance(name, str) or name not in registry:
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
    for option, value in options.items():
        wanted = getattr(parameters.get(option), "annotation", None)
        if not _fits(value, getattr(wanted, "__name__", wanted)):
            raise UserError(
                f"option {option!r} of {kind} {name!r} must be of type {wanted}, got "
                f"{one_line(repr(value), 60)}"
            )
    try:
        return factory(**options)
    except UserError:  # Of what the factory itself made.
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{kind} {name!r}: {error}") from error


# Annotation -> what is no value of it. What is an array there, or a number of NumPy's, passes.
_NO_NUMBER = (str, bytes, bool, list, tuple, type(None))
_REFUSED = {"float": _NO_NUMBER, "int": (*_NO_NUMBER, float)}


def _fits(value: Any, annotation: Any) -> bool:
    """Says whether a value may be one of a plain annotation; any may be of another."""
    if annotation in ("bool", "str"):
        return isinstance(value, {"bool": bool, "str": str}[annotation])
    entries = annotation in _REFUSED and hasattr(value, "items")  # Also a ConfigDict's.
    return not (entries or isinstance(value, _REFUSED.get(annotation, ())))
