"""Methods: which leaves train, which are frozen, and how both make the parameters of the model."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from typing import Any

from supermask_jax.core import initializers, thresholds, trees
from supermask_jax.errors import UserError, make, one_line, unknown_name
from supermask_jax.methods import topk
from supermask_jax.methods.base import Method as Method
from supermask_jax.methods.base import supermask as supermask
from supermask_jax.methods.bernoulli import bernoulli as bernoulli
from supermask_jax.methods.biprop import biprop as biprop
from supermask_jax.methods.continuous_sparsification import (
    continuous_sparsification as continuous_sparsification,
)
from supermask_jax.methods.dense import dense as dense
from supermask_jax.methods.edge_popup import edge_popup as edge_popup
from supermask_jax.methods.gaussian_gates import gaussian_gates as gaussian_gates
from supermask_jax.methods.gem_miner import gem_miner as gem_miner
from supermask_jax.methods.hard_concrete import hard_concrete as hard_concrete
from supermask_jax.methods.multicoat import multicoat as multicoat
from supermask_jax.methods.piggyback import piggyback as piggyback
from supermask_jax.methods.probmask import probmask as probmask
from supermask_jax.methods.restricted import SOURCES as SOURCES
from supermask_jax.methods.restricted import restricted as restricted
from supermask_jax.methods.restricted import source_densities as source_densities
from supermask_jax.methods.signed import signed as signed
from supermask_jax.methods.signed_continuous import signed_continuous as signed_continuous
from supermask_jax.methods.signed_gates import signed_gates as signed_gates
from supermask_jax.methods.signed_topk import signed_topk as signed_topk

METHODS: dict[str, Callable[..., Method]] = {
    "bernoulli": bernoulli,
    "biprop": biprop,
    "continuous_sparsification": continuous_sparsification,
    "dense": dense,
    "edge_popup": edge_popup,
    "gaussian_gates": gaussian_gates,
    "gem_miner": gem_miner,
    "hard_concrete": hard_concrete,
    "multicoat": multicoat,
    "piggyback": piggyback,
    "probmask": probmask,
    "signed": signed,
    "signed_continuous": signed_continuous,
    "signed_gates": signed_gates,
    "signed_topk": signed_topk,
}


# Options that are functions, and by what they are named in a config: see `get`.
_FUNCTIONS: dict[str, tuple[Callable[..., Any], str]] = {
    "score_init": (initializers.get, "distribution"),
    "threshold": (thresholds.get, "rule"),
}


def get(name: str, **options: Any) -> Method:
    """Returns a method by name.

    Args:
      name: in `METHODS`.
      **options: of the method; for one that is a function also the entries that a config has, such
        as ``threshold={"rule": "absolute", "value": 0.01}``.

    Raises:
      UserError: the name or an option is unknown.

    >>> method = get("signed", threshold={"rule": "absolute", "value": 0.01})
    >>> method.eval_samples
    0
    """
    made = {option: _made(option, value) for option, value in options.items()}
    return make("method", METHODS, name, **made)


def of_config(
    method: Mapping[str, Any], source: Mapping[str, Any], layers: Mapping[str, str] | None = None
) -> Method:
    """Returns the method of a config on its source, whose densities count all masked weights.

    Args:
      method: the section ``config.method``: see `get`.
      source: the section ``config.source``: see `restricted`.
      layers: the section ``config.layers``: see `core.trees.label_patterns`.

    Raises:
      UserError: as `get`, or the source or the layers do not suit the method; in ``init``, the
        layers do not suit the network.
    """
    options, lock = dict(method), source["lock"]
    if lock and "densities" in options:
        raise UserError(f"method {options['name']} counts coats: leave out config.source.lock")
    if lock and topk.pattern(options.get("scope", "layer")):
        raise UserError("locked weights break a pattern N:M: leave out config.source.lock")
    if lock and options.get("density"):
        if options["density"] < lock:
            raise UserError(
                f"config.method.density {options['density']} counts locked weights too, and is "
                f"less than config.source.lock {lock}"
            )
        options["density"] -= lock
    try:
        return restricted(_of_layers(options, dict(layers or {})), **source)
    except ValueError as error:
        raise UserError(f"config.source: {error}") from error


def _of_layers(options: dict[str, Any], layers: dict[str, str]) -> Method:
    if not layers:
        return get(**options)
    method = get(**options, label_fn=trees.label_patterns(layers))
    if options["name"] == "dense" and "masked" in layers.values():
        raise UserError("config.layers: the method dense masks no layer")

    def init(key: Any, params: Any) -> tuple[Any, Any]:
        names = list(trees.named_leaves(params))
        for pattern in layers:
            if not fnmatch.filter(names, pattern):
                raise unknown_name("name in config.layers", pattern, names)
        try:
            return method.init(key, params)
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"config.layers: {error}") from error

    return method._replace(init=init)


def _made(option: str, value: Any) -> Any:
    if option not in _FUNCTIONS or callable(value) or isinstance(value, thresholds.ThresholdRule):
        return value
    factory, key = _FUNCTIONS[option]
    named = value.get(key) if hasattr(value, "get") else None
    if not isinstance(named, str):
        raise UserError(f"config.method.{option} must say its {key}, got {one_line(str(value))}")
    return factory(**value)
