"""Data sets of one's own: ``KIND:PLACE`` as a data set's name, or arrays given from Python.

=========  =====================================================================================
npz:FILE   arrays train_images, train_labels, test_images, test_labels (or x_train and so on, as
           Keras names them) of an .npz file
folder:P   P/train/CLASS/*.png and P/test/CLASS/*.png (or val), PNG and JPEG
idx:P      MNIST's four files, packed or not, as torchvision, EMNIST and others lay them out
tfds:NAME  any image classification set that TFDS has prepared in `data_dir`; NAME may be
           NAME/CONFIG
permuted:NAME:SEED, split:NAME:CLASSES
           tasks made of another data set: see `tasks`
hf:P       a Hugging Face data set that `save_to_disk` wrote, with columns image and label
=========  =====================================================================================

Examples keep the order of their files. Every reader's arrays go through `from_arrays`.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from supermask_jax.data import formats, images, sources, tasks
from supermask_jax.data.arrays import as_uint8, from_arrays
from supermask_jax.data.progress import counted
from supermask_jax.data.specs import Dataset, SourceError, Spec, Split
from supermask_jax.errors import UserError, expanded, one_line, unknown_name
from supermask_jax.run_files import read_npz

_KERAS = {
    "x_train": "train_images",
    "y_train": "train_labels",
    "x_test": "test_images",
    "y_test": "test_labels",
}
_ARRAYS = tuple(_KERAS.values())
_TRAIN, _TEST = ("train", "training"), ("test", "val", "valid", "validation")

# Bytes of decoded images beyond which a folder is not decoded at once. The same on every machine,
# since the digest depends on it.
DECODED = 1 << 32
_SAMPLE = 2000  # images that tell mean and deviation of such a folder

# Given from Python: {name: data set}.
_GIVEN: dict[str, Dataset] = {}


def is_own(name: str) -> bool:
    """Says whether a data set's name is KIND:PLACE."""
    return name.partition(":")[0] in READERS and ":" in name


def give(data: Dataset) -> str:
    """Keeps a data set for this process and returns the name that `load` knows it by."""
    name = f"given:{data.name}"
    _GIVEN[name] = data
    _loaded.cache_clear()
    return name


def load(name: str, *, image_size: int = 0, data_dir: str = "") -> Dataset:
    """Reads the data set KIND:PLACE; once a process, and again where its place changed.

    Args:
      name: see the top of this file.
      image_size: side to which images are resized and cropped; 0 takes them as they are.
      data_dir: where TFDS has prepared it.

    Raises:
      UserError: it is not there, or not as it must be; one line names the file or the array.
    """
    return _loaded(name, image_size, data_dir, _stamp(name))[0]


def spec_of(name: str, *, image_size: int = 0, data_dir: str = "") -> Spec:
    """Returns shapes, counts, digest, mean and deviation of the data set KIND:PLACE; reads it."""
    return _loaded(name, image_size, data_dir, _stamp(name))[1]


def _stamp(name: str) -> tuple[int, ...]:
    """Returns when a file, or the folders down to those of classes, last changed."""
    path = expanded(name.partition(":")[2])
    if not path.exists():
        return ()
    found = [path, *path.glob("*/"), *path.glob("*/*/")] if path.is_dir() else [path]
    return tuple(place.stat().st_mtime_ns for place in found)


