"""Order, batches, their sharding, and the held-out split."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from supermask_jax.data import pipeline
from supermask_jax.data.transforms import make_prepare, standardize
from supermask_jax.training.sharding import SEED_LOOPS, choose_layout


def test_an_epoch_sees_every_example_once_and_the_partial_batch():
    n, batch_size = 11, 4
    images = jnp.arange(n, dtype=jnp.uint8).reshape(n, 1, 1, 1)
    labels = jnp.arange(n)
    order = pipeline.epoch_order(jax.random.key(0), 0, n, batch_size, shuffle=True)
    assert pipeline.num_batches(n, batch_size) == 3
    batches = [pipeline.batch_at(images, labels, order, i, batch_size) for i in range(3)]
    assert [float(b["weight"].sum()) for b in batches] == [4, 4, 3]
    seen = np.concatenate([b["label"][np.asarray(b["weight"]) == 1] for b in batches])
    assert sorted(seen) == list(range(n))
    assert list(seen) != list(range(n))


def test_order_is_a_function_of_key_and_epoch():
    def order(seed, epoch, shuffle=True):
        return np.asarray(
            pipeline.epoch_order(jax.random.key(seed), epoch, 50, 8, shuffle=shuffle)
        ).tolist()

    assert order(0, 3) == order(0, 3)
    assert order(0, 3) != order(0, 4)
    assert order(0, 3) != order(1, 3)
    assert order(0, 3, shuffle=False) == [*range(50), *[0] * 6]


@pytest.mark.parametrize(("n", "fraction", "held"), [(105, 0.1, 10), (7, 0.5, 3)])
def test_hold_out_is_a_fixed_partition(n, fraction, held):
    kept, held_out = pipeline.hold_out(n, fraction)
    assert len(held_out) == held
    assert sorted([*kept, *held_out]) == list(range(n))
    np.testing.assert_array_equal(held_out, pipeline.hold_out(n, fraction)[1])


def make_data(n=50):
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.integers(0, 256, (n, 8, 8, 3), np.uint8))
    return images, jnp.arange(n), pipeline.epoch_order(jax.random.key(0), 0, n, 16, shuffle=True)


def test_a_batch_is_standardised_unless_told_otherwise():
    images, labels, order = make_data()
    rows = images[order[16:32]]
    batch_at = jax.jit(pipeline.batch_at, static_argnames=("batch_size", "prepare"))
    plain = batch_at(images, labels, order, 1, batch_size=16)
    np.testing.assert_allclose(plain["image"], jax.jit(standardize)(rows), atol=1e-6)
    key = jax.random.key(3)
    with_key = batch_at(images, labels, order, 1, batch_size=16, key=key)
    np.testing.assert_array_equal(with_key["image"], plain["image"])  # No augmentation yet.
    prepare = make_prepare("unit", "crop_flip", "cifar10")
    for given in (key, None):
        batch = batch_at(images, labels, order, 1, batch_size=16, prepare=prepare, key=given)
        np.testing.assert_array_equal(batch["image"], jax.jit(prepare)(given, rows))
        np.testing.assert_array_equal(batch["label"], plain["label"])


def laid_out_batch(layout):
    """Compiles a batch of 16 with random crops; returns it and the program's text."""
    images, labels, order = make_data()
    prepare = make_prepare("standardize", "crop_flip", "cifar10")

    def batch(images, labels, order, index, key):
        place = layout.split_rows
        return pipeline.batch_at(
            images, labels, order, index, 16, prepare=prepare, key=key, place=place
        )

    operands = (*layout.put((images, labels, order)), 1, jax.random.key(3))
    compiled = jax.jit(batch).lower(*operands).compile()
    return compiled(*operands), compiled.as_text()


def test_a_batch_is_gathered_and_prepared_in_parts_and_is_the_same_batch():
    whole, _ = laid_out_batch(choose_layout(num_seeds=1, batch_size=16))
    batch, program = laid_out_batch(choose_layout(num_seeds=1, batch_size=16, data=8))
    for name in ("image", "label"):
        assert {s.data.shape[0] for s in batch[name].addressable_shards} == {2}
    # The images are there whole, and what each device gathers of them are its two.
    assert "u8[50,8,8,3]" in program and "u8[2,8,8,3]" in program
    assert "[16,8,8,3]" not in program and "[16,16,16,3]" not in program
    for name, part in batch.items():
        np.testing.assert_allclose(part, whole[name], atol=1e-5)


@pytest.mark.parametrize("loop", SEED_LOOPS)
def test_the_batches_of_seeds_are_gathered_in_parts_too(loop):
    layout = choose_layout(num_seeds=4, batch_size=16, seed=2, data=4, seed_loop=loop)
    images, labels, order = make_data()
    prepare = make_prepare("standardize", "crop_flip", "cifar10", pad="mean")
    words = jax.random.key_data(jax.random.split(jax.random.key(3), 4))
    orders = jnp.stack([order, order[::-1], jnp.roll(order, 3), jnp.roll(order, 7)])

    def batch(order, words, images, labels, place=layout.split_rows):
        key = jax.random.wrap_key_data(words)
        return pipeline.batch_at(
            images, labels, order, 1, 16, prepare=prepare, key=key, place=place
        )["image"]

    lifted = jax.jit(layout.lift(batch, (True, True, False, False)))
    operands = (*layout.put((orders, words)), *layout.put((images, labels)))
    spread = lifted(*operands)
    program = lifted.lower(*operands).compile().as_text()
    assert {s.data.shape for s in spread.addressable_shards} == {(2, 4, 8, 8, 3)}
    for whole in ("[2,16,8,8,3]", "[32,1,8,8,3]", "[16,8,8,3]", "[16,1,8,8,3]"):
        assert whole not in program
    alone = [
        batch(o, w, images, labels, place=lambda rows: rows)
        for o, w in zip(orders, words, strict=True)
    ]
    np.testing.assert_allclose(spread, jnp.stack(alone), atol=1e-5)
