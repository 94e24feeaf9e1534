"""The examples that the pages are made of, at small size: the loss falls, frozen weights stay."""

import collections
import functools
import importlib.util
import json
import re
import sys
from types import SimpleNamespace
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import ROOT, assert_trees_equal
from ticket_helpers import SMALL_CONV, random_ticket

import supermask_jax as sm
from supermask_jax import cli, models, tickets
from supermask_jax.core.trees import named_leaves
from supermask_jax.data import load

EXAMPLES = ROOT / "examples"
# Example -> the package that it is about, and how many leaves it masks.
MODELS = {
    "flax_cnn": ("flax", 4),
    "vit": ("flax", 6),
    "nnx_adapter": ("flax", 3),
    "equinox_model": ("equinox", 3),
    "haiku_model": ("haiku", 3),
    "own_method": ("flax", 2),
}
Found = collections.namedtuple("Found", "losses trainable frozen")


@pytest.fixture
def example(monkeypatch):
    """Returns what imports an example by name, as a script in its folder would be."""
    monkeypatch.syspath_prepend(str(EXAMPLES))

    def load_example(name):
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        # One report is enough: each compiles its model again.
        if name != "own_method" and hasattr(module, "train"):
            found = module.train.__globals__
            monkeypatch.setitem(found, "report", lambda apply_fn, method, found: found)
        return module

    # Foreign layers promote ranks.
    with jax.numpy_rank_promotion("allow"):
        yield load_example


def test_every_example_is_tested():
    found = {path.stem for path in EXAMPLES.glob("*.py")}
    others = "training draw_mask every_method redraw from_python time_tickets time_convolutions "
    others += "fuzz_tickets tasks trackers own_data own_ticket pretrained"
    assert found == {*MODELS, *others.split()}


def test_the_fuzz_target_takes_errors_of_one_line_and_nothing_else(example, monkeypatch):
    pytest.importorskip("atheris", reason="the extra 'fuzz' is not installed")
    module = example("fuzz_tickets")
    module.read((ROOT / "tickets" / "fcn-sparse.safetensors").read_bytes())
    module.read(b"no ticket")

    for error in (MemoryError("it"), sm.UserError("two\nlines")):
        monkeypatch.setattr(module, "decode_ticket", Mock(side_effect=error))
        with pytest.raises((MemoryError, AssertionError)):
            module.read(b"")


@pytest.mark.parametrize("name", MODELS)
def test_the_loss_falls_and_frozen_weights_stay(example, monkeypatch, capsys, name):
    package, num_masked = MODELS[name]
    pytest.importorskip(package)
    module, started = example(name), []

    def noted(*, params, method, **kwargs):
        started.append(named_leaves(jax.device_get(params)))
        return train(params=params, method=method, **kwargs)

    train = module.train
    monkeypatch.setattr(module, "train", noted)
    if name == "vit":
        monkeypatch.setattr(module, "ViT", functools.partial(module.ViT, depth=1))
    found = module.main(steps=30)
    assert found.last_loss < 0.9 * found.first_loss
    weights = named_leaves(jax.device_get(found.frozen["weights"]))
    assert len(weights) == num_masked
    assert_trees_equal({name: started[0][name] for name in weights}, weights)
    assert ("remaining weights" in capsys.readouterr().out) == (name == "own_method")
    if name == "vit":
        free = named_leaves(found.trainable["params"])
        assert {"cls", "pos_embedding", "embedding/kernel", "head/kernel"} <= free.keys()


def test_an_nnx_model_is_left_with_its_masked_weights(example, monkeypatch):
    module, made = example("nnx_adapter"), []
    monkeypatch.setattr(
        module, "CNN", lambda cls=module.CNN, **kw: made.append(cls(**kw)) or made[0]
    )
    monkeypatch.setattr(
        module,
        "train",
        lambda *, params, method, **kw: Found([], *method.init(jax.random.key(0), params)),
    )
    module.main()
    for layer in (made[0].conv1, made[0].conv2, made[0].linear):
        assert 0 < np.mean(np.asarray(layer.kernel[...]) == 0) < 1


