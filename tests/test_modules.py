"""`SignedDense` and `SignedConv` against the functional API on the same numbers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from supermask_jax import SignedConv, SignedDense, absolute, fraction_of_max, signed, top_fraction

RULES = [absolute(0.05), fraction_of_max(0.4), top_fraction(0.2)]


class Plain(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.elu(nn.Conv(4, (3, 3), name="conv")(x))
        return nn.Dense(3, name="dense")(x.reshape(x.shape[0], -1))


class Signed(nn.Module):
    rule: tuple

    @nn.compact
    def __call__(self, x):
        x = nn.elu(SignedConv(4, (3, 3), threshold=self.rule, name="conv")(x))
        x = x.reshape(x.shape[0], -1)
        return SignedDense(3, threshold=self.rule, name="dense")(x)


IMAGE = jax.random.normal(jax.random.key(1), (2, 6, 6, 2))


@pytest.mark.parametrize("rule", RULES)
def test_layers_equal_the_functional_path(rule):
    variables = Signed(rule).init(jax.random.key(0), IMAGE)
    assert set(variables) == {"params", "frozen", "scores"}
    params = jax.tree.map(lambda x: x, variables["params"])
    for layer in ("conv", "dense"):
        params[layer] = params[layer] | {"kernel": variables["frozen"][layer]["kernel"]}
    method = signed(threshold=rule)
    trainable, frozen = method.init(jax.random.key(9), params)
    for layer in ("conv", "dense"):
        trainable["scores"][layer]["kernel"] = variables["scores"][layer]["kernel"]
        if rule.fixed:
            frozen["aux"][layer]["kernel"] = variables["frozen"][layer]["bounds"]

    def functional(scores):
        effective = method.apply(trainable | {"scores": scores}, frozen)
        return jnp.sum(Plain().apply({"params": effective}, IMAGE) ** 2)

    def composed(scores):
        return jnp.sum(Signed(rule).apply(variables | {"scores": scores}, IMAGE) ** 2)

    value, grads = jax.value_and_grad(composed)(variables["scores"])
    scores = {name: {"kernel": layer["kernel"]} for name, layer in variables["scores"].items()}
    expected, expected_grads = jax.value_and_grad(functional)(
        {name: scores[name] | {"bias": None} for name in scores}
    )
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    for layer in ("conv", "dense"):
        np.testing.assert_allclose(
            grads[layer]["kernel"], expected_grads[layer]["kernel"], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("layer", [SignedDense, SignedConv])
def test_weights_of_half_precision_and_scores_of_float32(layer, dtype):
    sizes = {"features": 4, "use_bias": False, "threshold": absolute(0.05)}
    module = layer(
        **sizes | ({"kernel_size": (3, 3)} if layer is SignedConv else {}), param_dtype=dtype
    )
    variables = module.init(jax.random.key(0), IMAGE)
    weight, score = (variables[part]["kernel"] for part in ("frozen", "scores"))
    assert (weight.dtype, score.dtype) == (dtype, jnp.float32)
    grads = jax.grad(lambda s: module.apply(variables | {"scores": s}, IMAGE).sum())
    grad = grads(variables["scores"])["kernel"]
    assert grad.dtype == jnp.float32 and np.isfinite(grad).all() and np.any(grad)


def test_only_scores_train():
    model = Signed(absolute(0.05))
    variables = model.init(jax.random.key(0), IMAGE)
    frozen, scores = variables["frozen"], variables["scores"]
    before = jax.tree.map(np.array, frozen)
    tx = optax.sgd(0.1)
    opt_state = tx.init(scores)
    losses = []
    for _ in range(30):
        loss, grads = jax.value_and_grad(
            lambda s: jnp.mean((model.apply(variables | {"scores": s}, IMAGE) - 1.0) ** 2)
        )(scores)
        updates, opt_state = tx.update(grads, opt_state)
        scores = optax.apply_updates(scores, updates)
        losses.append(float(loss))
    assert losses[-1] < losses[0]
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.array, frozen))


def test_weight_and_score_do_not_share_random_bits():
    layer = SignedDense(50, use_bias=False, kernel_init=nn.initializers.normal(1.0))
    variables = layer.init(jax.random.key(0), jnp.ones((1, 50)))
    correlation = np.corrcoef(
        np.ravel(variables["frozen"]["kernel"]), np.ravel(variables["scores"]["kernel"])
    )[0, 1]
    assert abs(correlation) < 0.1
