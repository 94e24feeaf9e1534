"""What happens to a batch on its way to the model: preprocessing and augmentation, on the device.

`make_prepare` joins both to one pure function of (key, uint8 images). Without a key it does no
augmentation: that is evaluation.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from supermask_jax.data import preprocess
from supermask_jax.data.crops import resized_crop_flip, resized_crop_flip_color
from supermask_jax.data.preprocess import PREPROCESSES
from supermask_jax.data.specs import DATASETS, Spec
from supermask_jax.errors import UserError, unknown_name

Array = jax.Array
Preprocess = Callable[[Array], Array]  # uint8 [..., H, W, C] -> float32, same shape
Augment = Callable[[Array, Array], Array]  # (key, [B, H, W, C]) -> same shape and dtype
Prepare = Callable[[Array | None, Array], Array]  # (key, uint8 [B, H, W, C]) -> float32

PADDING = 4  # pixels on every side


def standardize(images: Array) -> Array:
    """Standardises each image over all its values: see `preprocess.standardize`.

    Args:
      images: integers [..., H, W, C] from 0 to 255; a UserError for other types.
    """
    return preprocess.standardize(_floats(images), jnp)


def _floats(images: Array) -> Array:
    """Returns images of integers as float32; a UserError for others, which are no bytes."""
    if not jnp.issubdtype(images.dtype, jnp.integer):
        raise UserError(f"images are {images.dtype}: give integers from 0 to 255, as uint8")
    return images.astype(jnp.float32)


def get_preprocess(name: str, dataset: str | Spec) -> Preprocess:
    """Returns a preprocessing by name, for a data set: a key of `DATASETS`, or its `Spec`.

    "standardize" (each image by its own mean and deviation), "unit" (to [0, 1]), "mean_std" (each
    channel by its mean and deviation over the training images) or "l2" (each image by its norm).

    Raises:
      UserError: either name is unknown; or, where it is called, images are no integers.
    """
    if name not in PREPROCESSES:
        raise unknown_name("preprocessing", name, PREPROCESSES)
    if not isinstance(dataset, Spec) and dataset not in DATASETS:
        raise unknown_name("data set", dataset, DATASETS)
    spec = dataset if isinstance(dataset, Spec) else DATASETS[dataset]
    options = {"mean": spec.mean, "std": spec.std} if name == "mean_std" else {}
    return lambda images: PREPROCESSES[name](_floats(images), jnp, **options)


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


AUGMENTS: dict[str, Augment | None] = {
    "none": None,
    "crop_flip": crop_flip,
    "resized_crop_flip": resized_crop_flip,
    "resized_crop_flip_color": resized_crop_flip_color,
}


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
    to_float = get_preprocess(preprocess, dataset)
    if augment not in AUGMENTS:
        raise unknown_name("augmentation", augment, AUGMENTS)
    transform = AUGMENTS[augment]
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
