"""Files of runs as they are read back: the one reader, by `schemas`.

Files of a work folder end with the SHA-256 of their other entries, so that a changed one is told;
older files have none.
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
from supermask_jax.schemas import DIVERGED, LINE, fault


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


def config_differences(
    old: Mapping[str, Any], new: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> list[str]:
    """Returns the differing entries of two nested configs, each as ``key: old -> new``.

    An entry that `old` lacks, from before there was such a one, is at its value in `defaults`.
    """
    known = flat(defaults or {})
    a, b = flat(old), flat(new)
    a = {key: known[key] for key in b.keys() & known.keys()} | a
    absent = "absent"
    return [
        f"{key}: {a.get(key, absent)!r} -> {b.get(key, absent)!r}"
        for key in sorted(a.keys() | b.keys())
        if a.get(key, absent) != b.get(key, absent)
    ]


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Returns the version of each of the packages, None for one that is not installed."""
    found: dict[str, str | None] = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found
