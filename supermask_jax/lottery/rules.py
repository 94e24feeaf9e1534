"""What criteria and actions have in common: a name, what they need, and the checks of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from supermask_jax.errors import UserError, unknown_name

# Parameter of a rule's function -> what it is, and how to give it.
_ARRAYS = {
    "final": ("trained weights", "but there are none yet: train first"),
    "gradient": ("loss gradients", "but there are none: pass gradient=, at the initial weights"),
    "fresh": ("fresh values", "a new draw of the layer's initialiser: pass fresh="),
}


class Rule:
    """A named function of the arrays of one layer.

    Attributes:
      name: its key in the table.
      function: its parameters are named after what it needs.
      needs: the names of these parameters.
    """

    kind = "rule"  # for messages
    table: Mapping[str, Rule] = {}  # of rules of its kind

    def __init__(self, name: str, function: Callable[..., np.ndarray]) -> None:
        self.name, self.function = name, function
        self.needs = tuple(inspect.signature(function).parameters)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name!r}>"

    def missing(self, need: str) -> UserError:
        """Returns the error for an array that is needed and not given."""
        what, do = _ARRAYS[need]
        others = ", ".join(name for name, rule in self.table.items() if need not in rule.needs)
        hint = f", or choose one of {others}" if others else ""
        return UserError(f"{self.kind} {self.name!r} needs {what}, {do}{hint}")

    def call(self, initial: np.ndarray, **given: Any) -> np.ndarray:
        """Calls the function with what it needs of `given`, as arrays like `initial`."""
        for need in self.needs:
            if need == "rng":
                check_rng(given[need], f"{self.kind} {self.name!r}")
            elif need in _ARRAYS:
                if given[need] is None:
                    raise self.missing(need)
                given[need] = as_like(initial, given[need], _ARRAYS[need][0])
        given["initial"] = initial
        return self.function(**{need: given[need] for need in self.needs})


class Rules(dict[str, Any]):
    """Rules of one class by name. An unknown name is a UserError, which tells the nearest one."""

    def __init__(self, rule: type[Rule], **functions: Callable[..., np.ndarray]) -> None:
        self.kind = rule.kind
        for name, function in functions.items():
            self[name] = rule(name, function)
            self[name].table = self

    def __missing__(self, name: str) -> Any:
        raise unknown_name(self.kind, name, self)


def as_mask(mask: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    """Returns `mask` as int8 {0, 1}; a UserError if it has other values or another shape.

    >>> as_mask([1.0, 0.0], (2,))
    array([1, 0], dtype=int8)
    """
    mask = np.asarray(mask)
    if mask.shape != shape:
        raise UserError(f"a mask has shape {mask.shape}, but its weights have {shape}")
    wrong = mask[mask != (mask != 0)]
    if wrong.size:
        raise UserError(f"a mask of pruning holds only 0 and 1, but this one holds {wrong[0]}")
    return mask.astype(np.int8)


def as_like(initial: np.ndarray, array: ArrayLike, what: str) -> np.ndarray:
    """Returns `array` with the dtype of `initial`; a UserError if it has another shape.

    >>> as_like(np.zeros(2, np.float32), [1, 2], "final weights")
    array([1., 2.], dtype=float32)
    """
    array = np.asarray(array, initial.dtype)
    if array.shape != initial.shape:
        raise UserError(
            f"the {what} have shape {array.shape}, but the initial weights have {initial.shape}: "
            "give arrays of one layer"
        )
    return array


def check_rng(rng: object, what: str) -> None:
    """Raises a UserError unless `rng` is a NumPy generator.

    >>> check_rng(np.random.default_rng(0), "criterion 'random'")
    """
    if not isinstance(rng, np.random.Generator):
        raise UserError(f"{what} needs rng=numpy.random.default_rng(seed), got rng={rng!r}")
