"""Plain Flax networks; they know nothing of masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn

from supermask_jax.errors import unknown_name
from supermask_jax.models.conv import Conv2 as Conv2
from supermask_jax.models.conv import Conv4 as Conv4
from supermask_jax.models.conv import Conv6 as Conv6
from supermask_jax.models.conv import Conv8 as Conv8
from supermask_jax.models.conv import ConvNet as ConvNet
from supermask_jax.models.fcn import FCN as FCN
from supermask_jax.models.layers import ACTIVATIONS as ACTIVATIONS
from supermask_jax.models.layers import NORMS as NORMS
from supermask_jax.registry import make

MODELS: dict[str, Callable[..., nn.Module]] = {
    "fcn": FCN,
    "conv2": Conv2,
    "conv4": Conv4,
    "conv6": Conv6,
    "conv8": Conv8,
}


def get(name: str, *, activation: str = "elu", norm: str = "none", **options: Any) -> nn.Module:
    """Returns a model by name; `activation` and `norm` are names in `models.layers`.

    Raises:
      UserError: a name or an option is unknown.
    """
    if norm not in NORMS:
        raise unknown_name("norm", norm, NORMS)
    if activation not in ACTIVATIONS:
        raise unknown_name("activation", activation, ACTIVATIONS)
    return make("model", MODELS, name, activation=ACTIVATIONS[activation], norm=norm, **options)
