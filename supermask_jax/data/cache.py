"""The cache: one uncompressed .npz file a data set, in canonical order, with its content digest."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from supermask_jax import files
from supermask_jax.data.specs import Dataset, SourceError, Split, reading, verified
from supermask_jax.errors import one_line
from supermask_jax.run_files import read_npz

_MEMBERS = ("digest", "train_images", "train_labels", "test_images", "test_labels")

logger = logging.getLogger("supermask_jax")


def cache_path(name: str, folder: str) -> Path:
    """Returns the file that holds data set `name` in the cache `folder`."""
    return Path(folder) / f"{name}.npz"


def read(name: str, folder: str) -> Dataset:
    """Reads data set `name` from the cache.

    Raises:
      SourceError: there is no file, or the system refuses to read it.
      SourceCorrupt: the file is cut short, changed, or not a cache of this data set.
    """
    path = cache_path(name, folder)
    with reading(f"cache file {path}", f"delete {path}"):
        try:
            stored = read_npz(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            mend = "any other source that serves will write it"
            raise SourceError(f"there is no {path}", mend) from error
        if missing := [member for member in _MEMBERS if member not in stored]:
            raise ValueError(f"it lacks {', '.join(missing)}")
        digest, *arrays = (stored[member] for member in _MEMBERS)
        train, test = Split(*arrays[:2]), Split(*arrays[2:])
        dataset = verified(name, "cache", train, test, ordered=True)
        if str(digest) != dataset.digest:
            raise ValueError(f"content digest {dataset.digest} is not the stored {digest}")
    return dataset


@contextlib.contextmanager
def alone(name: str, folder: str) -> Iterator[None]:
    """Waits for who fills the cache with data set `name`; does not where there can be no lock."""
    path = cache_path(name, folder)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(files.locked(path))
        except OSError as error:
            logger.debug("data set %s: cannot lock %s: %s", name, path, one_line(error))
        yield


def write(dataset: Dataset, folder: str) -> None:
    """Writes `dataset` to the cache in one step, over what was there; a failure is only logged."""
    path = cache_path(dataset.name, folder)
    arrays = (np.array(dataset.digest), *dataset.train, *dataset.test)
    members = dict(zip(_MEMBERS, arrays, strict=True))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, lambda file: np.savez(file, **members))
    except OSError as error:
        logger.warning("data set %s: cannot write %s: %s", dataset.name, path, one_line(error))
