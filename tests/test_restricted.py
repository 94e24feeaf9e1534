"""Sources of which a part is pruned or locked: densities, and every method on one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_refused, assert_trees_equal, refused, tiny_argv, tiny_config
from method_helpers import RESTRICTED, batch, make, params

from supermask_jax import cli, experiment, methods
from supermask_jax.core.trees import named_leaves
from supermask_jax.errors import UserError

FCN = {"dense1": (784, 300), "dense2": (300, 100), "dense3": (100, 10)}
every_restricted = pytest.mark.parametrize("name", RESTRICTED)


@pytest.mark.parametrize(
    ("rule", "layers", "total"),
    [
        ("uniform", (0.3, 0.3, 0.3), 0.3),
        ("balanced", (0.11318, 0.88733, 1), 0.2038),
        ("erk_released", (0.23090, 0.66801, 1), 0.2831),
        ("erk", (0.24491, 0.70854, 1), 0.3),
        ("pyramidal", (0.32585, 0.10618, 0.03460), 0.3),
    ],
)
def test_densities_of_a_source(rule, layers, total):
    found = methods.source_densities(rule, FCN, 0.3)
    assert tuple(found.values()) == pytest.approx(layers, abs=1e-5)
    sizes = [np.prod(shape) for shape in FCN.values()]
    assert np.dot(sizes, list(found.values())) / sum(sizes) == pytest.approx(total, abs=5e-5)


def test_of_a_whole_source_nothing_changes():
    method = methods.signed()
    assert methods.restricted(method) is method
    # And the scores and weights of a restricted one are those of the method itself.
    both = method, methods.restricted(method, density=0.5)
    plain, other = (m.init(jax.random.key(3), params(jax.random.key(0))) for m in both)
    assert_trees_equal(plain[0], other[0])
    assert_trees_equal(plain[1], {k: v for k, v in other[1].items() if k != "tags"})


@every_restricted
def test_tags_hold_in_training_and_get_no_gradient(name):
    method, state, frozen, step = make(f"restricted_{name}")
    tags = named_leaves(frozen["tags"])
    for tag in tags.values():
        assert int((tag == -1).sum()) == round(0.3 * tag.size)
        assert int((tag == 1).sum()) == round(0.1 * tag.size)
    jitted = jax.jit(step)
    for i in range(8):
        key = jax.random.key(i)
        for progress in (0.0, 0.5, 1.0):
            for layer, mask in named_leaves(
                method.masks(state.trainable, frozen, key, progress)
            ).items():
                assert not mask[tags[layer] == -1].any()
                assert (mask[tags[layer] == 1] == 1).all()
        effective = named_leaves(method.apply(state.trainable, frozen, key, 0.5))
        weights = named_leaves(frozen["weights"])
        for layer, tag in tags.items():
            assert not effective[layer][tag == -1].any()
            np.testing.assert_array_equal(effective[layer][tag == 1], weights[layer][tag == 1])
        state, _ = jitted(state, frozen, batch(i))

    def loss(trainable):
        return sum(
            jnp.sum(w**2 + w) for w in jax.tree.leaves(method.apply(trainable, frozen, key, 0.5))
        )

    grads = named_leaves(jax.grad(loss)(state.trainable)["scores"])
    assert all(not grad[tags[layer] != 0].any() for layer, grad in grads.items())
    assert any(grad[tags[layer] == 0].any() for layer, grad in grads.items())


@pytest.mark.parametrize("name", ["edge_popup", "signed_topk", "signed", "hard_concrete"])
def test_densities_count_all_weights(name):
    method, state, frozen, step = make(f"restricted_{name}")
    jitted = jax.jit(step)
    for i in range(12):
        state, _ = jitted(state, frozen, batch(i))
    trainable = state.trainable
    if method.project is not None:
        trainable = method.project(trainable, frozen, 1.0)
    masks = named_leaves(method.masks(trainable, frozen))
    kept = sum(int((mask != 0).sum()) for mask in masks.values())
    locked = sum(int((tag == 1).sum()) for tag in named_leaves(frozen["tags"]).values())
    inner = {"edge_popup": 0.4, "signed_topk": 0.2}.get(name, 0.3)
    assert kept - locked == pytest.approx(inner * 72, abs=2)


def test_everything_locked_keeps_everything():
    method = methods.restricted(methods.edge_popup(density=0.1), lock=1.0)
    trainable, frozen = method.init(jax.random.key(0), params(jax.random.key(1)))
    assert all(mask.all() for mask in jax.tree.leaves(method.masks(trainable, frozen)))
    for name, weight in named_leaves(frozen["weights"]).items():
        np.testing.assert_array_equal(named_leaves(method.apply(trainable, frozen))[name], weight)


def test_tags_depend_on_the_seed_alone():
    method = methods.restricted(methods.signed(), rule="erk", density=0.4)
    tags = [method.init(jax.random.key(k), params(jax.random.key(0)))[1]["tags"] for k in (0, 0, 1)]
    assert_trees_equal(tags[0], tags[1])
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, tags[1:]), strict=True))


def test_a_run_on_a_source(tmp_path, capsys):
    argv = ["train", *tiny_argv("--config.epochs=2", f"--workdir={tmp_path / 'run'}")]
    flags = ["--config.source.rule=erk", "--config.source.density=0.5", "--config.source.lock=0.1"]
    flags += ["--config.method=signed_topk", "--config.method.density=0.3"]
    assert cli.main([*argv, *flags, "--json"]) == 0
    (tmp_path / "run").joinpath("ticket.safetensors").stat()
    config = tiny_config()
    config.method = {"name": "signed_topk", "density": 0.3, "anneal": 0.0}
    config.source.update({"rule": "erk", "density": 0.5, "lock": 0.1})
    summary = experiment.run(config, tmp_path / "again", quiet=True)
    assert summary["remaining_weights"] == pytest.approx(0.3, abs=2e-3)


def test_what_no_source_can_be(capsys):
    def run(**source):
        config = tiny_config()
        config.method = source.pop("method", {"name": "signed"})
        config.source.update(source)
        return lambda: experiment.build(config)

    topk = {"name": "signed_topk", "density": 0.3}
    dense = methods.restricted(methods.dense(), density=0.5)
    with pytest.raises(ValueError, match="the method has none"):
        dense.init(jax.random.key(0), params(jax.random.key(0)))
    assert_refused(
        [
            ("unknown source 'er'.*'erk'", run(rule="er", density=0.5)),
            (r"density is a fraction in \[0, 1\], got 1.5", run(density=1.5)),
            ("must be above 0", run(density=0.0)),
            ("raise the density of the source", run(density=0.3, lock=0.5)),
            ("less than config.source.lock 0.5", run(lock=0.5, method=topk)),
            ("counts coats", run(lock=0.1, method={"name": "multicoat", "densities": (0.5,)})),
        ],
        UserError,
    )
    said = refused(capsys, "train", *tiny_argv("--config.source.rule=none"))
    assert "source" in said
