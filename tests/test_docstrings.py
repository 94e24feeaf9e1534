"""The examples in the docstrings of the functional API run, and every public function has one."""

import doctest
import importlib
import inspect
import pkgutil
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import supermask_jax
from supermask_jax import tickets

NAMES = {"jax": jax, "jnp": jnp, "np": np, "sm": supermask_jax, "tickets": tickets}
NAMES |= {"tempfile": tempfile}

# What has no example: configs' sections, code that runs inside a network alone, and parts of it.
WITHOUT = {
    "supermask_jax.core.masks.no_gradient",
    "supermask_jax.core.order.kth_largest_key",
    "supermask_jax.core.trees.path_name",
    "supermask_jax.methods.of_config",
    "supermask_jax.methods.gates.relaxed",
    "supermask_jax.tickets.hub.push_to_hub",  # It needs an account.
}
# Their functions are called by networks and by the trainer.
INNER = ("models.canonical", "models.convolution", "models.im2col", "models.pieces")
INNER += ("models.winograd", "lottery.experiment", "lottery.levels", "lottery.recipes")
INNER += ("lottery.table", "lottery.trainer", "lottery.criteria", "lottery.actions")


def modules():
    for package in ("core", "methods", "models", "lottery", "modules", "tickets"):
        found = importlib.import_module(f"supermask_jax.{package}")
        yield found.__name__
        for part in pkgutil.iter_modules(getattr(found, "__path__", [])):
            yield f"{found.__name__}.{part.name}"


@pytest.mark.parametrize("name", list(modules()))
def test_examples(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs=NAMES, report=True)
    assert not result.failed
    if name.removeprefix("supermask_jax.") in INNER:
        return
    functions = inspect.getmembers(module, inspect.isfunction)
    own = {f for f, found in functions if found.__module__ == name and f[0] != "_"}
    if ".tickets." in name:  # The others serve those that the package gives.
        own = {f for f in own if getattr(tickets, f, None) is getattr(module, f)}
    bare = {f"{name}.{f}" for f in own if ">>>" not in (getattr(module, f).__doc__ or "")}
    assert bare <= WITHOUT
