"""Supermasks in JAX: networks that learn by keeping, hiding or inverting frozen random weights.

The functional API::

    method = supermask_jax.signed()
    trainable, frozen = method.init(key, params)
    logits = model.apply({"params": method.apply(trainable, frozen)}, image)

Every name is imported when it is first used: `supermask_jax.tickets` works without JAX.
"""

from __future__ import annotations

import importlib
from typing import Any

from supermask_jax.errors import UserError as UserError

__version__ = "0.1.0"

_LATE = {
    "MASK0_ACTIONS": "lottery.actions",
    "MASK1_ACTIONS": "lottery.actions",
    "CRITERIA": "lottery.criteria",
    "straight_through": "core.estimators",
    "next_level": "lottery.levels",
    "unpruned": "lottery.levels",
    "infer_task": "core.superposition",
    "superpose": "core.superposition",
    "signed_mask": "core.masks",
    "signed_weights": "core.masks",
    "prune": "lottery.pruning",
    "prune_global": "lottery.pruning",
    "prune_layers": "lottery.pruning",
    "Recipe": "lottery.recipes",
    "density": "core.stats",
    "layer_densities": "core.stats",
    "sign_flips": "core.stats",
    "absolute": "core.thresholds",
    "fraction_of_max": "core.thresholds",
    "top_fraction": "core.thresholds",
    "mask_kernels": "core.trees",
    "mask_named": "core.trees",
    "METHODS": "methods",
    "Method": "methods",
    "bernoulli": "methods",
    "biprop": "methods",
    "continuous_sparsification": "methods",
    "dense": "methods",
    "edge_popup": "methods",
    "gaussian_gates": "methods",
    "gem_miner": "methods",
    "hard_concrete": "methods",
    "multicoat": "methods",
    "piggyback": "methods",
    "probmask": "methods",
    "restricted": "methods",
    "signed": "methods",
    "signed_continuous": "methods",
    "signed_gates": "methods",
    "signed_topk": "methods",
    "supermask": "methods",
    "lottery_ticket": "methods.lottery",
    "SignedConv": "modules",
    "SignedDense": "modules",
    "load_config": "config.files",
    "run": "experiment",
    "sgdw": "training.optimizers",
}

__all__ = ["UserError", "__version__", *_LATE]


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(importlib.import_module(f"{__name__}.{_LATE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_LATE]
