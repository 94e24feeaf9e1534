"""Data sets of one's own: each kind from real small files, each wrong form with its one line."""

import gzip
import os
import struct

import numpy as np
import pytest
from data_helpers import LABELS, PIXELS, folder_of, make_split
from helpers import tiny_config
from PIL import Image
from test_data_tfds import prepare_tfds

from supermask_jax import cli, experiment
from supermask_jax.data import from_arrays, images, load, own, spec_of
from supermask_jax.errors import UserError
from supermask_jax.training.workdir import Workdir


@pytest.fixture(autouse=True)
def fresh():
    own._loaded.cache_clear()


def arrays(**changed):
    made = {
        "train_images": PIXELS,
        "train_labels": LABELS,
        "test_images": PIXELS[:6],
        "test_labels": LABELS[:6],
    }
    return made | changed


FORMS = [lambda x: x.astype(int), lambda x: x.astype("f4") / 255, lambda x: np.moveaxis(x, -1, 1)]


@pytest.mark.parametrize("change", FORMS, ids=["int64", "float", "NCHW"])
@pytest.mark.parametrize("label", [lambda y: y, lambda y: y[:, None], lambda y: np.eye(3)[y]])
def test_arrays_are_understood_whatever_their_form(change, label):
    made = arrays(
        train_images=change(PIXELS),
        test_images=change(PIXELS[:6]),
        train_labels=label(LABELS),
        test_labels=label(LABELS[:6]),
    )
    data = from_arrays(**made)
    np.testing.assert_array_equal(data.train.images, PIXELS)
    np.testing.assert_array_equal(data.test.labels, LABELS[:6])
    assert data.train.images.dtype == np.uint8 and data.train.labels.dtype == np.int32
    assert data.num_classes == 3 and data.digest == from_arrays(**arrays()).digest


WIDE = np.arange(12 * 48).reshape(12, 8, 6) % 257
WRONG = {
    "train images are of shape": {"train_images": PIXELS[0, 0]},
    "train images are float64 from -1.0": {"train_images": PIXELS / 255 - 1},
    "train images are int64 from 0 to 256": {"train_images": WIDE},
    "test images of": {"test_images": PIXELS[:6, :4]},
    "12 images and 11 labels": {"train_labels": LABELS[:11]},
    "train labels are float64": {"train_labels": LABELS / 2},
    "are not one-hot": {"train_labels": np.ones((12, 3))},
    "train labels go from -1": {"train_labels": LABELS - 1},
    "test has classes that train has no image of: [3]": {"test_labels": LABELS[:6] + 1},
    "train has images of one class": {"train_labels": LABELS * 0, "test_labels": LABELS[:6] * 0},
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_arrays_are_named_in_one_line(line):
    with pytest.raises(UserError) as raised:
        from_arrays(**arrays(**WRONG[line]))
    assert line in str(raised.value) and "\n" not in str(raised.value)


def as_npz(path, keras=False):
    names = {v: k for k, v in own._KERAS.items()} if keras else {}
    np.savez(path / "a.npz", **{names.get(name, name): a for name, a in arrays().items()})
    return f"npz:{path / 'a.npz'}"


def as_idx(path):
    grey = PIXELS[..., 0]
    for part, rows in (("train", slice(12)), ("t10k", slice(6))):
        pixels, labels = grey[rows].tobytes(), LABELS[rows].astype(np.uint8).tobytes()
        size = len(labels)
        (path / "MNIST" / "raw").mkdir(parents=True, exist_ok=True)
        place = path / "MNIST" / "raw" / f"emnist-{part}-images-idx3-ubyte"
        place.write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, size, 8, 6) + pixels)
        content = gzip.compress(struct.pack(">4BI", 0, 0, 8, 1, size) + labels)
        place.with_name(f"emnist-{part}-labels-idx1-ubyte.gz").write_bytes(content)
    return f"idx:{path}"


