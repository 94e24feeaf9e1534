"""Shared by the tests of data sources: small data sets, and what a source makes of them."""

import subprocess

import numpy as np
import pytest
from PIL import Image

from supermask_jax.data import DATASETS, Split, load
from supermask_jax.data.sources import READERS, Folders
from supermask_jax.data.specs import Spec, verified

# Twelve images of three classes.
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 8, 6, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3

# Trains like `experiments/main.py`; a folder is decoded as it is needed, however small it is.
LAZY_MAIN = """
import sys
from supermask_jax import cli
from supermask_jax.data import own
own.DECODED = 0
sys.exit(cli.main(["train", *sys.argv[1:]]))
"""


def keep_apart(monkeypatch, tmp_path):
    """Allows no look at the folders and the network of whoever runs the tests."""
    monkeypatch.setenv("SUPERMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("started a process"))


def shrink(monkeypatch, shapes):
    """Makes data sets of these shapes small: 20 and 10 examples, of no known digest."""
    for name, shape in shapes.items():
        known = DATASETS[name]
        spec = Spec(shape, 20, 10, known.num_classes, known.sources)
        monkeypatch.setitem(DATASETS, name, spec)


def make_split(name, size, seed):
    """Random images of the shape of a data set, with as many of each class."""
    spec, rng = DATASETS[name], np.random.default_rng(seed)
    images = rng.integers(0, 256, (size, *spec.image_shape), dtype=np.uint8)
    return Split(images, rng.permutation(np.arange(size) % spec.num_classes))


def make_splits(name):
    """(train, test) of a data set, of the sizes of its spec."""
    spec = DATASETS[name]
    return make_split(name, spec.train_size, 0), make_split(name, spec.test_size, 1)


def digit_folder(root, count=120):
    """Writes digits as PNG of three classes, a quarter of them as val; returns their name."""
    for index in range(count):
        part = "train" if index < 3 * count // 4 else "val"
        place = root / part / str(index % 3) / f"{index}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        pixels = load("digits").train.images[index, ..., 0]
        Image.fromarray(pixels).convert("RGB").save(place)
    return f"folder:{root}"


def read(source, name, tmp_path):
    """What a source alone makes of what lies in the folders of `keep_apart`."""
    return READERS[source](name, Folders(str(tmp_path / "data"), str(tmp_path / "cache")))


def assert_same(dataset, name, source):
    """Asserts that it holds `make_splits(name)`."""
    expected = verified(name, source, *make_splits(name))
    assert (dataset.source, dataset.digest) == (source, expected.digest)
    arrays = zip(dataset.train + dataset.test, expected.train + expected.test, strict=True)
    for found, wanted in arrays:
        assert found.dtype == wanted.dtype and found.flags.c_contiguous
        np.testing.assert_array_equal(found, wanted)


def folder_of(root, splits=("train", "test"), name="{}.png", mode="RGB"):
    """Writes them as a folder a class: all to train, half of them to test."""
    for part, count in zip(splits, (12, 6), strict=True):
        for index in range(count):
            place = root / part / f"class{LABELS[index]}" / name.format(index)
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(PIXELS[index]).convert(mode).save(place)
    return root
