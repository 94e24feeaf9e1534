"""How steps are dispatched and compiled."""

import jax
import jax.numpy as jnp
import pytest
from helpers import tiny_config

from supermask_jax.experiment import build
from supermask_jax.training import xla_cpu


def steps(**overrides):
    return build(tiny_config(**{"data.name": "cifar10", "model.width": 0.5, **overrides})).plan


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"model.name": "fcn"}, None),  # the epoch
        ({"model.name": "conv2"}, 8),
        ({"model.name": "conv2", "convolution": "products"}, 8),
        ({"model.name": "conv2", "convolution": "xla"}, 1),
        ({"model.name": "conv2", "model.width": 0.1}, 8),
        ({"model.name": "resnet20"}, 8),
        ({"model.name": "resnet20", "convolution": "xla"}, 1),
        ({"model.name": "conv2", "data.subset": 3 * 128}, 3),  # no more than an epoch
        ({"model.name": "conv2", "steps_per_call": 5}, 5),
    ],
)
def test_steps_in_a_dispatch_on_cpu(overrides, expected):
    plan = steps(**{"data.subset": 0, "batch_size": 128, "protocol": "paper", **overrides})
    assert plan.steps_per_call == (expected or plan.steps_per_epoch)


def test_steps_in_a_dispatch_elsewhere(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    plan = steps(**{"model.name": "conv2", "convolution": "xla"})
    assert plan.steps_per_call == plan.steps_per_epoch


def test_memory_is_freed_between_a_long_compilation_and_the_call(monkeypatch):
    events = []
    xla_cpu.free_after_compiling()  # Once, however often it is asked for.
    xla_cpu.free_after_compiling()
    monkeypatch.setattr(xla_cpu, "_LONG_S", 0)
    monkeypatch.setattr(xla_cpu, "_give_back_freed", lambda: events.append("freed"))
    x = jax.block_until_ready(jnp.ones(3))
    events.clear()
    double = jax.jit(lambda x: jax.pure_callback(lambda x: events.append("ran") or 2 * x, x, x))
    for _ in range(2):
        jax.block_until_ready(double(x))
    assert events == ["freed", "ran", "ran"]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    jax.jit(lambda x: x + 1).lower(x).compile()
    assert len(events) == 3


@pytest.mark.parametrize("error", [AttributeError, OSError])
def test_other_c_libraries_are_let_be(monkeypatch, error):
    def absent(name):
        raise error("no such library or function")

    monkeypatch.setattr(xla_cpu.ctypes, "CDLL", absent)
    xla_cpu._give_back_freed()
