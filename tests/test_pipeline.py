"""Standardisation, order, batches and the held-out split."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from supermask_jax.data import pipeline


def test_standardize_equals_tensorflows_definition():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 4, 5, 2), np.uint8)
    images[1] = 7  # Constant: divided by 1 / sqrt(N), not by 0.
    images[2] = 0
    images[2, 0, 0, 0] = 1  # Standard deviation below 1 / sqrt(40).
    x = images.astype(np.float64)
    expected = np.stack([(i - i.mean()) / max(i.std(), 1 / np.sqrt(40)) for i in x])
    np.testing.assert_allclose(pipeline.standardize(jnp.asarray(images)), expected, atol=1e-5)


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


@pytest.mark.parametrize(("n", "fraction", "held"), [(100, 0.1, 10), (105, 0.1, 10), (7, 0.5, 3)])
def test_hold_out_is_a_fixed_partition(n, fraction, held):
    kept, held_out = pipeline.hold_out(n, fraction)
    assert len(held_out) == held
    assert sorted([*kept, *held_out]) == list(range(n))
    np.testing.assert_array_equal(held_out, pipeline.hold_out(n, fraction)[1])
