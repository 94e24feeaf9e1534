"""TFDS directories, read as they are or prepared first: small ones in the real format."""

import importlib.util
import io
import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from data_helpers import assert_same, keep_apart, make_splits, read, shrink
from PIL import Image

from supermask_jax.data import DATASETS, load
from supermask_jax.data.formats import read_tfrecord
from supermask_jax.data.specs import SourceCorrupt, SourceError

PREPARED = Path(__file__).parents[2] / "shared" / "tensorflow_datasets"
SHAPES = {"mnist": (3, 4, 1), "cifar10": (4, 3, 3), "cifar100": (4, 3, 3)}


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Small data sets."""
    shrink(monkeypatch, SHAPES)
    keep_apart(monkeypatch, tmp_path)


def write_array_record(path, records):
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path))
    for record in records:
        writer.write(record)
    writer.close()


def write_parquet(path, records):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"data": records}), path)


def write_tfrecord(path, records):
    sizes = [len(record).to_bytes(8, "little") for record in records]
    pairs = zip(sizes, records, strict=True)
    path.write_bytes(b"".join(size + b"head" + data + b"data" for size, data in pairs))


WRITERS = {
    "array_record": write_array_record,
    "parquet": write_parquet,
    "tfrecord": write_tfrecord,
    "riegeli": write_tfrecord,  # as a format that only TensorFlow reads: never looked into
}


def prepare_tfds(data_dir, name, splits, version="3.0.1", file_format="array_record"):
    """Writes what TFDS's download_and_prepare writes, without TensorFlow."""
    from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

    folder = Path(data_dir) / name / version
    folder.mkdir(parents=True)
    for part, split in zip(("train", "test"), splits, strict=True):
        records = []
        for image, label in zip(*split, strict=True):
            png = io.BytesIO()
            Image.fromarray(image.squeeze()).save(png, "PNG")
            values = {
                "image": {"bytes_list": tf_feature_pb2.BytesList(value=[png.getvalue()])},
                "label": {"int64_list": tf_feature_pb2.Int64List(value=[label])},
            }
            if name == "cifar100":  # Twenty groups of classes, which are not what is asked for.
                coarse = tf_feature_pb2.Int64List(value=[label // 5])
                values["coarse_label"] = {"int64_list": coarse}
            feature = {key: tf_feature_pb2.Feature(**value) for key, value in values.items()}
            features = tf_feature_pb2.Features(feature=feature)
            records.append(tf_example_pb2.Example(features=features).SerializeToString())
        WRITERS[file_format](folder / f"{name}-{part}.{file_format}-00000-of-00001", records)
    shards = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    parts = [
        {"name": part, "shardLengths": [str(len(split.labels))], "numBytes": "1"}
        for part, split in zip(("train", "test"), splits, strict=True)
    ]
    info = {"name": name, "version": version, "fileFormat": file_format, "moduleName": "somewhere"}
    info["splits"] = [part | {"filepathTemplate": shards} for part in parts]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    package = "tensorflow_datasets.core.features."
    dimensions = [str(size) for size in splits[0].images.shape[1:]]
    image = {"dtype": "uint8", "shape": {"dimensions": dimensions}}

    def kind(path, **options):
        return {"pythonClassName": package + path, **options}

    def label(count):
        return kind("class_label_feature.ClassLabel", classLabel={"numClasses": str(count)})

    kinds = {"image": kind("image_feature.Image", image=image)}
    kinds["label"] = label(DATASETS[name].num_classes)
    if name == "cifar100":
        kinds["coarse_label"] = label(20)
    tree = kind("features_dict.FeaturesDict", featuresDict={"features": kinds})
    (folder / "features.json").write_text(json.dumps(tree))
    return folder


@pytest.mark.parametrize("name", SHAPES)
def test_tfds_reads_the_newest_version(tmp_path, name):
    train, test = make_splits(name)
    prepare_tfds(tmp_path / "data", name, (test, train), version="3.9.0")
    prepare_tfds(tmp_path / "data", name, (train, test), version="3.10.0")
    (tmp_path / "data" / name / "4.0.0.incompleteABC").mkdir()
    assert_same(load(name, sources=("tfds",)), name, "tfds")
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    assert_same(load(name, data_dir=str(tmp_path / "elsewhere"), sources=("tfds",)), name, "tfds")


@pytest.mark.parametrize("file_format", ["parquet", "tfrecord"])
def test_tfds_reads_other_formats(tmp_path, file_format):
    prepare_tfds(tmp_path / "data", "mnist", make_splits("mnist"), file_format=file_format)
    assert_same(read("tfds", "mnist", tmp_path), "mnist", "tfds")


def test_a_tfrecord_file_that_is_cut_short(tmp_path):
    write_tfrecord(tmp_path / "whole", [b"first", b"second"])
    whole = (tmp_path / "whole").read_bytes()
    assert list(read_tfrecord(tmp_path / "whole")) == [b"first", b"second"]
    for size in (len(whole) - 1, len(whole) - 7, 21 + 11, 21 + 3):
        (tmp_path / "cut").write_bytes(whole[:size])
        with pytest.raises(EOFError, match="cut is cut short"):
            list(read_tfrecord(tmp_path / "cut"))


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_tfds_corruption_names_the_folder(tmp_path, file_format):
    folder = prepare_tfds(tmp_path / "data", "mnist", make_splits("mnist"), "3.0.1", file_format)
    shard = folder / f"mnist-test.{file_format}-00000-of-00001"
    os.truncate(shard, shard.stat().st_size // 2)
    with pytest.raises(SourceCorrupt, match=f"{folder} is corrupt.*delete {folder}"):
        read("tfds", "mnist", tmp_path)


def test_tfds_that_cannot_serve(tmp_path):
    with pytest.raises(SourceError, match="no prepared mnist in .*TFDS_DATA_DIR"):
        read("tfds", "mnist", tmp_path)
    prepare_tfds(tmp_path / "data", "mnist", make_splits("mnist"), file_format="riegeli")
    with pytest.raises(SourceError, match="riegeli files, which need TensorFlow") as caught:
        read("tfds", "mnist", tmp_path)
    assert not isinstance(caught.value, SourceCorrupt)


def test_download_without_tensorflow_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SourceError, match=r"pip install 'supermask-jax\[tfds\]'"):
        read("download", "mnist", tmp_path)


def test_download(monkeypatch, tmp_path):
    import tensorflow_datasets as tfds

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace(name=name))

    def builder(name, *, data_dir, file_format):
        def prepare():
            prepare_tfds(data_dir, name, make_splits(name), file_format=file_format)

        return SimpleNamespace(
            data_dir=str(Path(data_dir) / name / "3.0.1"), download_and_prepare=prepare
        )

    monkeypatch.setattr(tfds, "builder", builder)
    assert_same(read("download", "mnist", tmp_path), "mnist", "download")
    assert_same(read("tfds", "mnist", tmp_path), "mnist", "tfds")

    def fails(name, **_):
        raise OSError("no\nroute\nto host")

    monkeypatch.setattr(tfds, "builder", fails)
    with pytest.raises(SourceError, match="could not prepare it: OSError: no route to host"):
        read("download", "cifar10", tmp_path)


def test_prepared_mnist_has_the_pinned_digest(monkeypatch):
    if not (PREPARED / "mnist").is_dir():
        pytest.skip(f"no prepared MNIST in {PREPARED}")
    monkeypatch.undo()  # the real spec
    dataset = load("mnist", data_dir=str(PREPARED), sources=("tfds",))
    assert DATASETS["mnist"].digest == dataset.digest
    assert dataset.train.images.shape == (60_000, 28, 28, 1)
    # The mean and deviation that everyone standardises MNIST with.
    pixels = dataset.train.images / np.float32(255)
    assert (round(float(pixels.mean()), 4), round(float(pixels.std()), 4)) == (0.1307, 0.3081)
