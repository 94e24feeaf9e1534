"""Arrays computed once: .npz files with the SHA-256 of what they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from supermask_jax import files
from supermask_jax.core.trees import digest
from supermask_jax.errors import UserError
from supermask_jax.run_files import read_npz

Arrays = dict[str, np.ndarray]

_SHA256 = "sha256"


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes `arrays` in one step: a reader sees the old file or the new one.

    Raises:
      UserError: the file cannot be written.
    """
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    stored = arrays | {_SHA256: np.array(digest(arrays))}
    try:
        files.replace(path, lambda file: np.savez(file, **stored))
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}: free some space, then run the same "
            "command to go on"
        ) from error


def read_arrays(path: Path) -> Arrays:
    """Returns what `write_arrays` wrote.

    Raises:
      UserError: the file is missing, broken, or not what was written.
    """
    try:
        arrays = read_npz(path)
        if str(arrays.pop(_SHA256, "")) != digest(arrays):
            raise ValueError("its SHA-256 is not the one saved with it")
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot use {path}: {error}: delete the folder {path.parent} to compute it again"
        ) from error
    return arrays


def once(path: Path, make: Callable[[], Mapping[str, np.ndarray]]) -> Arrays:
    """Returns the arrays in `path`, which is made first where it is not there.

    Raises:
      UserError: as `write_arrays` and `read_arrays`.
    """
    if not path.exists():
        write_arrays(path, make())
    return read_arrays(path)
