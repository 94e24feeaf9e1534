"""Preprocessing and augmentation against NumPy, example by example."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from supermask_jax.data import DATASETS, load, transforms
from supermask_jax.data.preprocess import PREPROCESSES
from supermask_jax.errors import UserError

CHANNELS = {name: spec.image_shape[-1] for name, spec in DATASETS.items()}


def make_images(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_standardize_equals_tensorflows_definition():
    images = make_images(3, 4, 5, 2)
    images[1] = 7  # Constant: divided by 1 / sqrt(N), not by 0.
    images[2] = 0
    images[2, 0, 0, 0] = 1  # Standard deviation below 1 / sqrt(40).
    x = images.astype(np.float64)
    expected = np.stack([(i - i.mean()) / max(i.std(), 1 / np.sqrt(40)) for i in x])
    np.testing.assert_allclose(transforms.standardize(jnp.asarray(images)), expected, atol=1e-5)


def reference(name, dataset, x):
    if name == "standardize":
        axes = (-3, -2, -1)
        return (x - x.mean(axes, keepdims=True)) / x.std(axes, keepdims=True)
    if name == "unit":
        return x / 255
    if name == "l2":
        return x / np.sqrt((x**2).sum((-3, -2, -1), keepdims=True))
    return (x / 255 - np.array(DATASETS[dataset].mean)) / np.array(DATASETS[dataset].std)


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("name", PREPROCESSES)
def test_preprocessing(name, dataset):
    preprocess = transforms.get_preprocess(name, dataset)
    for shape in ((6, 5), (3, 6, 5), (2, 3, 6, 5)):  # Any number of leading axes.
        images = make_images(*shape, CHANNELS[dataset])
        found = preprocess(jnp.asarray(images))
        assert found.dtype == jnp.float32 and found.shape == images.shape
        expected = reference(name, dataset, images.astype(np.float64))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_black_images_stay_finite():
    black = jnp.zeros((2, 4, 4, 3), jnp.uint8)
    for name in ("standardize", "unit", "l2"):
        np.testing.assert_array_equal(transforms.get_preprocess(name, "cifar10")(black), black)


def test_means_and_deviations_are_those_of_the_training_images():
    spec, images = DATASETS["digits"], load("digits").train.images / 255
    assert (round(images.mean(), 4), round(images.std(), 4)) == (*spec.mean, *spec.std)
    for name, spec in DATASETS.items():
        assert len(spec.mean) == len(spec.std) == CHANNELS[name]


def window(image, place, flip):
    """The crop of one image at one place, by NumPy."""
    height, width, _ = image.shape
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
    crop = padded[place[0] : place[0] + height, place[1] : place[1] + width]
    return crop[:, ::-1] if flip else crop


def draws(key, size):
    """Where each example was cropped, and whether it was mirrored: looked up among all 162 ways.

    An image whose pixels are all different and not 0 tells them apart.
    """
    image = np.arange(1, 12 * 10 + 1, dtype=np.uint8).reshape(12, 10, 1)
    ways = [(y, x, flip) for y in range(9) for x in range(9) for flip in (False, True)]
    known = {window(image, way[:2], way[2]).tobytes(): way for way in ways}
    assert len(known) == 162
    crops = jax.jit(transforms.crop_flip)(key, jnp.asarray(np.stack([image] * size)))
    assert crops.dtype == jnp.uint8 and crops.shape == (size, 12, 10, 1)
    return np.array([known[crop.tobytes()] for crop in np.asarray(crops)])


def test_crops_and_flips_are_all_there_is_evenly_and_independently():
    found = draws(jax.random.key(0), 20_000)
    ways, counts = np.unique(found, axis=0, return_counts=True)
    assert len(ways) == 162
    # Chi-squared with 161 degrees of freedom: mean 161, deviation 18.
    expected = len(found) / 162
    assert 90 < ((counts - expected) ** 2 / expected).sum() < 250
    # Neighbours in a batch have nothing to do with each other.
    for column in (found - found.mean(0)).T:
        assert abs(np.corrcoef(column[1:], column[:-1])[0, 1]) < 0.03


def test_randomness_is_a_function_of_the_key():
    np.testing.assert_array_equal(draws(jax.random.key(1), 64), draws(jax.random.key(1), 64))
    assert (draws(jax.random.key(1), 64) != draws(jax.random.key(2), 64)).any()


def test_crop_flip_of_colour_images_is_one_window_of_each():
    images = make_images(16, 6, 5, 3)
    crops = np.asarray(transforms.crop_flip(jax.random.key(0), jnp.asarray(images)))
    ways = [((y, x), flip) for y in range(9) for x in range(9) for flip in (False, True)]
    for image, crop in zip(images, crops, strict=True):
        assert any(np.array_equal(crop, window(image, *way)) for way in ways)


@pytest.mark.parametrize("pad", ["black", "mean"])
@pytest.mark.parametrize("preprocess", ["standardize", "mean_std"])
def test_padding_is_black_before_or_the_mean_after(preprocess, pad):
    images, key = jnp.asarray(make_images(8, 6, 5, 3)), jax.random.key(5)
    to_float = transforms.get_preprocess(preprocess, "cifar10")
    expected = {
        "black": lambda: to_float(transforms.crop_flip(key, images)),
        "mean": lambda: transforms.crop_flip(key, to_float(images)),
    }
    prepare = transforms.make_prepare(preprocess, "crop_flip", "cifar10", pad=pad)
    found = np.asarray(jax.jit(prepare)(key, images))
    np.testing.assert_allclose(found, expected[pad](), rtol=1e-5, atol=1e-6)
    assert (found == 0).any() == (pad == "mean")  # The borders.


@pytest.mark.parametrize(("augment", "key"), [("none", 5), ("crop_flip", None)])
def test_evaluation_and_no_augmentation_leave_the_images_in_place(augment, key):
    images = jnp.asarray(make_images(8, 6, 5, 3))
    key = None if key is None else jax.random.key(key)
    prepare = transforms.make_prepare("unit", augment, "cifar10")
    np.testing.assert_array_equal(prepare(key, images), images / 255)


@pytest.mark.parametrize("pad", ["black", "mean"])
def test_many_seeds_at_once_are_each_alone(pad):
    prepare = jax.jit(transforms.make_prepare("standardize", "crop_flip", "cifar10", pad=pad))
    images = jnp.asarray(make_images(3, 8, 6, 5, 3))
    keys = jax.random.split(jax.random.key(0), 3)
    together = jax.jit(jax.vmap(prepare))(keys, images)
    for found, key, batch in zip(together, keys, images, strict=True):
        np.testing.assert_allclose(found, prepare(key, batch), rtol=1e-5, atol=1e-6)
    shared = jax.jit(jax.vmap(prepare, in_axes=(0, None)))(keys, images[0])
    np.testing.assert_allclose(shared[1], prepare(keys[1], images[0]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("standardise", "none", "mnist"), "unknown preprocessing 'standardise': did you mean"),
        (("unit", "flip_crop", "mnist"), "unknown augmentation 'flip_crop'"),
        (("unit", "none", "cifar1000"), "unknown data set 'cifar1000': did you mean 'cifar100'"),
        (("mean_std", "crop_flip", "cifar10", "white"), "unknown padding 'white': known: black"),
        (("unit", "crop_flip", "cifar10", "mean"), "pad='mean' needs .* or pad='black'"),
    ],
)
def test_unknown_names_are_one_line(arguments, message):
    *names, pad = arguments if len(arguments) == 4 else (*arguments, "black")
    with pytest.raises(UserError, match=message) as caught:
        transforms.make_prepare(*names, pad=pad)
    assert "\n" not in str(caught.value)
