"""Many masks over one network: their mixture, and which of them an input belongs to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_trees_equal

from supermask_jax import methods
from supermask_jax.core import initializers
from supermask_jax.core.superposition import entropy, infer_task, superpose
from supermask_jax.data import load
from supermask_jax.data.tasks import permuted, split
from supermask_jax.errors import UserError


def test_entropy_in_float64():
    logits = np.random.default_rng(0).normal(size=(5, 7))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = -(p * np.log(p)).sum(-1).mean()
    assert float(entropy(jnp.asarray(logits, jnp.float32))) == pytest.approx(expected, rel=1e-5)


def test_the_entropy_s_slopes_of_two_masks():
    # x (w * m) is (2, 0) under the first mask, and (0, 0) under the second.
    weights = {"kernel": jnp.array([[2.0, 0.0]])}
    masks = [{"kernel": jnp.ones((1, 2), jnp.int8)}, {"kernel": jnp.zeros((1, 2), jnp.int8)}]
    logits_fn = lambda w: jnp.ones((1, 1)) @ w["kernel"]  # noqa: E731
    effective = superpose(weights, masks)
    slopes = jax.grad(lambda alphas: entropy(logits_fn(effective(alphas))))(jnp.array([0.5, 0.5]))
    np.testing.assert_allclose(slopes, [-0.393224, 0], atol=1e-6)
    assert int(infer_task(logits_fn, weights, masks)) == 0
    assert int(infer_task(logits_fn, weights, masks[::-1], "binary")) == 1


def test_the_slopes_of_a_linear_layer():
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(6, 5)), rng.normal(size=(5, 4))
    masks = rng.choice([-1, 0, 1], (3, 5, 4))  # Signed masks are superposed as others are.
    z = np.einsum("bi,kij->kbj", x, w * masks)
    alphas = np.array([0.2, 0.5, 0.3])
    logits = np.einsum("k,kbj->bj", alphas, z)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    h = -(p * np.log(p)).sum(-1, keepdims=True)
    expected = [-(p * (np.log(p) + h) * z[i]).sum(-1).mean() for i in range(3)]
    effective = superpose(jnp.asarray(w, jnp.float32), [jnp.asarray(m, jnp.int8) for m in masks])
    slopes = jax.grad(lambda a: entropy(jnp.asarray(x, jnp.float32) @ effective(a)))
    np.testing.assert_allclose(slopes(jnp.asarray(alphas, jnp.float32)), expected, rtol=1e-4)


def test_one_mask_alone_gives_its_network_bit_for_bit():
    method = methods.signed()
    params = {"kernel": jax.random.normal(jax.random.key(0), (30, 20))}
    states = [method.init(jax.random.key(i), params) for i in range(3)]
    effective = superpose(params, [method.masks(*state) for state in states])
    for i, state in enumerate(states):
        assert_trees_equal(effective(jnp.eye(3)[i]), method.apply(*state))


def confident(k, chosen, seed=0):
    """Weights, masks and logits where mask `chosen` alone is confident; 8 outputs."""
    keys = jax.random.split(jax.random.key(seed), k + 1)
    weights = {"kernel": jax.random.normal(keys[0], (40, 8))}
    masks = [{"kernel": jax.random.bernoulli(key, 0.5, (40, 8))} for key in keys[1:]]
    kernel = weights["kernel"] * masks[chosen]["kernel"]
    x = 0.3 * jnp.sign(kernel[:, 2])[None]
    return weights, masks, lambda w: x @ w["kernel"]


@pytest.mark.parametrize("k", [1, 2, 3, 8, 13])
def test_the_confident_mask_is_found(k):
    for chosen in {0, k // 2, k - 1}:
        weights, masks, logits_fn = confident(k, chosen)
        for rule in ("one_shot", "binary"):
            found = jax.jit(
                lambda fn=logits_fn, w=weights, m=masks, r=rule: infer_task(fn, w, m, r)
            )()
            assert int(found) == chosen and found.dtype == jnp.int32


def test_of_two_masks_both_rules_choose_the_same_and_of_eight_that_of_three_halvings():
    for seed in range(10):
        weights, masks, _ = confident(8, 0, seed)
        x = jax.random.normal(jax.random.key(seed), (3, 40))
        logits_fn = lambda w, x=x: x @ w["kernel"]  # noqa: E731
        two = [int(infer_task(logits_fn, weights, masks[:2], r)) for r in ("one_shot", "binary")]
        assert two[0] == two[1]
        effective = superpose(weights, masks)
        slopes = jax.jit(jax.grad(lambda a, f=effective, g=logits_fn: entropy(g(f(a)))))
        best = np.argsort(slopes(jnp.full(8, 1 / 8)))
        assert int(infer_task(logits_fn, weights, masks)) == best[0]
        for kept in (4, 2):  # The others leave the mixture.
            best = best[:kept]
            best = best[np.argsort(slopes(jnp.zeros(8).at[best].set(1 / kept))[best])]
        assert int(infer_task(logits_fn, weights, masks, "binary")) == best[0]


def test_impossible_questions():
    with pytest.raises(ValueError, match="at least one mask"):
        superpose({}, [])
    with pytest.raises(UserError, match="did you mean 'binary'"):
        infer_task(lambda w: w, {}, [{}], "binry")
    with pytest.raises(UserError, match="cut must be finite"):
        methods.get("piggyback", cut=float("inf"))


def test_piggyback_starts_full_and_in_superposition_at_half():
    params = {"kernel": jax.random.normal(jax.random.key(0), (100, 50))}
    method = methods.piggyback()
    assert_trees_equal(method.apply(*method.init(jax.random.key(1), params)), params)
    method = methods.piggyback(cut=0.0, score_init=initializers.uniform("he", 6**-0.5))
    trainable, frozen = method.init(jax.random.key(1), params)
    assert float(jnp.abs(trainable["scores"]["kernel"]).max()) <= 0.1  # 1 / sqrt(100)
    assert np.mean(method.masks(trainable, frozen)["kernel"]) == pytest.approx(0.5, abs=0.03)


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def test_permuted_pixels_are_the_same_order_in_every_image(digits):
    one, two = permuted(digits, 1), permuted(digits, 2)
    assert permuted(digits, 0).train.images.tolist() == digits.train.images.tolist()
    for a, b in ((one, two), (one, digits)):
        assert (a.train.images != b.train.images).any() and a.digest != b.digest
    flat = [d.test.images.reshape(360, 64) for d in (digits, one)]
    places = [np.flatnonzero((flat[1] == column[:, None]).all(0)) for column in flat[0].T]
    assert all(len(found) for found in places)  # Each column of pixels is another one.
    assert (np.sort(flat[0], 1) == np.sort(flat[1], 1)).all()
    assert (one.test.labels == digits.test.labels).all() and one.name == "permuted:digits:1"


def test_a_split_has_some_classes_in_their_order(digits):
    found = split(digits, [7, 2])
    assert found.num_classes == 2 and found.name == "split:digits:7,2"
    for part, whole in ((found.train, digits.train), (found.test, digits.test)):
        for label, old in enumerate((7, 2)):
            expected = whole.images[whole.labels == old]
            np.testing.assert_array_equal(part.images[part.labels == label], expected)
        assert len(part.labels) == np.isin(whole.labels, [7, 2]).sum()


def test_tasks_by_name(digits):
    assert load("digits").digest == digits.digest
    assert load("permuted:digits:4").digest == permuted(digits, 4).digest
    assert load("split:digits:0-2,9").digest == split(digits, [0, 1, 2, 9]).digest
    of_task = split(permuted(digits, 4), [1, 2])
    assert load("split:permuted:digits:4:1,2").train.images.shape == of_task.train.images.shape


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("turned:digits:1", "unknown data set 'turned:digits:1'"),
        ("permuted:digits", "a task is"),
        ("permuted:digits:x", "whole numbers with commas"),
        ("permuted:digits:1,2", "permuted takes one seed"),
        ("split:digits:1,1", "each once, got"),
        ("split:digits:5-3", "each once, got"),
        ("split:digits:3,10", "classes 0 to 9, not 10"),
        ("split:digit:3", "did you mean 'digits'"),
    ],
)
def test_what_is_no_task_is_one_line(spec, said):
    with pytest.raises(UserError, match=said) as caught:
        load(spec)
    assert "\n" not in str(caught.value)
