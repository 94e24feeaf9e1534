"""Exported networks give the logits of the ticket, in JAX, onnxruntime and PyTorch."""

import re
import sys
import types

import jax
import numpy as np
import pytest
from helpers import ROOT, assert_trees_equal, refused
from ticket_helpers import SMALL, SMALL_CONV, norm_stats, random_ticket

from supermask_jax import cli, tickets
from supermask_jax.data.preprocess import standardize
from supermask_jax.errors import UserError
from supermask_jax.tickets import exports

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)


def ticket_of(name, norm="none"):
    """A ticket whose model says its own widths, as those of configs do."""
    fcn = name == "fcn"
    model = {"name": name, "activation": "elu", "norm": norm}
    model |= {"features": [30, 10]} if fcn else {"stages": [6], "features": [20, 20]}
    shapes = SMALL if fcn else SMALL_CONV
    stats = norm_stats(shapes) if norm == "all" else None
    return random_ticket(shapes, 0.3, model=model, levels=0, batch_stats=stats)


@pytest.fixture(params=[("fcn", "none"), ("conv2", "all")], ids=["fcn", "conv"])
def ticket(request):
    return ticket_of(*request.param)


def test_stablehlo_takes_any_batch(ticket):
    loaded = jax.export.deserialize(bytearray(exports.stablehlo(ticket)))
    assert loaded.platforms == ("cpu", "cuda", "tpu")
    for images in (IMAGES, IMAGES[:2]):
        np.testing.assert_allclose(loaded.call(images), tickets.predict(ticket, images), atol=1e-4)


def test_an_export_has_convolutions_for_every_machine():
    ticket = ticket_of("conv2")
    wide = {"conv1": (3, 3, 1, 32), "conv2": (3, 3, 32, 32), "dense1": (512, 20)}
    model = ticket.model | {"stages": [32]}
    wide = random_ticket(SMALL_CONV | wide, 0.3, levels=0, model=model)
    module = jax.export.deserialize(bytearray(exports.stablehlo(wide))).mlir_module()
    # Each once a platform; Winograd's tiles would be dozens of products.
    assert module.count("stablehlo.convolution") == 2 * 3
    assert module.count("stablehlo.dot_general") == 3 * 3


def test_onnx(ticket):
    pytest.importorskip("jax2onnx", reason="the extra 'onnx' is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
    session = runtime.InferenceSession(exports.to_bytes(ticket, "onnx"))
    for images in (IMAGES, IMAGES[:2]):
        x = standardize(images.astype("f4"))
        (found,) = session.run(None, {session.get_inputs()[0].name: x})
        np.testing.assert_allclose(found, tickets.predict(ticket, images), atol=1e-4)


def to_onnx(*args, **options):
    raise AttributeError("module 'jax' has\n no attribute 'thing'")


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (None, "jax2onnx 9.9 and jax 9.9"),  # Not installed.
        (types.SimpleNamespace(to_onnx=to_onnx), "jax 9.9 (module 'jax' has no attribute"),
    ],
)
def test_onnx_that_cannot_be_written_is_one_line(module, words, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "jax2onnx", module)
    monkeypatch.setattr(exports, "versions", lambda names: dict.fromkeys(names, "9.9"))
    tickets.save_ticket(tmp_path / "a", ticket_of("fcn"))
    error = refused(capsys, "export", f"--ticket={tmp_path / 'a'}", f"--onnx={tmp_path / 'b'}")
    assert words in error and "pip install supermask-jax[onnx]" in error
    assert not (tmp_path / "b").exists()


def test_the_torch_loader_of_the_page(ticket, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    path = tmp_path / "net.safetensors"
    tickets.save_ticket(tmp_path / "ticket", ticket)
    assert cli.main(["export", f"--ticket={tmp_path / 'ticket'}", f"--safetensors={path}"]) == 0
    page = (ROOT / "docs" / "tickets.md").read_text()
    code = re.search(r"```python\n(import torch\n.*?)```", page, re.DOTALL)[1]
    scope = {}
    exec(code, scope)
    net = scope["Ticket"](str(path))
    with torch.no_grad():
        logits = net(torch.tensor(standardize(IMAGES.astype("f4"))))
    np.testing.assert_allclose(logits.numpy(), tickets.predict(ticket, IMAGES), atol=1e-4)


def test_torch_layout():
    weights = exports.torch_weights(ticket_of("conv2", "all"))
    assert weights["conv2.weight"].shape == (6, 6, 3, 3)
    assert weights["dense1.weight"].shape == (20, 96)
    assert weights["conv1_norm.running_var"].shape == (6,)


def test_torch_takes_a_flattened_image_in_its_own_order(monkeypatch):
    params = {
        "conv": {"kernel": np.arange(3 * 2 * 4 * 5).reshape(3, 2, 4, 5)},  # H, W, in, out
        "dense": {"kernel": np.arange(2 * 3 * 5 * 7).reshape(30, 7), "bias": np.arange(7)},
        "norm": {"scale": np.arange(7)},
        "table": {"embedding": np.arange(6).reshape(2, 3)},
    }
    params = jax.tree.map(lambda leaf: leaf.astype("f4"), params)
    stats = {"norm": {"mean": np.ones(7, "f4"), "var": np.full(7, 2, "f4")}}
    about = {"model": {"name": "mine"}, "num_classes": 7, "image_shape": (2, 3, 4)}
    ticket = tickets.from_run(params, {}, stats, **about)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "torch", None)
        with pytest.raises(UserError, match="pip install torch"):
            ticket.to_torch_state_dict()
    found = exports.torch_weights(ticket, {"dense/kernel": 5})
    shapes = {name: array.shape for name, array in found.items()}
    assert shapes == {
        "conv.weight": (5, 4, 3, 2),
        "dense.weight": (7, 30),
        "dense.bias": (7,),
        "norm.weight": (7,),
        "norm.running_mean": (7,),
        "norm.running_var": (7,),
        "table.weight": (2, 3),
    }
    image = np.random.default_rng(0).normal(size=(2, 3, 5))
    expected = image.reshape(-1) @ params["dense"]["kernel"]
    channels_first = image.transpose(2, 0, 1).reshape(-1)
    np.testing.assert_allclose(found["dense.weight"] @ channels_first, expected, rtol=1e-5)
    for wrong, said in (({"dens": 5}, "no array 'dens'"), ({"dense/kernel": 4}, "no image of 4")):
        with pytest.raises(UserError, match=said):
            exports.torch_weights(ticket, wrong)


def test_scales_and_biases_of_norms_go_to_torch_too():
    ticket = ticket_of("conv2", "all")
    free = {"conv1_norm/bn/scale": np.full(6, 2, "f4"), "conv1_norm/bn/bias": np.ones(6, "f4")}
    found = exports.torch_weights(ticket._replace(params=ticket.params | free))
    assert (found["conv1_norm.weight"] == 2).all() and (found["conv1_norm.bias"] == 1).all()


def test_a_tree_that_a_ticket_does_not_fit_is_refused():
    ticket = ticket_of("fcn")
    params = tickets.to_params(ticket)
    assert_trees_equal(jax.device_get(tickets.to_tree(ticket, params)), params)
    half = jax.tree.map(lambda leaf: leaf.astype(jax.numpy.bfloat16), params)
    assert {leaf.dtype for leaf in jax.tree.leaves(tickets.to_tree(ticket, half))} == {
        np.dtype(jax.numpy.bfloat16)
    }
    params["dense1"]["kernel"] = np.ones((2, 3))
    with pytest.raises(UserError, match=r"no array 'dense1/kernel' of shape \(2, 3\)"):
        tickets.to_tree(ticket, params)
