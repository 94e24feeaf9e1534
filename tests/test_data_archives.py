"""CIFAR's own archives: small ones in the real formats, whole, broken and hostile."""

import io
import os
import pickle
import tarfile

import numpy as np
import pytest
from cifar_formats import binary, planes, python2_pickle, python3_pickle
from data_helpers import assert_same, keep_apart, make_splits, read

from supermask_jax.data import DATASETS, Split, load
from supermask_jax.data.archives import ARCHIVES
from supermask_jax.data.specs import SourceCorrupt, SourceError
from supermask_jax.errors import UserError

LABELS = [*range(100)] * 2


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Small data sets."""
    sizes = {"image_shape": (4, 2, 3), "train_size": 200, "test_size": 100, "digest": None}
    for name in ("cifar10", "cifar100"):
        monkeypatch.setitem(DATASETS, name, DATASETS[name]._replace(**sizes))
    keep_apart(monkeypatch, tmp_path)
    (tmp_path / "data").mkdir()


def entries(name, images, labels):
    stored = {
        "batch_label": "training batch 1 of 5",
        "data": planes(images),
        "filenames": [f"leptodactylus_{i:06}.png" for i in range(len(images))],
    }
    if name == "cifar10":
        return stored | {"labels": labels.tolist()}
    return stored | {"fine_labels": labels.tolist(), "coarse_labels": (labels // 5).tolist()}


def cifar10_files(write, suffix=""):
    train, test = make_splits("cifar10")
    batches = [Split(*(array[40 * i : 40 * i + 40] for array in train)) for i in range(5)]
    files = {f"data_batch_{i}{suffix}": write(*batch) for i, batch in enumerate(batches, 1)}
    return files | {f"test_batch{suffix}": write(*test), "batches.meta": b"names"}


def cifar100_files(write, suffix=""):
    train, test = make_splits("cifar100")
    return {f"train{suffix}": write(*train), f"test{suffix}": write(*test), "meta": b"names"}


FILES = {
    "cifar-10-batches-bin": lambda: cifar10_files(binary, ".bin"),
    "cifar-10-batches-py": lambda: cifar10_files(
        lambda *split: python2_pickle(entries("cifar10", *split))
    ),
    "cifar-100-binary": lambda: cifar100_files(
        lambda images, labels: binary(images, labels, labels // 5), ".bin"
    ),
    "cifar-100-python": lambda: cifar100_files(
        lambda *split: python2_pickle(entries("cifar100", *split))
    ),
}
TARBALLS = {archive.folder: archive.tarball for of in ARCHIVES.values() for archive in of}


def extract(tmp_path, folder, files):
    path = tmp_path / "data" / folder
    path.mkdir()
    for name, data in files.items():
        (path / name).write_bytes(data)
    return path


def pack(tmp_path, folder, files):
    path = tmp_path / "data" / TARBALLS[folder]
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def dataset_of(folder):
    return "cifar100" if "100" in folder else "cifar10"


@pytest.mark.parametrize("put", [extract, pack])
@pytest.mark.parametrize("folder", FILES)
def test_every_layout_gives_the_same_arrays(tmp_path, folder, put):
    put(tmp_path, folder, FILES[folder]())
    name = dataset_of(folder)
    assert_same(read("archive", name, tmp_path), name, "archive")
    assert load(name).source == "archive"
    assert load(name).source == "cache"


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray])
def test_pickles_of_python_3(tmp_path, module, layout):
    def write(images, labels):
        stored = entries("cifar100", images, labels)
        raw = python3_pickle(stored | {"data": layout(stored["data"])})
        return raw.replace(b"numpy._core.multiarray", module)

    extract(tmp_path, "cifar-100-python", cifar100_files(write))
    assert_same(read("archive", "cifar100", tmp_path), "cifar100", "archive")


class Hostile:
    """Its pickle would make a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", (2, 4))
