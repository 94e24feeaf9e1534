"""Initialisers of frozen weights and of scores.

Each one has the signature of `jax.nn.initializers`: ``(key, shape, dtype=float32) -> array``, so it
serves as `kernel_init` of any Flax module. Shapes end in (fan-in channels, fan-out channels): dense
[in, out], convolution [height, width, in, out].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from supermask_jax.errors import make, unknown_name

Array = jax.Array
Initializer = Callable[..., Array]


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """Returns (fan-in, fan-out) of a dense [in, out] or convolution [..., in, out] kernel shape.

    Raises:
      ValueError: the shape has fewer than two axes, or an empty one.

    >>> fans((784, 300)), fans((3, 3, 64, 128))
    ((784, 300), (576, 1152))
    """
    if len(shape) < 2:
        raise ValueError(f"a kernel shape needs at least 2 axes, got {tuple(shape)}")
    if 0 in shape:
        raise ValueError(f"a layer of shape {tuple(shape)} holds no weight")
    receptive = math.prod(shape[:-2])
    return shape[-2] * receptive, shape[-1] * receptive


# Variance of a weight by scale name. ELU: 1.5 / fan_in preserves variance through ELU networks
# (Koster et al., 2022, sec. 3.1). "ELUS" (scaled ELU) has two definitions in the originals, named
# here by the constant each gives a signed-constant weight.
SCALES: dict[str, Callable[[int, int], float]] = {
    "he": lambda fan_in, fan_out: 2 / fan_in,
    "he_fan_out": lambda fan_in, fan_out: 2 / fan_out,
    "xavier": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "elu": lambda fan_in, fan_out: 1.5 / fan_in,
    "elus_sqrt3": lambda fan_in, fan_out: 3 / fan_in,
    "elus_sqrt6": lambda fan_in, fan_out: 6 / fan_in,
    "unit": lambda fan_in, fan_out: 1.0,
}


# Standard deviation of N(0, 1) cut at -2 and 2.
_CUT_STD = 0.87962566103423978


def _of(scale: str, gain: float, draw: Callable[..., Array]) -> Initializer:
    """Builds an initialiser of draw(key, shape, dtype, std); what is impossible fails here."""
    if scale not in SCALES:
        raise unknown_name("scale", scale, SCALES)
    if not math.isfinite(gain):
        raise ValueError(f"gain must be finite, got {gain}")

    def init(key: Array, shape: Sequence[int], dtype: jnp.dtype = jnp.float32) -> Array:
        std = gain * math.sqrt(SCALES[scale](*fans(shape)))
        return draw(key, tuple(shape), dtype, std)

    return init


def uniform(scale: str = "he", gain: float = 1.0) -> Initializer:
    """U(-b, b) with the standard deviation of `scale`: b = sqrt(3) * std.

    Args:
      scale: a name in `SCALES`.
      gain: multiplies the bound.

    >>> drawn = uniform("he")(jax.random.key(0), (200, 50))
    >>> bool(abs(drawn).max() <= (3 * 2 / 200) ** 0.5)
    True
    """

    def draw(key: Array, shape: tuple[int, ...], dtype: jnp.dtype, std: float) -> Array:
        bound = math.sqrt(3) * std
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return _of(scale, gain, draw)


def normal(scale: str = "he", gain: float = 1.0) -> Initializer:
    """N(0, std^2), not truncated, with the standard deviation of `scale` times `gain`.

    >>> round(float(normal("unit", 0.1)(jax.random.key(0), (200, 50)).std()), 2)
    0.1
    """

    def draw(key: Array, shape: tuple[int, ...], dtype: jnp.dtype, std: float) -> Array:
        return std * jax.random.normal(key, shape, dtype)

    return _of(scale, gain, draw)


def truncated_normal(scale: str = "he", gain: float = 1.0) -> Initializer:
    """A normal distribution cut at twice its own deviation, of the standard deviation of `scale`.

    Keras's ``glorot_normal`` is ``truncated_normal("xavier")``.

    >>> drawn = truncated_normal("unit")(jax.random.key(0), (200, 50))
    >>> round(float(drawn.std()), 1), bool(abs(drawn).max() < 2.3)
    (1.0, True)
    """

    def draw(key: Array, shape: tuple[int, ...], dtype: jnp.dtype, std: float) -> Array:
        return std / _CUT_STD * jax.random.truncated_normal(key, -2, 2, shape, dtype)

    return _of(scale, gain, draw)


def constant(scale: str = "he", gain: float = 1.0) -> Initializer:
    """Every entry +c, c = the standard deviation of `scale` times `gain`.

    >>> constant("unit", 0.01)(jax.random.key(0), (1, 2)).tolist()
    [[0.009999999776482582, 0.009999999776482582]]
    """
    return _of(scale, gain, lambda key, shape, dtype, std: jnp.full(shape, std, dtype))


def signed_constant(scale: str = "he", gain: float = 1.0) -> Initializer:
    """Every entry +c or -c with equal chance, c = the standard deviation of `scale` times `gain`.

    Reference: Zhou et al., 2019, sec. 5 ("signed constants"); Koster et al., 2022, sec. 3.1.

    >>> np.unique(signed_constant("he")(jax.random.key(0), (8, 50))).tolist()
    [-0.5, 0.5]
    """

    def draw(key: Array, shape: tuple[int, ...], dtype: jnp.dtype, std: float) -> Array:
        # `jax.random.rademacher` draws other signs under JAX_ENABLE_X64.
        positive = jax.random.bernoulli(key, jnp.float32(0.5), shape)
        return std * (2 * positive.astype(dtype) - 1)

    return _of(scale, gain, draw)


def scaled_fan_gain(density: float, version: str = "paper") -> float:
    """Returns the gain that makes up for hidden weights in edge-popup's "scaled" initialisers.

    Args:
      density: kept fraction, in (0, 1).
      version: "paper" for 1 / sqrt(density); "code" for 1 / sqrt(1 - density), what the released
        code computes. They agree at 1/2 only.

    Reference: Ramanujan et al., 2020, sec. 4.2.

    >>> scaled_fan_gain(0.25), round(scaled_fan_gain(0.25, "code"), 3)
    (2.0, 1.155)
    """
    if not 0 < density < 1:
        raise ValueError(f"density must be in (0, 1), got {density}")
    kept = {"paper": density, "code": 1 - density}
    if version not in kept:
        raise unknown_name("version of scaled fans", version, kept)
    return kept[version] ** -0.5


INITIALIZERS: dict[str, Callable[..., Initializer]] = {
    "uniform": uniform,
    "normal": normal,
    "truncated_normal": truncated_normal,
    "constant": constant,
    "signed_constant": signed_constant,
}


def get(distribution: str, **options: object) -> Initializer:
    """Returns an initialiser by the name of its distribution.

    Raises:
      UserError: the name or an option is unknown.

    >>> get("normal", scale="xavier")(jax.random.key(0), (3, 4)).shape
    (3, 4)
    """
    return make("initializer", INITIALIZERS, distribution, **options)


def named(initializer: Initializer | str) -> Initializer:
    """Returns an initialiser, or the one of a name: its scale, then its distribution.

    Args:
      initializer: it, or for example "xavier_uniform", "he_normal", "unit_signed_constant".

    Raises:
      UserError: there is none of that name.

    >>> named("xavier_uniform")(jax.random.key(0), (3, 4)).shape
    (3, 4)
    """
    if not isinstance(initializer, str):
        return initializer
    for distribution in sorted(INITIALIZERS, key=len, reverse=True):
        scale = initializer.removesuffix(f"_{distribution}")
        if scale in SCALES and scale != initializer:
            return INITIALIZERS[distribution](scale)
    names = [f"{scale}_{distribution}" for scale in SCALES for distribution in INITIALIZERS]
    raise unknown_name("initializer", initializer, names)
