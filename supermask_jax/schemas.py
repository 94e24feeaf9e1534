"""What the files of runs must hold: schemas, and what is wrong with a value.

A schema is a type; a dict of schemas by key, ``{str: schema}`` for any keys, ``"key?"`` for one
that may be absent; a list with the schema of every item; or a tuple of schemas, of which one must
fit. `float` takes any number, `SHARE` one in [0, 1], and no number is a bool. What a schema does
not name is let be: files grow with versions.
"""

from __future__ import annotations

import json
from typing import Any

from supermask_jax.errors import one_line


def SHARE(value: Any) -> bool:  # noqa: N802 - stands among the types of a schema.
    """Says whether a value is an accuracy or a density: a number in [0, 1]."""
    return _is(value, float) and 0 <= value <= 1


def COUNT(value: Any) -> bool:  # noqa: N802
    """Says whether a value counts something: a whole number, at least 0."""
    return _is(value, int) and value >= 0


def _all(keys: str, schema: Any) -> dict[str, Any]:
    return dict.fromkeys(keys.split(), schema)


_INTERVAL = {"mean": SHARE, "low": float, "high": float, "n": COUNT}
_LAYERS = {str: _all("kept inverted hidden", COUNT) | {"density": SHARE}}
_SHARES = {str: SHARE}

# Entries that every config had from the first version on; later ones have defaults.
CONFIG = (
    _all("name protocol", str)
    | _all("seed epochs batch_size num_seeds?", COUNT)
    | {"data": _all("name preprocess", str) | {"subset?": COUNT}}
    | {"model": {"name": str, "width": float}}
    | _all("method optimizer schedule", {"name": str})
    | _all("weight_init recipe?", dict)
)

ENV = (
    {"versions": {str: (str, None)}, "cpu_count": (int, None), "num_devices?": COUNT}
    | {"git_revision?": (str, None)}
    | _all("backend device command? time? python? platform? generator? dtype?", str)
    | _all("matmul_precision? convolution? compilation_cache?", str)
)

# One seed; a level of pruning has the same.
_RUN = (
    _all("seed epoch num_weights", COUNT)
    | _all("test_accuracy remaining_weights", SHARE)
    | _all("test_loss seconds", float)
    | {"layers": _LAYERS}
)
_SET = (
    _all("num_seeds num_weights", COUNT)
    | _all("test_accuracy remaining_weights", _INTERVAL)
    | {"seconds": float, "runs": [_RUN], "diverged?": [_all("seed step", COUNT)]}
)
SUMMARY = (_SET, _RUN)
PART = [_RUN]

_LINE = (
    _all("seed epoch step", COUNT)
    | _all("train_accuracy remaining_weights", SHARE)
    | _all("train_loss seconds", float)
    | _all("layer_density? layer_inverted?", _SHARES)
)
LINE = tuple(
    _LINE | {f"{split}_loss": float, f"{split}_accuracy": SHARE} for split in ("val", "test")
)

DIVERGED = {str: COUNT}

_TRIAL = {"point": dict, "digest": str, "seed": COUNT}
_TRIED = {"remaining_weights": SHARE, "val_accuracy": SHARE, "seconds": float}
SEARCH = {"commands": [str], "config": dict, "runs": [(_TRIAL | {"failed": str}, _TRIAL | _TRIED)]}

_SEED = {"seed": COUNT, "layer_densities": _SHARES}
RESULT = (
    {"row": str, "command": str, "config": dict, "env": ENV, "n": COUNT, "paper?": dict}
    | _all("accuracy remaining_weights", _INTERVAL)
    | _all("seconds mask_bytes", float)
    | {"runs": [_SEED | _all("test_accuracy remaining_weights", SHARE)]}
    | {"diverged?": [{"seed": COUNT}]}
)
_LEVEL = (
    _all("criterion mask1 mask0", (str, None))
    | {"level": COUNT, "density": SHARE, "trained": bool, "by_seed": {str: [SHARE]}}
    | _all("test_accuracy val_accuracy?", _INTERVAL)
)
LOTTERY = {"command": str, "config": {"lottery": {"untrained": bool}}, "rows": [_LEVEL]}


def fault(value: Any, schema: Any, place: str = "") -> str:
    """Returns where and how a value does not fit its schema, "" where it does."""
    if isinstance(schema, tuple):
        found = [fault(value, one, place) for one in schema]
        return "" if "" in found else found[-1]
    if isinstance(schema, list):
        if not isinstance(value, list):
            return _not(value, list, place)
        found = (fault(item, schema[0], f"{place}[{i}]") for i, item in enumerate(value))
        return next(filter(None, found), "")
    if not isinstance(schema, dict):
        return "" if _is(value, schema) else _not(value, schema, place)
    if not isinstance(value, dict):
        return _not(value, dict, place)
    if str in schema:
        schema = dict.fromkeys(value, schema[str])
    return next(filter(None, (_entry(value, *pair, place) for pair in schema.items())), "")


def _entry(value: dict[str, Any], key: str, schema: Any, place: str) -> str:
    name = key.removesuffix("?")
    inside = f"{place}.{name}" if place else name
    if name in value:
        return fault(value[name], schema, inside)
    return "" if key != name else f"it has no {inside}"


def _is(value: Any, kind: Any) -> bool:
    if kind is None:
        return value is None
    if not isinstance(kind, type):
        return kind(value)
    if kind in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if kind is float else kind)


_WORDS: dict[Any, str] = {
    dict: "entries",
    list: "a list",
    str: "text",
    int: "a whole number",
    float: "a number",
    SHARE: "a number from 0 to 1",
    COUNT: "a whole number from 0 on",
    None: "null",
}


def _not(value: Any, schema: Any, place: str) -> str:
    return f"{place or 'it'} must be {_WORDS[schema]}, and is {one_line(json.dumps(value), 40)}"
