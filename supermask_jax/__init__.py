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

# Module -> what is imported from it.
_MODULES = {
    "config.files": "load_config",
    "core.estimators": "straight_through",
    "core.masks": "signed_mask signed_weights",
    "core.stats": "density layer_densities sign_flips",
    "core.superposition": "infer_task superpose",
    "core.thresholds": "absolute fraction_of_max top_fraction",
    "core.trees": "mask_kernels mask_named",
    "experiment": "run",
    "lottery.actions": "MASK0_ACTIONS MASK1_ACTIONS",
    "lottery.criteria": "CRITERIA",
    "lottery.levels": "next_level unpruned",
    "lottery.pruning": "prune prune_global prune_layers",
    "lottery.recipes": "Recipe",
    "methods": "METHODS Method bernoulli biprop continuous_sparsification dense edge_popup "
    "gaussian_gates gem_miner hard_concrete multicoat piggyback probmask restricted signed "
    "signed_continuous signed_gates signed_topk supermask",
    "methods.lottery": "lottery_ticket",
    "modules": "SignedConv SignedDense",
    "training.optimizers": "sgdw",
}
_LATE = {name: module for module, names in _MODULES.items() for name in names.split()}

__all__ = ["UserError", "__version__", *_LATE]


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(importlib.import_module(f"{__name__}.{_LATE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_LATE]
