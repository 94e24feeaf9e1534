"""How steps are dispatched and compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import tiny_config

from supermask_jax.experiment import build, load_data, split_data
from supermask_jax.training import xla_cpu
from supermask_jax.training.evaluate import make_evaluate
from supermask_jax.training.plateau import plateau
from supermask_jax.training.state import TrainState, blemish


def steps(**overrides):
    return build(tiny_config(**{"data.name": "cifar10", "model.width": 0.5, **overrides})).plan


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"model.name": "fcn"}, None),  # the epoch
        ({"model.name": "conv2"}, 8),
        ({"model.name": "conv2", "convolution": "xla"}, 1),
        ({"model.name": "resnet20", "convolution": "xla"}, 1),
        ({"model.name": "conv2", "data.subset": 3 * 128}, 3),  # no more than an epoch
        ({"model.name": "conv2", "steps_per_call": 5}, 5),
    ],
)
def test_steps_in_a_dispatch_on_cpu(overrides, expected):
    plan = steps(**{"data.subset": 0, "batch_size": 128, "protocol": "paper", **overrides})
    assert plan.steps_per_call == (expected or plan.steps_per_epoch)


@pytest.mark.parametrize(
    ("rows", "most", "devices", "parts"),
    [
        (500, 128, 1, 4),
        (500, 500, 1, 1),
        (504, 128, 8, 7),  # 72 rows, 9 a device; 4 would leave 126, and 6 would leave 84
        (8, 4, 8, 1),  # no smaller part gives each device a row
        (7, 3, 1, 7),
    ],
)
def test_parts_of_an_evaluated_batch(rows, most, devices, parts):
    def whole_rows(size):
        return -(-size // devices) * devices

    assert xla_cpu.parts_of_rows(rows, most, whole_rows) == parts


def test_an_evaluated_batch_goes_in_parts_and_measures_the_same():
    config = tiny_config(**{"eval_batch_size": 300, "batch_size": 64})
    trainer, rows = build(config), []

    def apply_fn(params, batch_stats, image, *, train, mask=None, key=None):
        rows.append(len(image))
        return trainer.apply_fn(params, batch_stats, image, train=train, mask=mask)

    val = split_data(load_data(config), config, trainer.layout).val
    state, frozen = trainer.start()
    (found,) = make_evaluate(trainer._replace(apply_fn=apply_fn))(state, frozen, val, "val")
    assert set(rows) == {100}  # The 143 images held out make one batch of 300, filled up.
    (trained, kept), *_ = trainer.layout.seeds_of((state.trainable, frozen))
    params = trainer.method.apply(trained, kept)
    logits, _ = trainer.apply_fn(params, {}, trainer.prepare(None, val.images), train=False)
    right = np.argmax(logits, -1) == val.labels
    assert found["val_accuracy"] == pytest.approx(np.mean(right))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", ["trainable", "batch_stats", "opt_state"])
def test_any_entry_of_the_state_that_is_not_finite_is_a_blemish(field, bad):
    tx = plateau(lambda factor: optax.sgd(0.1, momentum=0.9), steps_per_epoch=2)
    params = {"scores": jnp.full((2, 3), 3e38)}  # Their sum overflows; they are finite.
    state = TrainState(
        jnp.int32(0), jax.random.key(0), params, {"mean": jnp.ones(3)}, tx.init(params), {}
    )
    assert jax.jit(blemish)(state) == 0  # A plateau knows no loss yet: infinity is no blemish.
    spoil = lambda x: x.at[-1].set(bad) if x.ndim and jnp.all(jnp.isfinite(x)) else x  # noqa: E731
    spoiled = state.replace(**{field: jax.tree.map(spoil, getattr(state, field))})
    assert jnp.isnan(jax.jit(blemish)(spoiled))


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
    same = jax.jit(
        lambda x: jax.pure_callback(lambda x: events.append("ran") or np.asarray(x), x, x)
    )
    for _ in range(2):
        jax.block_until_ready(same(x))
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


@pytest.mark.parametrize(
    ("backend", "less", "level"), [("cpu", False, 1), ("cpu", True, None), ("gpu", False, None)]
)
def test_programs_compile_at_the_first_level_unless_less_is_asked_for(
    monkeypatch, backend, less, level
):
    monkeypatch.setattr(jax, "jit", lambda function, **options: options)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(jax.config, "read", {"jax_disable_most_optimizations": less}.get)
    found = xla_cpu.quick_jit(lambda x: x, donate_argnums=0)
    wanted = None if level is None else {"xla_backend_optimization_level": level}
    assert found == {"compiler_options": wanted, "donate_argnums": 0}