def test_an_nnx_model_may_have_batch_norm_and_dropout(example, monkeypatch):
    module, calls, cnn = example("nnx_adapter"), {}, example("nnx_adapter").CNN

    class Normed(cnn):
        def __init__(self, *, rngs):
            super().__init__(rngs=rngs)
            self.norm1 = nnx.BatchNorm(32, rngs=rngs)
            self.dropout = nnx.Dropout(rate=0.1, rngs=rngs)

    monkeypatch.setattr(module, "CNN", Normed)
    monkeypatch.setattr(
        module,
        "train",
        lambda *, params, method, **kw: (
            calls.update(kw, params=params) or Found([], *method.init(jax.random.key(0), params))
        ),
    )
    module.main()

    @jax.jit
    def loss(params):
        return calls["apply_fn"](params, jnp.ones((2, 8, 8, 1))).sum()

    grads = jax.grad(loss)(calls["params"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_an_own_method_runs_from_a_config(example, monkeypatch, tmp_path):
    monkeypatch.setitem(sm.METHODS, "flip", None)  # Taken out again at the end.
    summary = example("own_method").from_config(tmp_path / "run", epochs=1)
    assert summary["remaining_weights"] == 1
    layers = summary["layers"].values()
    assert all(layer["inverted"] > 0 and layer["hidden"] == 0 for layer in layers)
    assert (tmp_path / "run" / "ticket.safetensors").exists()


def test_the_drawing_holds_the_masks(example):
    draw_mask, data = example("draw_mask"), load("digits")
    drawn = draw_mask.train(data, epochs=(0, 3), batch=32)
    assert (drawn.masks[0] != drawn.masks[3]).any() and drawn.accuracy > 0.5
    drawing = draw_mask.svg(drawn, data, digits=(0, 3))
    shown = np.stack([mask[:, [0, 3]] for mask in drawn.masks.values()])
    for colour, found in ((draw_mask.KEEP, shown > 0), (draw_mask.INVERT, shown < 0)):
        paths = re.findall(rf'<path[^>]*fill="{colour}"[^>]*>', drawing)
        assert sum(map(int, re.findall(r"h(\d+)v", "".join(paths)))) == found.sum()


def test_every_method_of_the_pages_is_made(example):
    module = example("every_method")
    methods, (model, params) = module.made(), module.network()
    assert methods.keys() == sm.METHODS.keys()

    @jax.jit
    def densities(key):
        found = {}
        for name, method in methods.items():
            trainable, frozen = method.init(key, params)
            found[name] = sm.density(method.masks(trainable, frozen, key))
            model.apply({"params": method.apply(trainable, frozen, key)}, np.ones((1, 8, 8, 1)))
        return found

    found = {name: float(density) for name, density in densities(jax.random.key(0)).items()}
    exact = {"signed_topk": 0.3, "edge_popup": 0.3, "biprop": 0.3, "multicoat": 0.5, "dense": 1}
    for method, density in zip(module.restricted(), (0.1, 0.5), strict=True):
        masks = method.masks(*method.init(jax.random.key(0), params))
        assert float(sm.density(masks)) == pytest.approx(density, abs=0.01)
    for name, density in exact.items():
        assert found[name] == pytest.approx(density, abs=1e-3), name
    assert 0.4 < found["bernoulli"] < 0.6

    start = {k: np.asarray(v) for k, v in named_leaves(params).items() if "kern" in k}
    trained = {name: weight[::-1] for name, weight in start.items()}
    ticket = module.first_ticket(start, trained)
    trainable, frozen = ticket.init(jax.random.key(0), params)
    masks = named_leaves(ticket.masks(trainable, frozen))
    for name, mask in masks.items():
        assert np.mean(np.asarray(mask)) == pytest.approx(0.8, abs=1e-3)
        kept, pruned = (np.abs(trained[name])[np.asarray(mask) == m] for m in (1, 0))
        assert kept.min() >= pruned.max()


def test_the_task_of_an_image_is_found(example, monkeypatch):
    module = example("tasks")
    monkeypatch.setattr(module, "WIDTH", 100)
    assert module.main(tasks=3, steps=150, shown=20) > 0.9


def test_redrawn_weights_are_constants_and_biases_stay(example):
    module = example("redraw")
    params = {"a": {"kernel": np.ones((8, 4), np.float32), "bias": np.arange(4.0)}}
    drawn = module.redraw(jax.random.key(0), params)["a"]
    np.testing.assert_allclose(np.abs(drawn["kernel"]), 0.5)
    assert len(np.unique(drawn["kernel"])) == 2
    np.testing.assert_array_equal(drawn["bias"], params["a"]["bias"])


def test_a_run_from_python_leaves_a_ticket_of_its_accuracy(example, tmp_path, capsys):
    config = str(ROOT / "configs" / "quickstart.py")
    accuracy = example("from_python").small_run(config, tmp_path / "run", epochs=1)
    assert f"test accuracy {accuracy:.1%}" in capsys.readouterr().out


def test_timed_convolutions_are_cases(example):
    module = example("time_convolutions")
    cases = module.time_shape(2, 4, 3, 5, rounds=1)
    assert [case["way"] for case in cases] == list(module.WAYS)
    assert all(case["forward_seconds"] > 0 < case["backward_seconds"] for case in cases)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 4, 3)), jnp.float32)
    kernel = jnp.asarray(np.random.default_rng(1).normal(size=(3, 3, 3, 5)), jnp.float32)
    for way in module.WAYS.values():
        np.testing.assert_allclose(way(x, kernel), module.xla(x, kernel), atol=1e-4)