def as_hf(path):
    datasets = pytest.importorskip("datasets")
    splits = {
        part: datasets.Dataset.from_dict(
            {"image": [Image.fromarray(x) for x in PIXELS[rows]], "label": LABELS[rows].tolist()}
        )
        for part, rows in (("train", slice(12)), ("test", slice(6)))
    }
    datasets.DatasetDict(splits).save_to_disk(str(path / "hf"))
    return f"hf:{path / 'hf'}"


def test_a_hugging_face_set_that_lacks_something(tmp_path):
    place = as_hf(tmp_path).partition(":")[2]
    datasets = pytest.importorskip("datasets")
    whole = datasets.load_from_disk(place)
    for change, line in {
        "test": r"it has no split test, but train",
        "image": r"it has no columns image and label, but picture, label",
    }.items():
        wrong = datasets.DatasetDict(whole)
        if change == "test":
            del wrong["test"]
        else:
            wrong = wrong.rename_column("image", "picture")
        wrong.save_to_disk(f"{tmp_path}/{change}")
        with pytest.raises(UserError, match=line):
            load(f"hf:{tmp_path}/{change}")


KINDS = {
    "npz": as_npz,
    "keras": lambda path: as_npz(path, keras=True),
    "folder": lambda path: f"folder:{folder_of(path)}",
    "val": lambda path: f"folder:{folder_of(path, ('train', 'val'))}",
    "hf": as_hf,
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_gives_the_same_examples(kind, tmp_path):
    data = load(KINDS[kind](tmp_path))
    found = {image.tobytes(): label for image, label in zip(*data.train, strict=True)}
    assert found == {image.tobytes(): label for image, label in zip(PIXELS, LABELS, strict=True)}


def test_idx_files_of_torchvision_and_emnist(tmp_path):
    data = load(as_idx(tmp_path))
    np.testing.assert_array_equal(data.train.images[..., 0], PIXELS[..., 0])
    np.testing.assert_array_equal(data.test.labels, LABELS[:6])
    (tmp_path / "MNIST" / "raw" / "emnist-t10k-images-idx3-ubyte").unlink()
    own._loaded.cache_clear()
    with pytest.raises(UserError, match="no file .*images-idx3-ubyte under"):
        load(f"idx:{tmp_path}")


def test_a_prepared_set_of_tfds(tmp_path):
    train, test = make_split("cifar10", 20, 0), make_split("cifar10", 10, 1)
    prepare_tfds(tmp_path, "cifar10", (train, test))
    data = load("tfds:cifar10", data_dir=str(tmp_path))
    np.testing.assert_array_equal(data.train.images, train.images)
    np.testing.assert_array_equal(data.test.labels, test.labels)
    with pytest.raises(UserError, match="data tfds:none: no prepared none in"):
        load("tfds:none", data_dir=str(tmp_path))


def test_tasks_of_another_set_are_trained_on_by_name(tmp_path):
    config = tiny_config(**{"data.name": "permuted:digits:3", "epochs": 1})
    summary = experiment.run(config, tmp_path / "run", quiet=True)
    assert summary["data"]["name"] == "permuted:digits:3"
    found, plain = (load(name).train.images for name in ("permuted:digits:3", "digits"))
    assert not np.array_equal(found, plain)
    np.testing.assert_array_equal(np.sort(found, axis=None), np.sort(plain, axis=None))
    assert spec_of({"name": "split:digits:1,7"}).num_classes == 2


def test_what_is_not_there_is_said(tmp_path):
    for name, line in {
        f"npz:{tmp_path / 'no.npz'}": "there is no ",
        "folder:/nowhere": "there is no /nowhere",
        "folder:~nobody_here/images": "there is no home folder for ~nobody_here/images",
        "folder:a\0b": "a path holds no NUL character",
        "given:nothing": "it was given from Python",
        "zip:a": "unknown data set 'zip:a'",
    }.items():
        with pytest.raises(UserError, match=line):
            load(name)
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(UserError, match="cannot be read"):
        load(f"npz:{tmp_path / 'a.npz'}")
    np.savez(tmp_path / "b.npz", x=np.zeros(3))
    with pytest.raises(UserError, match="it has no train_images, but x"):
        load(f"npz:{tmp_path / 'b.npz'}")


def test_the_mean_is_that_of_the_training_images():
    mean, std = images.statistics(PIXELS)
    np.testing.assert_allclose(mean, PIXELS.mean((0, 1, 2)) / 255, rtol=1e-6)
    np.testing.assert_allclose(std, PIXELS.std((0, 1, 2)) / 255, rtol=1e-6)


def train(name, path):
    entries = "epochs=2 model.width=0.1 batch_size=5 protocol=paper data.preprocess=mean_std"
    flags = [f"--config.{entry}" for entry in [*entries.split(), "data.image_size=4"]]
    argv = [f"--config.data.name={name}", f"--workdir={path}", "--plain"]
    return cli.main(["train", "--config=quickstart", *flags, *argv])


def test_a_run_on_a_folder_is_like_any_other(tmp_path, capsys):
    root, path = folder_of(tmp_path / "images"), tmp_path / "run"
    assert train(f"folder:{root}", path) == 0
    summary = Workdir(path).finished_summary()
    assert summary["data"]["source"] == "folder"
    capsys.readouterr()
    assert cli.main(["evaluate", str(path)]) == 0
    assert "they agree" in capsys.readouterr().out
    assert cli.main(["evaluate", str(Workdir(path).ticket)]) == 0
    # Changed since: neither trained on nor measured.
    own._loaded.cache_clear()
    Image.fromarray(PIXELS[3]).save(root / "train" / "class0" / "0.png")
    (path / "summary.json").rename(tmp_path / "summary.json")
    assert train(f"folder:{root}", path) == 1
    assert "data.digest" in capsys.readouterr().err
    (tmp_path / "summary.json").rename(path / "summary.json")
    assert cli.main(["evaluate", str(path)]) == 1
    assert "have changed: their digest is" in capsys.readouterr().err


def test_arrays_are_trained_on_from_python(tmp_path):
    data = from_arrays(**arrays())
    config = tiny_config(**{"data.subset": 0, "batch_size": 5, "epochs": 2})
    summary = experiment.run(config, tmp_path / "run", quiet=True, data=data)
    assert summary["data"] == {"name": "given:mine", "source": "given", "digest": data.digest}
    assert config.data.name != "given:mine"  # The caller's is as it was.
    # The same arrays as a file give the same network.
    name = as_npz(tmp_path)
    config.data.name = name
    again = experiment.run(config, tmp_path / "again", quiet=True)
    assert again["test_accuracy"] == summary["test_accuracy"]
    np.testing.assert_equal(
        dict(np.load(tmp_path / "run" / "masks.npz")),
        dict(np.load(tmp_path / "again" / "masks.npz")),
    )
    assert spec_of(config.data).num_classes == 3


def test_data_that_change_in_a_process_are_read_anew(tmp_path):
    name = as_npz(tmp_path)
    assert len(load(name).train.labels) == 12
    changed = arrays(train_images=PIXELS[:9], train_labels=LABELS[:9])
    np.savez(tmp_path / "a.npz", **changed)
    os.utime(tmp_path / "a.npz", ns=(1, 1))
    assert len(load(name).train.labels) == 9


def test_inspect_prints_what_a_run_would_see(tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    assert cli.main(["data", "inspect", as_npz(tmp_path), f"--sheet={sheet}"]) == 0
    out = capsys.readouterr().out
    assert "[8, 6, 3]" in out and "[4, 4]" in out
    with Image.open(sheet) as image:
        assert image.size == (8 * 7, 3 * 9)
        np.testing.assert_array_equal(np.asarray(image)[:8, :6], PIXELS[0])


def test_the_size_of_images_is_for_ones_own(tmp_path):
    with pytest.raises(UserError, match="config.data.image_size must be 0"):
        experiment.run(tiny_config(**{"data.image_size": 4}), tmp_path / "run")