@functools.lru_cache(maxsize=2)
def _loaded(
    name: str, image_size: int, data_dir: str, stamp: tuple[int, ...]
) -> tuple[Dataset, Spec]:
    del stamp  # What is read anew when it changes.
    kind, _, place = name.partition(":")
    if kind not in READERS:
        raise unknown_name("kind of data", kind, READERS)
    try:
        data = READERS[kind](place, image_size, data_dir)
    except (UserError, SourceError) as error:
        raise UserError(f"data {name}: {error}") from error
    except Exception as error:  # Parsers raise nearly anything on broken bytes.
        raise UserError(f"data {name} cannot be read: {one_line(error)}") from error
    data = data._replace(name=name, source=kind)
    train, test = (len(split.labels) for split in (data.train, data.test))
    every = max(1, train // _SAMPLE)
    lazy = isinstance(data.train.images, images.LazyImages)
    mean, std = images.statistics(data.train.images[:: every if lazy else 1])
    shape, classes = data.train.images.shape[1:], data.num_classes
    return data, Spec(shape, train, test, classes, (kind,), False, data.digest, mean, std)


def _given(place: str, image_size: int, data_dir: str) -> Dataset:
    if (found := _GIVEN.get(f"given:{place}")) is None:
        raise UserError("it was given from Python: give it to `run` again, as `data`")
    return found


def _npz(place: str, image_size: int, data_dir: str) -> Dataset:
    found = read_npz(_there(place))
    named = {_KERAS.get(key, key): array for key, array in found.items()}
    if missing := [name for name in _ARRAYS if name not in named]:
        raise UserError(f"it has no {missing[0]}, but {', '.join(found) or 'nothing'}")
    arrays = [named[name] for name in _ARRAYS]
    for at in (0, 2):
        arrays[at] = images.resized(as_uint8(arrays[at], _ARRAYS[at]), image_size)
    return from_arrays(*arrays)


def _idx(place: str, image_size: int, data_dir: str) -> Dataset:
    root, arrays = _there(place), []
    for part, kind in ((p, k) for p in ("train", "t*") for k in ("images-idx3", "labels-idx1")):
        paths = sorted(root.glob(f"**/*{part}-{kind}-ubyte*"))
        paths = [path for path in paths if part == "train" or "train" not in path.name]
        if not paths:
            raise UserError(f"no file *{part}-{kind}-ubyte under {root}")
        raw = paths[0].read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        array = formats.parse_idx(raw, rank=3 if kind.startswith("images") else 1)
        arrays.append(images.resized(array[..., None], image_size) if array.ndim == 3 else array)
    return from_arrays(*arrays)


def _split_of(splits: Iterable[str], names: Sequence[str]) -> str:
    """Returns the first of some names that there is a split of."""
    found = next((name for name in names if name in splits), None)
    if found is None:
        raise UserError(f"it has no split {names[0]}, but {', '.join(splits)}")
    return found


def _tfds(place: str, image_size: int, data_dir: str) -> Dataset:
    from supermask_jax.data.datasets import find_folders

    folder = sources.newest_version(place, find_folders(data_dir or None).data)

    def examples(parts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        part = _split_of(builder.info.splits, parts)
        pairs = [(x["image"], x["label"]) for x in sources.examples(builder, part)]
        return _stacked([image for image, _ in pairs], image_size), np.array([y for _, y in pairs])

    builder = sources.prepared(folder)
    if missing := {"image", "label"} - set(builder.info.features):
        raise UserError(f"its examples have no {min(missing)}: it classifies no images")
    return from_arrays(*examples(_TRAIN), *examples(_TEST))


def _hf(place: str, image_size: int, data_dir: str) -> Dataset:
    try:
        import datasets
    except ImportError as error:
        raise UserError("pip install 'supermask-jax[hf]' reads it") from error
    splits = datasets.load_from_disk(str(_there(place)))

    def arrays(parts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        part = _split_of(splits, parts)
        split = splits[part]
        column = {key.removesuffix("s"): key for key in split.column_names}
        image, label = column.get("image", column.get("img")), column.get("label")
        if image is None or label is None:
            raise UserError(f"it has no columns image and label, but {', '.join(column.values())}")
        found = counted(split[image], f"{part} images", len(split), split.data.nbytes)
        return _stacked(map(images.pixels, found), image_size), np.array(split[label])

    return from_arrays(*arrays(_TRAIN), *arrays(_TEST))


def _folder(place: str, image_size: int, data_dir: str) -> Dataset:
    root = _there(place)
    splits = [_split_folder(root, names) for names in (_TRAIN, _TEST)]
    classes, others = (sorted(d.name for d in split.iterdir() if d.is_dir()) for split in splits)
    if classes != others:
        only = sorted(set(classes) ^ set(others))
        raise UserError(f"class {only[0]} has a folder in {splits[only[0] in others].name} only")
    arrays: list[np.ndarray] = []
    listed = [_listed(split, classes) for split in splits]
    if sum(len(paths) for paths, _ in listed) * image_size**2 * 3 > DECODED:
        return _lazy(root, listed, image_size)
    for split, (paths, labels) in zip(splits, listed, strict=True):
        size = sum(path.stat().st_size for path in paths)
        with ThreadPoolExecutor() as pool:
            decoded = pool.map(functools.partial(images.decode, size=image_size), paths)
            decoded = counted(decoded, f"{split.name} images", len(paths), size)
            arrays += [_stacked(decoded, image_size, paths), labels]
    return from_arrays(*arrays)


def _listed(split: Path, classes: Sequence[str]) -> tuple[list[Path], np.ndarray]:
    """Returns the files of a split, and their labels."""
    found = [images.files(split / name) for name in classes]
    labels = np.repeat(np.arange(len(found), dtype=np.int32), [len(paths) for paths in found])
    return [path for paths in found for path in paths], labels


def _lazy(root: Path, listed: Sequence[tuple[list[Path], np.ndarray]], size: int) -> Dataset:
    """Returns a data set whose images are decoded as they are read.

    Its digest is that of the files' names and sizes: reading them all would take too long.
    """
    sha = hashlib.sha256(f"{size}\n".encode())
    for path in (path for paths, _ in listed for path in paths):
        sha.update(f"{path.relative_to(root)} {path.stat().st_size}\n".encode())
    train, test = (Split(images.LazyImages(paths, size), labels) for paths, labels in listed)
    classes = int(train.labels[-1]) + 1
    if classes < 2:
        raise UserError("there is one class only: there is nothing to tell apart")
    return Dataset("mine", train, test, classes, "folder", sha.hexdigest())


def _split_folder(root: Path, names: Sequence[str]) -> Path:
    found = next((root / name for name in names if (root / name).is_dir()), None)
    if found is None:
        raise UserError(f"{root} has no folder {names[0]}: it must hold train and test, or val")
    return found


def _stacked(
    found: Iterable[np.ndarray], image_size: int, paths: Sequence[Path] | None = None
) -> np.ndarray:
    """Stacks images [H, W, C] of one size; of one channel where all are grey."""
    every = [images.resized(image[None], image_size)[0] for image in found]
    if not every:
        raise UserError("there are no images")
    if any(image.shape[-1] == 3 for image in every):
        every = [np.repeat(image, 3 // image.shape[-1], -1) for image in every]
    for index, image in enumerate(every):
        if image.shape != every[0].shape:
            name = paths[index].name if paths else f"image {index}"
            raise UserError(
                f"{name} is of {image.shape[:2]} and others of {every[0].shape[:2]}: give "
                "--config.data.image_size"
            )
    return np.stack(every)


def _task(
    make: Callable[[Dataset, Sequence[int]], Dataset], place: str, image_size: int, data_dir: str
) -> Dataset:
    from supermask_jax.data.datasets import load  # Of the other data set.

    name, _, numbers = place.rpartition(":")
    if not name:
        raise UserError(f"a task is permuted:NAME:SEED or split:NAME:CLASSES, got {place!r}")
    size = image_size if is_own(name) else 0
    return make(load(name, data_dir=data_dir or None, image_size=size), tasks.numbers(numbers))


def _there(place: str) -> Path:
    path = expanded(place)
    if not path.exists():
        raise UserError(f"there is no {path}")
    return path


READERS: dict[str, Callable[[str, int, str], Dataset]] = {
    "npz": _npz,
    "folder": _folder,
    "idx": _idx,
    "tfds": _tfds,
    "hf": _hf,
    "permuted": functools.partial(_task, tasks.permuted_by),
    "split": functools.partial(_task, tasks.split),
    "given": _given,
}