def test_dense_layers_are_timed_as_the_network_that_they_are(example, monkeypatch):
    module = example("time_tickets")
    tail = module.dense_layers(random_ticket(SMALL_CONV, 0.3))
    assert list(tail.layers) == ["dense1/kernel", "dense2/kernel", "dense3/kernel"]
    images = np.random.default_rng(0).normal(size=(2, 1, 1, 96)).astype("f4")
    logits = models.get(**tail.model, num_classes=10).apply(tickets.to_variables(tail), images)
    np.testing.assert_allclose(tickets.predict(tail, images), logits, atol=1e-4)
    assert module.dense_layers(random_ticket()) is None
    monkeypatch.setitem(sys.modules, "jax", None)  # As where it is not installed.
    assert module.ways(tail, images).keys() == {"dense, NumPy", "ticket", "all sparse"}


def test_timed_tickets_are_result_files(example, tmp_path):
    path = ROOT / "tickets" / "fcn-sparse.safetensors"
    example("time_tickets").time_ticket(path, tmp_path, rounds=1, seconds=1e-4)
    result = json.loads((tmp_path / "latency-fcn-sparse.json").read_text())
    assert result["ticket"] == "fcn-sparse" and 0 < result["density"] < 0.05
    assert {timing["batch"] for timing in result["timings"]} == {1, 16, 128}
    installed = all(importlib.util.find_spec(name) for name in ("onnxruntime", "jax2onnx"))
    ways = {"dense, NumPy", "ticket", "all sparse", "dense, JAX"}
    ways |= {"dense, ONNX Runtime"} if installed else set()
    for timing in result["timings"]:
        assert timing["seconds"].keys() == ways


def test_arrays_of_ones_own_are_learnt(example, tmp_path):
    assert example("own_data").train(tmp_path) == 1


@pytest.mark.parametrize("kind", ["flax", "nnx"])
def test_a_model_of_ones_own_becomes_a_ticket(example, hub, monkeypatch, capsys, kind):
    module, path = example("own_ticket"), hub / "cnn.safetensors"
    ticket = getattr(module, f"{kind}_ticket")(path, steps=30)
    assert cli.main(["ticket", "verify", str(path)]) == 0
    assert "whole, SHA-256" in capsys.readouterr().out
    shared = module.share(ticket, "me/cnn")
    for place in (str(path), "hf://me/cnn"):
        logits = getattr(module, f"run_{kind}_again")(place)
        assert module.accuracy(logits) == tickets.load_ticket(place).accuracy["value"] > 0.2
    assert tickets.digest(shared) == tickets.digest(ticket) and shared.license == "MIT"
    assert "network    CNN, images 8 x 8 x 1" in repr(shared)
    for card in (shared._repr_html_(), (hub / "me/cnn/README.md").read_text()):
        assert "model.apply(tickets.to_variables" in card and "tickets.predict" not in card
    assert len(ticket.to_numpy()) == 8 and not any("value" in name for name in ticket.to_numpy())
    if kind == "flax":
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(from_numpy=np.copy))
        arrays, state = module.for_other_libraries(ticket)
        conv = arrays["Conv_0/kernel"].transpose(3, 2, 0, 1)
        np.testing.assert_array_equal(state["Conv_0.weight"], conv)
        assert len(arrays) == len(state) and state["Dense_0.weight"].shape == (256, 256)


def test_a_trained_network_is_masked_and_a_mask_trained_under(example):
    module = example("pretrained")
    found = module.main(steps=30)
    trained = named_leaves(found["pretrained"])
    for name, free in (("piggyback", {"layers_4/kernel", "layers_4/bias"}), ("fine_tuned", set())):
        parts = found[name].frozen
        kept = {**named_leaves(parts["weights"]), **named_leaves(parts["params"])}
        assert kept.keys() == trained.keys() - free
        assert_trees_equal({name: trained[name] for name in kept}, kept)
        assert found[name].last_loss < found[name].first_loss
    before, after = found["supermask"], found["weights"]
    assert after.last_loss < before.last_loss
    method, ticket = sm.signed_topk(density=0.1), sm.lottery_ticket({})
    masks = named_leaves(method.masks(before.trainable, before.frozen))
    weights = named_leaves(ticket.apply(after.trainable, after.frozen))
    start = named_leaves(method.apply(before.trainable, before.frozen))
    for name, mask in masks.items():
        np.testing.assert_array_equal(np.asarray(weights[name]) != 0, np.asarray(mask) != 0)
        assert (weights[name] != start[name]).any()
