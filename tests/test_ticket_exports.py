"""Exported networks give the logits of the ticket, in JAX, onnxruntime and PyTorch."""

import re
import sys
import types

import jax
import numpy as np
import pytest
from helpers import ROOT
from ticket_helpers import SMALL, SMALL_CONV, random_ticket

from supermask_jax import cli, tickets
from supermask_jax.tickets import exports
from supermask_jax.tickets.chain import standardize

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)
BN = {"mean": np.linspace(-1, 1, 6, dtype="f4"), "var": np.linspace(0.5, 2, 6, dtype="f4")}


def ticket_of(name, norm="none"):
    """A ticket whose model says its own widths, as those of configs do."""
    fcn = name == "fcn"
    model = {"name": name, "activation": "elu", "norm": norm}
    model |= {"features": [30, 10]} if fcn else {"stages": [6], "features": [20, 20]}
    stats = None
    if norm == "all":
        widths = {"dense1": 30, "dense2": 10} if fcn else {
            "conv1": 6, "conv2": 6, "dense1": 20, "dense2": 20}  # fmt: skip
        rng = np.random.default_rng(1)
        stats = {
            f"{layer}_norm": {"bn": {"mean": rng.normal(size=w).astype("f4"),
                                     "var": rng.uniform(0.5, 2, w).astype("f4")}}
            for layer, w in widths.items()
        }  # fmt: skip
    return random_ticket(
        SMALL if fcn else SMALL_CONV, 0.3, model=model, levels=0, batch_stats=stats
    )


@pytest.fixture(params=[("fcn", "none"), ("conv2", "all")], ids=["fcn", "conv"])
def ticket(request):
    return ticket_of(*request.param)


def test_stablehlo_takes_any_batch(ticket):
    loaded = jax.export.deserialize(bytearray(exports.stablehlo(ticket)))
    assert loaded.platforms == ("cpu", "cuda", "tpu")
    for images in (IMAGES, IMAGES[:2]):
        np.testing.assert_allclose(loaded.call(images), tickets.predict(ticket, images), atol=1e-4)


def test_an_export_has_convolutions_for_every_machine():
    model = {"name": "conv2", "activation": "elu", "norm": "none", "stages": [32],
             "features": [20, 20]}  # fmt: skip
    shapes = {"conv1": (3, 3, 1, 32), "conv2": (3, 3, 32, 32), "dense1": (512, 20),
              "dense2": (20, 20), "dense3": (20, 10)}  # fmt: skip
    wide = random_ticket(shapes, 0.3, levels=0, model=model)
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


def test_onnx_that_is_not_installed_is_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    tickets.save_ticket(tmp_path / "a", ticket_of("fcn"))
    assert cli.main(["export", f"--ticket={tmp_path / 'a'}", f"--onnx={tmp_path / 'b'}"]) == 1
    assert "pip install supermask-jax[onnx]" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_onnx_that_does_not_go_with_this_jax_is_one_line(monkeypatch, tmp_path, capsys):
    def to_onnx(*args, **options):
        raise AttributeError("module 'jax' has\n no attribute 'thing'")

    module = types.SimpleNamespace(to_onnx=to_onnx)
    monkeypatch.setitem(sys.modules, "jax2onnx", module)
    monkeypatch.setattr(exports, "versions", lambda names: dict.fromkeys(names, "9.9"))
    tickets.save_ticket(tmp_path / "a", ticket_of("fcn"))
    assert cli.main(["export", f"--ticket={tmp_path / 'a'}", f"--onnx={tmp_path / 'b'}"]) == 1
    error = capsys.readouterr().err
    assert "with jax2onnx 9.9 and jax 9.9 (module 'jax' has no attribute" in error
    assert "pip install supermask-jax[onnx]" in error and error.count("\n") == 1
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
