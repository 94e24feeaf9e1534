"""Supermasks in JAX: networks that learn by keeping, hiding or inverting frozen random weights.

The functional API::

    method = supermask_jax.signed()
    trainable, frozen = method.init(key, params)
    logits = model.apply({"params": method.apply(trainable, frozen)}, image)

What needs only JAX is imported here; `SignedDense`, `SignedConv` (Flax), `run` and `load_config`
are imported when first used.
"""

from __future__ import annotations

import importlib
from typing import Any

from supermask_jax.core.estimators import straight_through as straight_through
from supermask_jax.core.masks import signed_mask as signed_mask
from supermask_jax.core.masks import signed_weights as signed_weights
from supermask_jax.core.stats import density as density
from supermask_jax.core.stats import layer_densities as layer_densities
from supermask_jax.core.stats import sign_flips as sign_flips
from supermask_jax.core.thresholds import absolute as absolute
from supermask_jax.core.thresholds import fraction_of_max as fraction_of_max
from supermask_jax.core.thresholds import top_fraction as top_fraction
from supermask_jax.errors import UserError as UserError
from supermask_jax.methods import METHODS as METHODS
from supermask_jax.methods import Method as Method
from supermask_jax.methods import bernoulli as bernoulli
from supermask_jax.methods import biprop as biprop
from supermask_jax.methods import dense as dense
from supermask_jax.methods import edge_popup as edge_popup
from supermask_jax.methods import multicoat as multicoat
from supermask_jax.methods import signed as signed
from supermask_jax.methods import signed_topk as signed_topk
from supermask_jax.methods import supermask as supermask

_LATE = {
    "SignedConv": "supermask_jax.modules",
    "SignedDense": "supermask_jax.modules",
    "load_config": "supermask_jax.config_files",
    "run": "supermask_jax.experiment",
    "sgdw": "supermask_jax.training.optimizers",
}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
