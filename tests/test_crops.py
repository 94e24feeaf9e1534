"""Random resized crops, colours and smoothed labels: what networks for ImageNet train with."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from supermask_jax.data import crops
from supermask_jax.data.transforms import AUGMENTS, make_prepare
from supermask_jax.training.evaluate import batch_sums

SIDE = 48


def ramps(size):
    """Images that say where each pixel was: its row, its column, a constant."""
    row = jnp.arange(SIDE, dtype=jnp.float32) + 0.5
    image = jnp.stack([*jnp.meshgrid(row, row, indexing="ij"), jnp.full((SIDE, SIDE), 7.0)], -1)
    return jnp.broadcast_to(image, (size, *image.shape))


def test_crops_are_parts_of_the_drawn_sizes_and_shapes():
    found = np.asarray(jax.jit(crops.resized_crop_flip)(jax.random.key(0), ramps(2000)))
    np.testing.assert_allclose(found[..., 2], 7, rtol=1e-5)
    inner = found[:, 8:-8, 8:-8]  # Away from where antialiasing ends at the image's border.
    steps = len(inner[0]) - 1
    height = (inner[:, -1, 0, 0] - inner[:, 0, 0, 0]) * SIDE / steps
    width = (inner[:, 0, -1, 1] - inner[:, 0, 0, 1]) * SIDE / steps
    assert abs((width < 0).mean() - 0.5) < 0.05
    width = np.abs(width)
    area, ratio = height * width / SIDE**2, width / height
    whole = np.maximum(height, width) > SIDE - 0.1  # Cut to the image.
    assert 0.078 < area.min() and area.max() < 1.01
    assert 0.74 < ratio[~whole].min() and ratio[~whole].max() < 1.35
    assert np.percentile(area[area < 0.5], 50) == pytest.approx(0.29, abs=0.03)
    middle = found[:, SIDE // 2 - 1 : SIDE // 2 + 1].mean((1, 2))[:, 0]
    assert (height / 2 - 0.1 < middle).all() and (middle < SIDE - height / 2 + 0.1).all()
    assert middle.mean() == pytest.approx(SIDE / 2, abs=0.5)


def test_a_crop_of_all_is_the_image_or_its_mirror(monkeypatch):
    monkeypatch.setattr(crops, "AREA", (1.0, 1.0 + 1e-6))
    monkeypatch.setattr(crops, "RATIO", (1.0, 1.0 + 1e-6))
    images = jax.random.randint(jax.random.key(1), (32, 9, 9, 3), 0, 256).astype(jnp.uint8)
    found = crops.resized_crop_flip(jax.random.key(0), images)
    assert found.dtype == jnp.uint8
    same = (found == images).all((1, 2, 3))
    mirrored = (found == images[:, :, ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all() and 8 < same.sum() < 24


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_change_by_their_factors(monkeypatch, channels):
    key = jax.random.key(3)
    images = jax.random.randint(jax.random.key(1), (64, 9, 9, channels), 60, 120)
    monkeypatch.setattr(crops, "JITTER", 0.0)
    plain = crops.resized_crop_flip_color(key, images.astype(jnp.float32))
    assert not (plain - crops.resized_crop_flip(jax.random.split(key)[0], 1.0 * images)).any()
    monkeypatch.undo()
    found = crops.resized_crop_flip_color(key, images.astype(jnp.float32))
    mean = [np.asarray(crops._grey(x).mean((1, 2, 3))) for x in (found, plain)]
    bright = mean[0] / mean[1]  # Nothing else changes the mean of grey.
    assert 0.6 <= bright.min() < 0.7 and 1.3 < bright.max() <= 1.4
    spread = np.asarray(crops._grey(found).std((1, 2, 3)) / crops._grey(plain).std((1, 2, 3)))
    contrast = spread / bright
    assert 0.59 <= contrast.min() < 0.7 and 1.3 < contrast.max() <= 1.41


@pytest.mark.parametrize("name", [name for name in AUGMENTS if name.startswith("resized")])
def test_each_image_draws_its_own_in_training_only(name):
    image = jax.random.randint(jax.random.key(1), (1, 32, 32, 3), 0, 256).astype(jnp.uint8)
    images = jnp.repeat(image, 4, 0)
    prepare = make_prepare("mean_std", name, "cifar10")
    found = prepare(jax.random.key(0), images)
    assert len(np.unique(found.sum((1, 2, 3)))) == 4
    plain = make_prepare("mean_std", "none", "cifar10")
    np.testing.assert_array_equal(prepare(None, images), plain(None, images))


def test_smoothed_labels_are_soft_targets():
    logits = jax.random.normal(jax.random.key(0), (5, 7))
    label, weight = jnp.array([0, 3, 6, 2, 2]), jnp.array([1.0, 1, 1, 1, 0])
    batch = {"image": logits, "label": label, "weight": weight}
    targets = 0.9 * jax.nn.one_hot(label, 7) + 0.1 / 7
    expected = (optax.softmax_cross_entropy(logits, targets) * weight).sum()
    found = batch_sums(logits, batch, 0.1)
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-6)
    assert found["correct"] == batch_sums(logits, batch)["correct"]