def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path, protocol):
    made = tmp_path / "made"
    stored = entries("cifar100", *make_splits("cifar100")[0]) | {"more": Hostile(made)}
    files = FILES["cifar-100-python"]() | {"train": pickle.dumps(stored, protocol)}
    path = extract(tmp_path, "cifar-100-python", files)
    said = f"archive {path} is corrupt: train: .* asks for posix.mkdir, .*delete {path}"
    with pytest.raises(UserError, match=said) as caught:
        load("cifar100", sources=("archive",))
    assert "\n" not in str(caught.value) and not made.exists()


def changed(**changes):
    """The pickled training files of CIFAR-100, with changed entries; None leaves one out."""
    stored = entries("cifar100", *make_splits("cifar100")[0]) | changes
    kept = {key: value for key, value in stored.items() if value is not None}
    return FILES["cifar-100-python"]() | {"train": python3_pickle(kept)}


def cut(folder, file, size=-1):
    files = FILES[folder]()
    return files | {file: files[file][:size]}


BIN, PICKLED = "cifar-100-binary", "cifar-100-python"


@pytest.mark.parametrize(
    ("folder", "files", "message"),
    [
        (BIN, lambda: cut(BIN, "train.bin"), "train.bin: .*26"),
        (BIN, lambda: cut(BIN, "test.bin", 26 * 99), r"\(99, 4, 2"),
        # Coarse and fine label in the wrong order.
        (BIN, lambda: cifar100_files(lambda x, y: binary(x, y // 5, y), ".bin"), "a class"),
        (PICKLED, lambda: cut(PICKLED, "train", 0), "train: .*cut short"),
        (PICKLED, lambda: changed(fine_labels=None), "no dict with 'fine_labels'"),
        (PICKLED, lambda: changed(data=[1, 2]), "train: "),
        (PICKLED, lambda: changed(data=np.zeros((200, 25), np.uint8)), "train: cannot reshape"),
        (PICKLED, lambda: changed(data=np.zeros((200, 24), "f4")), "images are float32"),
        (PICKLED, lambda: changed(fine_labels=[0.5] * 200), "labels float64"),
        (PICKLED, lambda: changed(fine_labels=LABELS[1:]), r"labels \(199,\)"),
        (PICKLED, lambda: changed(fine_labels=[100, *LABELS[1:]]), "expected 0..99"),
    ],
)
@pytest.mark.parametrize("put", [extract, pack])
def test_broken_files_are_one_line_that_names_them(tmp_path, put, folder, files, message):
    path = put(tmp_path, folder, files())
    with pytest.raises(SourceCorrupt, match=f"archive {path} is corrupt: .*{message}") as caught:
        read("archive", "cifar100", tmp_path)
    assert "\n" not in str(caught.value)


def flipped(raw, place):
    return raw[:place] + bytes([raw[place] ^ 0x10]) + raw[place + 1 :]


@pytest.mark.parametrize(
    "mangle",
    [
        lambda raw: raw[: len(raw) // 2],
        lambda raw: b"not a tarball",
        lambda raw: flipped(raw, len(raw) - 6),  # The checksum itself.
    ],
)
def test_a_broken_tarball_is_corrupt(tmp_path, mangle):
    path = pack(tmp_path, "cifar-100-binary", FILES["cifar-100-binary"]())
    path.write_bytes(mangle(path.read_bytes()))
    with pytest.raises(SourceCorrupt, match=f"archive {path} is corrupt"):
        read("archive", "cifar100", tmp_path)


def test_a_tarball_without_the_files_and_none_at_all(tmp_path):
    with pytest.raises(SourceError, match="no cifar-100-binary.tar.gz or cifar-100-python.tar.gz"):
        read("archive", "cifar100", tmp_path)
    pack(tmp_path, "cifar-100-python", {"meta": b""})
    with pytest.raises(SourceCorrupt, match="lacks cifar-100-python/test, cifar-100-python/train"):
        read("archive", "cifar100", tmp_path)
