"""What happens to a batch on its way to the model: preprocessing and augmentation, on the device.

`make_prepare` joins both to one pure function of (key, uint8 images). Without a key it does no
augmentation: that is evaluation.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from supermask_jax.data.specs import DATASETS, Spec
from supermask_jax.errors import UserError, unknown_name

Array = jax.Array
Preprocess = Callable[[Array], Array]  # uint8 [..., H, W, C] -> float32, same shape
Augment = Callable[[Array, Array], Array]  # (key, [B, H, W, C]) -> same shape and dtype
Prepare = Callable[[Array | None, Array], Array]  # (key, uint8 [B, H, W, C]) -> float32

PADDING = 4  # pixels on every side

_IMAGE = (-3, -2, -1)  # the axes of one image


def _floats(images: Array) -> Array:
    """Returns images of integers as float32; a UserError for others, which are no bytes."""
    if not jnp.issubdtype(images.dtype, jnp.integer):
        raise UserError(f"images are {images.dtype}: give integers from 0 to 255, as uint8")
    return images.astype(jnp.float32)


def standardize(images: Array) -> Array:
    r"""Standardises each image over all its values: float32, shape of `images` [..., H, W, C].

    .. math:: x' = \frac{x - \bar x}{\max(\text{std}(x),\ 1 / \sqrt{N})}, \qquad N = H W C

    with the population standard deviation, as `tf.image.per_image_standardization` defines it on
    values in 0 ... 255 (signed supermasks).
    """
    x = _floats(images)
    count = x.shape[-1] * x.shape[-2] * x.shape[-3]
    centred = x - jnp.mean(x, _IMAGE, keepdims=True)
    std = jnp.sqrt(jnp.mean(jnp.square(centred), _IMAGE, keepdims=True))
    return centred / jnp.maximum(std, count**-0.5)


def unit(images: Array) -> Array:
    """Divides by 255: float32 in [0, 1], shape of `images` (Zhou et al., 2019)."""
    return _floats(images) / 255


def l2(images: Array) -> Array:
    """Divides each image by the L2 norm of all its values; a black one stays 0.

    float32, shape of `images` [..., H, W, C] (Frankle and Carbin's MNIST code).
    """
    x = _floats(images)
    norm = jnp.sqrt(jnp.sum(jnp.square(x), _IMAGE, keepdims=True))
    return x / jnp.where(norm == 0, 1, norm)


def _mean_std(spec: Spec) -> Preprocess:
    """Returns ``(x / 255 - mean) / std`` with a mean and a deviation for each channel."""

    def mean_std(images: Array) -> Array:
        per_channel = (1,) * (images.ndim - 1) + (-1,)
        mean = jnp.array(spec.mean, jnp.float32).reshape(per_channel)
        std = jnp.array(spec.std, jnp.float32).reshape(per_channel)
        return (unit(images) - mean) / std

    return mean_std


PREPROCESSES: dict[str, Callable[[Spec], Preprocess]] = {
    "standardize": lambda spec: standardize,
    "unit": lambda spec: unit,
    "mean_std": _mean_std,
    "l2": lambda spec: l2,
}


def get_preprocess(name: str, dataset: str | Spec) -> Preprocess:
    """Returns a preprocessing by name, for a data set: a key of `DATASETS`, or its `Spec`.

    "standardize" (each image by its own mean and deviation), "unit" (to [0, 1]), "mean_std" (each
    channel by its mean and deviation over the training images) or "l2" (each image by its norm).

    Raises:
      UserError: either name is unknown.
    """
    if name not in PREPROCESSES:
        raise unknown_name("preprocessing", name, PREPROCESSES)
    if isinstance(dataset, Spec):
        return PREPROCESSES[name](dataset)
    if dataset not in DATASETS:
        raise unknown_name("data set", dataset, DATASETS)
    return PREPROCESSES[name](DATASETS[dataset])


def crop_flip(key: Array, images: Array) -> Array:
    """Pads with 0, crops back at a random place, and mirrors left to right half of the time.

    Each example draws its own place, one of ``(2 * PADDING + 1) ** 2``, and its own mirroring.

    Args:
      key: typed PRNG key [].
      images: [B, H, W, C], any dtype.

    Returns:
      Shape and dtype of `images`.
    """
    shape = images.shape[1:]
    place_key, flip_key = jax.random.split(key)
    places = jax.random.randint(place_key, (len(images), 2), 0, 2 * PADDING + 1, jnp.int32)
    flips = jax.random.bernoulli(flip_key, jnp.float32(0.5), (len(images), 1, 1, 1))
    sides = (PADDING, PADDING)
    padded = jnp.pad(images, ((0, 0), sides, sides, (0, 0)))
    # On CPU faster than advanced indexing, a one-hot product or a choice among shifted copies.
    crop = jax.vmap(lambda image, place: lax.dynamic_slice(image, (*place, jnp.int32(0)), shape))
    cropped = crop(padded, places)
    return jnp.where(flips, cropped[:, :, ::-1], cropped)


AUGMENTS: dict[str, Augment | None] = {"none": None, "crop_flip": crop_flip}


def get_augment(name: str) -> Augment | None:
    """Returns an augmentation by name; None for "none".

    Raises:
      UserError: the name is unknown.
    """
    if name not in AUGMENTS:
        raise unknown_name("augmentation", name, AUGMENTS)
    return AUGMENTS[name]


def make_prepare(
    preprocess: str, augment: str, dataset: str | Spec, *, pad: str = "black"
) -> Prepare:
    """Builds ``prepare(key, images) -> float32 [B, H, W, C]`` of uint8 images [B, H, W, C].

    Args:
      preprocess: a key of `PREPROCESSES`.
      augment: a key of `AUGMENTS`; not done where `key` is None.
      dataset: a key of `DATASETS`, or its `Spec`.
      pad: what an augmentation pads with. "black" pads the uint8 images and preprocesses what comes
        out, as PyTorch codes do (Ramanujan et al., 2020); "mean" pads with 0 after preprocessing,
        as the signed supermask's CIFAR-100 code does, where 0 is the mean of the image
        ("standardize") or of the data ("mean_std").

    Raises:
      UserError: a name is unknown, or 0 is no mean after this preprocessing.
    """
    to_float, transform = get_preprocess(preprocess, dataset), get_augment(augment)
    if pad not in ("black", "mean"):
        raise unknown_name("padding", pad, ("black", "mean"))
    if pad == "mean" and transform is not None and preprocess not in ("standardize", "mean_std"):
        raise UserError(
            f"pad='mean' needs images with mean 0, and preprocess={preprocess!r} makes none: "
            "choose 'standardize' or 'mean_std', or pad='black'"
        )

    def prepare(key: Array | None, images: Array) -> Array:
        if key is None or transform is None:
            return to_float(images)
        if pad == "black":
            return to_float(transform(key, images))
        return transform(key, to_float(images))

    return prepare
