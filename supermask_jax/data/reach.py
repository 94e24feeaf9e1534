"""Which sources of a data set are in reach, by a look that reads and fetches nothing."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from supermask_jax.data import archives, cache
from supermask_jax.data.sources import Folders, newest_version, npm_package
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


def _tfds(name: str, folders: Folders) -> str:
    return newest_version(name, folders.data)


def _archive(name: str, folders: Folders) -> str:
    return str(archives.find(name, folders.data)[1])


def _npm(name: str, folders: Folders) -> str:
    package = npm_package(name)
    if shutil.which("npm") is None:
        raise SourceError("npm is not on PATH", "install Node.js")
    return f"npm would fetch {package}"


def _download(name: str, folders: Folders) -> str:
    _need("tensorflow", "pip install 'supermask-jax[tfds]'")
    return f"TFDS would download it into {Path(folders.data) / name}"


def _embedded(name: str, folders: Folders) -> str:
    _need("sklearn", "pip install scikit-learn")
    return "comes with scikit-learn"


def _need(package: str, mend: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise SourceError(f"{package} is not installed", mend)


_LOOKS: dict[str, Callable[[str, Folders], str]] = {
    "cache": _cache,
    "tfds": _tfds,
    "archive": _archive,
    "npm": _npm,
    "download": _download,
    "embedded": _embedded,
}
