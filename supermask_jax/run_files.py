"""Files of runs as they are read back: the one reader, and what each file must hold.

A schema is a type; a dict of schemas by key, ``{str: schema}`` for any keys, ``"key?"`` for one
that may be absent; a list with the schema of every item; or a tuple of schemas, of which one must
fit. `float` takes any number, `SHARE` one in [0, 1], and no number is a bool. What a schema does
not name is let be: files grow with versions. Files of a work folder end with the SHA-256 of their
other entries, so that a changed one is told; older files have none.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from supermask_jax.errors import UserError, one_line


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
SEARCH = {
    "commands": [str],
    "config": dict,
    "runs": [(_TRIAL | {"failed": str}, _TRIAL | _TRIED)],
}

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


def _sha256(entries: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def dump(value: Any) -> bytes:
    """Returns JSON in UTF-8 for `parse`; a dict gets the SHA-256 of its entries."""
    if isinstance(value, Mapping):
        # Through JSON first: what is read back has its keys as text, and no tuples.
        value = json.loads(json.dumps(value))
        value["sha256"] = _sha256(value)
    return (json.dumps(value, indent=2) + "\n").encode()


def parse(content: bytes, schema: Any) -> Any:
    """Returns what JSON in UTF-8 holds, without the SHA-256 that `dump` added.

    Raises:
      ValueError: it is none, does not fit the schema, or was changed since it was written; one
        line that says what is wrong.
    """
    try:
        value = json.loads(content.decode())
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if isinstance(value, dict) and "sha256" in value:
        if value.pop("sha256") != _sha256(value):
            raise ValueError("an entry was changed or lost since it was written")
    if found := fault(value, schema):
        raise ValueError(found)
    return value


def read(path: Path, schema: Any, mend: str) -> Any:
    """Returns what a JSON file holds, once it is known to fit its schema.

    Args:
      path: of the file.
      schema: see above.
      mend: what to do about a damaged one, for the message.

    Raises:
      UserError: it is missing, cannot be read, or is damaged.
    """
    try:
        return parse(path.read_bytes(), schema)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}: {mend}") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged ({one_line(error)}): {mend}") from error


def read_diverged(path: Path) -> dict[int, int]:
    """Returns {seed: step} of ``diverged.json``.

    Raises:
      UserError: it is missing or damaged.
    """
    found = read(path, DIVERGED, "start again in another folder")
    try:
        return {int(seed): step for seed, step in found.items()}
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): start again in another folder") from error


def read_lines(path: Path) -> tuple[list[dict[str, Any]], str]:
    """Returns the whole lines of ``metrics.jsonl``, and what is wrong with the first other one.

    A last line without its end is what a kill left of it.
    """
    lines, wrong = [], ""
    texts = path.read_bytes().split(b"\n") if path.exists() else []
    for number, text in enumerate(texts, start=1):
        try:
            if text:
                lines.append(_same_layers(parse(text, LINE)))
        except ValueError as error:
            if number < len(texts):
                wrong = wrong or f"line {number}: {one_line(error)}"
    return lines, wrong


def _same_layers(line: dict[str, Any]) -> dict[str, Any]:
    density, inverted = (line.get(name, {}).keys() for name in ("layer_density", "layer_inverted"))
    if lost := density ^ inverted:
        raise ValueError(f"layer {min(lost)} has no share in layer_density or layer_inverted")
    return line


def check_lines(
    path: Path, lines: Sequence[Mapping[str, Any]], last: int | None, *, first: int | None = 1
) -> None:
    """Checks that the lines of one seed are those of its epochs, one after another.

    Args:
      path: of the file.
      lines: of the seed.
      last: epoch that the run ended with; None is one that is not finished.
      first: epoch that it began with; None is of a run that was rewound.

    Raises:
      UserError: some are missing.
    """
    epochs = [line["epoch"] for line in lines]
    first = epochs[0] if first is None and epochs else first
    last = epochs[-1] if last is None and epochs else last
    if epochs != list(range(first or 1, (last or 0) + 1)):
        raise UserError(f"{path} is damaged (epochs are missing): start again in another folder")


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of an .npz file, every byte of it checked.

    Raises:
      OSError: it cannot be read.
      ValueError: it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if name := archive.testzip():
                raise ValueError(f"the checksum of {name} is wrong")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except OSError:
        raise
    except zipfile.BadZipFile as error:
        raise ValueError(f"it is cut short, or no .npz file ({one_line(error)})") from error
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds on broken files.
        raise ValueError(one_line(error)) from error


def read_masks(path: Path) -> dict[str, np.ndarray]:
    """Returns {layer: int8 mask} of ``masks.npz``.

    Raises:
      UserError: it is missing or damaged.
    """
    try:
        masks = read_npz(path)
        if any(mask.dtype != np.int8 for mask in masks.values()):
            raise ValueError("it holds no masks: they are int8")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is damaged ({getattr(error, 'strerror', None) or error}): delete it and "
            "the summary, and run the same command to make both again"
        ) from error
    return masks


def flat(tree: Mapping[str, Any], separator: str = ".") -> dict[str, Any]:
    """Returns nested entries as {"method.name": ...}, in their order."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            inner = flat(value, separator)
            found |= {f"{key}{separator}{name}": leaf for name, leaf in inner.items()}
        else:
            found[key] = value
    return found


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Returns the version of each of the packages, None for one that is not installed."""
    found: dict[str, str | None] = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found
