"""Microbatches: what one batch gives, in the memory of a part of it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_trees_close, interrupted_run, tiny_config
from method_helpers import METHODS_UNDER_TEST, apply_fn, batch, params, trainer_of

from supermask_jax import experiment, methods
from supermask_jax.commands.dry_run import describe
from supermask_jax.config import default_config
from supermask_jax.config.files import default_identity, identity
from supermask_jax.core.trees import mask_named
from supermask_jax.errors import UserError
from supermask_jax.methods.lottery import lottery_ticket
from supermask_jax.training.loop import make_train_step, make_train_steps
from supermask_jax.training.memory import plan_step
from supermask_jax.training.sharding import choose_layout
from supermask_jax.training.workdir import Workdir, config_difference

PRUNED = {"first/kernel": (np.arange(48).reshape(6, 8) % 3 > 0).astype(np.int8)}
# One row a method, and what acts after the step, or between the mask and the weights.
ROWS = (*methods.METHODS, "signed_density", "bernoulli_rescaled")
METHODS = {name: METHODS_UNDER_TEST[name].make for name in ROWS}
METHODS["lottery"] = lambda: lottery_ticket(PRUNED, {"first/kernel": np.full((6, 8), 0.1)})

# Of steps; the last two of 16 rows are padding.
BATCHES = jax.tree.map(lambda *rows: np.stack(rows), *(batch(i) for i in range(4)))
SMALL = {"batch_size": 16}
CONV = {"model.name": "conv2", "model.width": 0.1, "batch_size": 16}
NORM = {**SMALL, "model.norm": "all", "model.norm_affine": True}


def trained(method, counts=(4, 1), init=params, apply_fn=apply_fn):
    """What some steps of plain descent leave, which shows a wrong gradient in full.

    One tree for each of the numbers of microbatches in `counts`.
    """
    tx = optax.sgd(0.1)

    @jax.jit
    def all_steps(key):
        found = []
        for count in counts:
            trainer = trainer_of(method, tx, count, init, apply_fn)
            first, frozen = trainer.create(key)
            step = make_train_step(trainer)
            turn = lambda state, batch, step=step, frozen=frozen: step(state, frozen, batch)  # noqa: E731
            state, losses = jax.lax.scan(turn, first, BATCHES)
            found.append({"trainable": state.trainable, "sums": state.sums, "losses": losses})
        return found

    return all_steps(jax.random.key(0))


@pytest.mark.parametrize("name", METHODS)
def test_microbatches_give_what_one_batch_does(name):
    found, expected = trained(METHODS[name]())
    assert_trees_close(found, expected, rtol=1e-4, atol=2e-6)


def test_one_mask_is_made_for_all_microbatches():
    method, calls = methods.bernoulli(), []
    counted = method._replace(apply=lambda *a, **k: calls.append(0) or method.apply(*a, **k))
    trained(counted, counts=(4,))
    assert len(calls) == 1


def test_frozen_leaves_need_no_gradient_and_may_be_integers():
    def init(key):
        return params(key) | {"shift": jnp.array([3, 1, 2])}

    def shifted(params, batch_stats, image, **options):
        logits, batch_stats = apply_fn(params, batch_stats, image, **options)
        return logits * params["shift"][None], batch_stats

    def rule(name, leaf):
        return "freeze" if name == "shift" else mask_named("kernel")(name, leaf)

    method = methods.signed(label_fn=rule)
    found, expected = trained(method, init=init, apply_fn=shifted)
    assert_trees_close(found, expected, rtol=1e-4, atol=2e-6)


def digits_batch(size, real):
    """A batch of which only the first rows are of weight 1."""
    rng = np.random.default_rng(0)
    return {
        "image": jnp.asarray(rng.normal(size=(size, 8, 8, 1)), jnp.float32),
        "label": jnp.asarray(rng.integers(0, 10, size), jnp.int32),
        "weight": jnp.asarray(np.arange(size) < real, jnp.float32),
    }


def after_step(data, **entries):
    """(job, first state, frozen, state after a step, loss)."""
    job = experiment.build(tiny_config(**entries))
    state, frozen = job.create(jax.random.key(0))
    after, loss = jax.jit(make_train_step(job))(state, frozen, data)
    return job, state, frozen, after, loss


@pytest.mark.parametrize("entries, real", [(SMALL, 5), (SMALL, 1), (CONV, 3)])
def test_padding_may_fill_whole_microbatches(entries, real):
    data = digits_batch(16, real)
    *_, after, loss = after_step(data, **entries, microbatches=4)
    *_, expected, expected_loss = after_step(data, **entries)
    assert float(loss) == pytest.approx(float(expected_loss), rel=1e-5)
    assert float(after.sums["count"]) == real
    assert_trees_close(after.trainable, expected.trainable, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("real", [16, 3])
def test_batch_norm_sees_microbatches_one_after_another(real):
    """Statistics by hand; with 3 real rows the last microbatch is padding, which moves none."""
    data = digits_batch(16, real)
    job, state, frozen, after, loss = after_step(data, **NORM, microbatches=4)

    def loss_fn(trainable, stats, part):
        key = jax.random.fold_in(state.key, 0)
        effective = job.method.apply(trainable, frozen, key, 0.0)
        logits, stats = job.apply_fn(
            effective, stats, part["image"], train=True, mask=part["weight"] > 0
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, part["label"])
        return jnp.sum(losses * part["weight"]) / real, stats

    stats, total, grads = state.batch_stats, 0.0, jax.tree.map(jnp.zeros_like, state.trainable)
    turn = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
    for i in range(min(real, 4)):
        part = {name: rows[i::4] for name, rows in data.items()}
        (more, stats), grad = turn(state.trainable, stats, part)
        total, grads = total + more, jax.tree.map(jnp.add, grads, grad)
    updates, _ = job.tx.update(grads, state.opt_state, state.trainable)
    expected = optax.apply_updates(state.trainable, updates)
    assert float(loss) == pytest.approx(float(total), rel=1e-5)
    assert_trees_close(after.batch_stats, stats, rtol=1e-4, atol=1e-6)
    assert_trees_close(after.trainable, expected, rtol=1e-3, atol=1e-5)
    assert np.all([np.isfinite(x).all() for x in jax.tree.leaves(after.trainable)])


def last_steps(config, data):
    """The network of each seed after the last two steps of an epoch, the partial one with them."""
    (job,) = experiment.programs(config)
    splits = experiment.split_data(data, config, job.layout)
    state, frozen = job.start()
    first, train_steps = job.plan.steps_per_epoch - 2, make_train_steps(job)
    for i in range(2):
        count = min(job.plan.steps_per_call, 2)
        state, _ = train_steps(state, frozen, splits.train, job.order()(0), first + i, count)
        if count == 2:  # Both, in a loop on the device.
            break
    return job.layout.seeds_of((state.trainable, state.sums))


@pytest.fixture(scope="module")
def data():
    return experiment.load_data(tiny_config())


UNROLLED = CONV | {"batch_size": 120, "model.width": 0.05, "mesh.seed": 1, "mesh.data": 2}


@pytest.mark.parametrize(
    "entries",
    [{"seed_loop": "vmap", "mesh.seed": 2, "mesh.data": 4}, {"seed_loop": "unroll", **UNROLLED}],
)
def test_devices_and_seeds_give_the_same(entries, data):
    several = {"num_seeds": 2, "seeds_per_program": 2, "microbatches": 2}
    alone = {k: v for k, v in entries.items() if "seed" not in k and "mesh" not in k}
    found = last_steps(tiny_config(**{"batch_size": 128} | entries | several), data)
    for seed in (0, 1):
        (expected,) = last_steps(tiny_config(**{"batch_size": 128} | alone, seed=seed), data)
        assert_trees_close(found[seed], expected, rtol=1e-3, atol=1e-5)


def test_microbatches_lie_where_the_batch_does(data):
    config = tiny_config(microbatches=4, **{"mesh.data": 4})
    job = experiment.build(config)
    examples = experiment.split_data(data, config, job.layout).train
    operands = (*job.start(), examples, job.order()(0), 0, 2)
    text = make_train_steps(job).lower(*operands).compile().as_text()
    assert re.search(r"f32\[8,1,8,8,1\]", text) and "all-reduce" in text  # 128 / 4 / 4 images
    assert "f32[128,8,8,1]" not in text
    moved = re.findall(r"= (\S+) (?:all-gather|all-to-all|collective-permute)\(", text)
    assert not moved


@pytest.mark.parametrize("way, convolution", [("a loop", "products"), ("written out", "xla")])
def test_a_step_needs_the_memory_of_a_microbatch(way, convolution):
    def plan(batch_size, microbatches):
        config = tiny_config(**CONV | {"model.width": 0.5, "convolution": convolution})
        config.batch_size, config.microbatches = batch_size, microbatches
        job = experiment.build(config)
        return job, plan_step(job, (8, 8, 1))

    small, large = plan(256, 1)[1], plan(1024, 1)[1]
    job, found = plan(1024, 4)
    assert found.peak <= 1.15 * small.peak
    assert found.peak < 0.5 * large.peak
    state, frozen = job.create(jax.random.key(0))
    text = str(jax.make_jaxpr(make_train_step(job))(state, frozen, digits_batch(1024, 1024)))
    assert (" scan[" in text) == (way == "a loop")


def test_a_run_goes_on_with_another_number_and_ends_the_same(tmp_path, monkeypatch):
    interrupted_run(tmp_path / "run", monkeypatch)
    entries = {"epochs": 4, "steps_per_call": 5}
    experiment.run(tiny_config(**entries, microbatches=4), tmp_path / "run", quiet=True)
    experiment.run(tiny_config(**entries), tmp_path / "whole", quiet=True)
    lines, expected = (Workdir(tmp_path / name).read_metrics() for name in ("run", "whole"))
    for line, known in zip(lines, expected, strict=True):
        for name in known.keys() - {"seconds"}:
            assert line[name] == pytest.approx(known[name], rel=2e-3, abs=2e-3)


def test_with_batch_norm_another_number_is_another_run():
    one, four = (identity(tiny_config(**NORM, microbatches=m)) for m in (1, 4))
    assert config_difference(one, four, default_identity()) == "microbatches: 1 -> 4"
    before = {name: value for name, value in one.items() if name != "microbatches"}
    assert config_difference(before, one, default_identity()) == ""
    assert config_difference(before, four, default_identity()) == "microbatches: 1 -> 4"
    for entries in (CONV, {**NORM, "model.norm_frozen": True}):
        plain, split = (identity(tiny_config(**entries, microbatches=m)) for m in (1, 4))
        assert plain == split


@pytest.mark.parametrize(
    "entries, said",
    [
        ({"microbatches": 0}, "config.microbatches must be at least 1, got 0"),
        ({"microbatches": 3}, "config.microbatches must divide config.batch_size 128, got 3"),
        (
            {"microbatches": 32, "mesh.data": 8},
            "batch_size 128 in 32 microbatches cannot be divided over 8 devices: choose 256, or "
            "config.mesh.data=4",
        ),
    ],
)
def test_impossible_numbers_are_refused_in_one_line(entries, said):
    with pytest.raises(UserError) as caught:
        experiment.build(tiny_config(**entries))
    assert str(caught.value) == said


def test_the_data_axis_is_chosen_so_that_it_divides_microbatches(monkeypatch):
    monkeypatch.setattr("supermask_jax.training.sharding.useful_devices", jax.devices)
    chosen = choose_layout(num_seeds=1, batch_size=128, microbatches=32)
    assert chosen.mesh.shape["data"] == 4


def test_sums_are_float32_under_bfloat16_and_the_plan_is_told():
    data = digits_batch(16, 16)
    entries = SMALL | {"compute_dtype": "bfloat16"}
    *_, after, loss = after_step(data, **entries, microbatches=4)
    *_, expected, expected_loss = after_step(data, **entries)
    assert float(loss) == pytest.approx(float(expected_loss), rel=1e-2)
    assert {x.dtype for x in jax.tree.leaves(after.trainable)} == {jnp.dtype("float32")}
    assert_trees_close(after.trainable, expected.trainable, rtol=0.02, atol=2e-3)
    described = "".join(describe(tiny_config(microbatches=4)))
    assert "steps of 128 images in 4 microbatches = " in described
    assert "microbatches" not in "".join(describe(tiny_config()))
    assert default_config().microbatches == 1
