"""A ticket gives the logits of `model.apply`, without JAX, and dropping dead units is exact."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ROOT
from ticket_helpers import SMALL, SMALL_CONV, norm_stats, random_ticket

from supermask_jax import models, tickets
from supermask_jax.data import DATASETS
from supermask_jax.data.preprocess import PREPROCESSES
from supermask_jax.data.transforms import get_preprocess, standardize
from supermask_jax.errors import UserError
from supermask_jax.run_files import flat
from supermask_jax.tickets.chain import ACTIVATIONS, chain, preprocess
from supermask_jax.tickets.numpy_model import Network, without_dead

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (7, 8, 8, 1), np.uint8)
CONV_OPTIONS = {"stages": (6,), "features": (20, 20)}


def flax_logits(ticket, images=IMAGES):
    options = {name: value for name, value in ticket.model.items() if name != "name"}
    if ticket.model["name"] == "conv2":
        options |= CONV_OPTIONS
    else:
        options["features"] = (30, 10)
    model = models.get(ticket.model["name"], num_classes=ticket.num_classes, **options)
    variables = tickets.to_variables(ticket)
    return np.asarray(model.apply(variables, standardize(jnp.asarray(images))))


@pytest.mark.parametrize("route", ["auto", "sparse", "dense"])
@pytest.mark.parametrize("activation", ["elu", "elu_1.673", "relu", "binary"])
@pytest.mark.parametrize("norm", ["none", "all"])
@pytest.mark.parametrize("shapes", [SMALL, SMALL_CONV], ids=["fcn", "conv"])
def test_logits_equal_those_of_flax(shapes, norm, activation, route):
    model = {"name": "conv2" if shapes is SMALL_CONV else "fcn", "activation": activation}
    stats = norm_stats(shapes) if norm == "all" else None
    model["norm"] = norm
    ticket = random_ticket(shapes, 0.12, levels=0, batch_stats=stats, model=model)
    expected = flax_logits(ticket)
    for drop_dead in (True, False):
        found = Network(ticket, route=route, drop_dead=drop_dead)(IMAGES)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-4)


def flax_case(shapes, **norm):
    """A ticket of a network with the options of its norm, and what Flax makes of these."""
    name = "conv2" if shapes is SMALL_CONV else "fcn"
    ticket = random_ticket(shapes, 0.3, levels=0, model={"name": name, **norm})
    options = CONV_OPTIONS if name == "conv2" else {"features": (30, 10)}
    model = models.get(**ticket.model, **options, num_classes=10)
    drawn = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    rng = np.random.default_rng(0)
    drawn = jax.tree.map(lambda x: rng.uniform(0.5, 2, x.shape).astype("f4"), drawn)
    free = {n: a for n, a in flat(drawn["params"], "/").items() if not n.endswith("kernel")}
    return ticket._replace(params=free, batch_stats=flat(drawn.get("batch_stats", {}), "/"))


@pytest.mark.parametrize("shapes", [SMALL, SMALL_CONV], ids=["fcn", "conv"])
@pytest.mark.parametrize(
    "norm",
    [
        {"norm": "all", "norm_affine": True},
        {"norm": "stem"},
        {"norm": "all", "norm_frozen": True, "norm_epsilon": 0.3},
        {"norm": "all", "norm_epsilon": 0.3},
    ],
    ids=["affine", "stem", "frozen", "epsilon"],
)
def test_every_kind_of_norm(shapes, norm):
    ticket = flax_case(shapes, **norm)
    np.testing.assert_allclose(tickets.predict(ticket, IMAGES), flax_logits(ticket), atol=1e-4)
    if not norm.get("norm_frozen"):
        with pytest.raises(UserError, match="lacks the statistics"):
            tickets.predict(ticket._replace(batch_stats={}), IMAGES)


@pytest.mark.parametrize("name", sorted(PREPROCESSES))
def test_preprocessing_is_that_of_training(name):
    spec = DATASETS["cifar10"]
    options = {"mean": list(spec.mean), "std": list(spec.std)} if name == "mean_std" else {}
    ticket = random_ticket(preprocessing={"name": name, **options})
    images = RNG.integers(0, 256, (3, 32, 32, 3), np.uint8)
    images[1] = 0
    expected = get_preprocess(name, "cifar10")(jnp.asarray(images))
    np.testing.assert_allclose(preprocess(ticket, images), expected, atol=1e-6)
    with pytest.raises(UserError, match="failed"):
        preprocess(ticket._replace(preprocessing={"name": name, "size": 3}), images)


def test_batches_and_chunks_are_the_same_images(monkeypatch):
    ticket = random_ticket(SMALL_CONV, 0.3)
    whole = tickets.predict(ticket, IMAGES)
    monkeypatch.setattr("supermask_jax.tickets.numpy_model._CHUNK", 10_000)
    assert Network(ticket)._unfolded * 3 > 10_000
    np.testing.assert_allclose(tickets.predict(ticket, IMAGES), whole, atol=1e-6)
    np.testing.assert_allclose(tickets.predict(ticket, IMAGES[2:3]), whole[2:3], atol=1e-6)
    assert tickets.predict(ticket, IMAGES[:0]).shape == (0, 10)


def test_an_odd_image_pools_as_in_flax():
    shapes = SMALL_CONV | {"dense1": (54, 20)}
    ticket = random_ticket(shapes, 0.4, image_shape=(7, 7, 1))
    images = IMAGES[:, :7, :7]
    expected = flax_logits(ticket, images)
    np.testing.assert_allclose(tickets.predict(ticket, images), expected, atol=1e-4)


def test_dead_units_are_dropped_as_far_as_it_goes():
    ticket = random_ticket(SMALL_CONV, 0.5)
    dense = {name: layer.dense() for name, layer in ticket.layers.items()}
    dense["conv1/kernel"][..., 2] = 0  # nothing reaches channel 2
    dense["conv2/kernel"][:, :, :2, 1] = dense["conv2/kernel"][:, :, 3:, 1] = 0
    dense["dense2/kernel"][:, 4] = 0  # unit 4 is reached by nothing
    dense["dense3/kernel"][7] = 0  # and unit 7 read by nothing
    layers = {n: tickets.make_layer(w, w != 0) for n, w in dense.items()}
    ticket = ticket._replace(layers=layers)
    blocks = without_dead(chain(ticket), ACTIVATIONS["elu"])
    # Channel 1 of conv2 read channel 2 alone, so it is dead too, and with it a sixth of dense1.
    widths = {block.name: block.kernel.shape[-2:] for block in blocks}
    assert widths["conv1"] == (1, 5) and widths["conv2"] == (5, 5) and widths["dense1"] == (80, 20)
    assert widths["dense2"] == (20, 18) and widths["dense3"] == (18, 10)
    np.testing.assert_allclose(tickets.predict(ticket, IMAGES), flax_logits(ticket), atol=1e-4)


@pytest.mark.parametrize("activation", ["elu", "binary"])
@pytest.mark.parametrize("shapes", [SMALL, SMALL_CONV], ids=["fcn", "conv"])
def test_an_empty_network(shapes, activation):
    model = {"name": "conv2" if "conv1" in shapes else "fcn", "activation": activation}
    ticket = random_ticket(shapes, 0.0, model=model)
    for route in ("auto", "sparse", "dense"):
        np.testing.assert_array_equal(Network(ticket, route=route)(IMAGES), flax_logits(ticket))


def test_a_unit_whose_constant_is_not_zero_stays():
    stats = norm_stats(SMALL)
    ticket = random_ticket(SMALL, 0.5, batch_stats=stats, model={"name": "fcn", "norm": "all"})
    dense = {name: layer.dense() for name, layer in ticket.layers.items()}
    dense["dense1/kernel"][:, :5] = 0
    layers = {n: tickets.make_layer(w, w != 0) for n, w in dense.items()}
    ticket = ticket._replace(layers=layers)
    assert chain(ticket)[0].kernel.shape == without_dead(chain(ticket), np.abs)[0].kernel.shape
    np.testing.assert_allclose(tickets.predict(ticket, IMAGES), flax_logits(ticket), atol=1e-4)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"model": {"name": "resnet20"}}, "'resnet20' cannot run without JAX"),
        ({"model": {"name": "fcn", "activation": "swish"}}, "unknown activation 'swish'"),
        ({"image_shape": (9, 8, 1)}, "its input has 72 features"),
        ({"num_classes": 11}, "has 10 outputs, and the network 11"),
        ({"preprocessing": {"name": "whiten"}}, "unknown preprocessing 'whiten'"),
        ({"params": {"head/scale": np.ones(3, "f4")}}, "'head/scale', which model 'fcn' does not"),
    ],
)
def test_what_does_not_run_is_one_line(change, said):
    ticket = random_ticket()._replace(**change)
    assert tickets.to_params(ticket)["dense1"]["kernel"].shape == (64, 30)
    with pytest.raises(UserError, match=said):
        tickets.predict(ticket, IMAGES)
    with pytest.raises(UserError, match="images are of shape"):
        tickets.predict(random_ticket(), IMAGES[0])


def test_loading_and_predicting_need_no_jax(tmp_path):
    ticket = random_ticket(SMALL_CONV, 0.2)
    tickets.save_ticket(tmp_path / "ticket.safetensors", ticket)
    np.savez(tmp_path / "case.npz", images=IMAGES, logits=flax_logits(ticket))
    code = f"""
import sys
for name in ("jax", "jaxlib", "flax", "optax", "orbax", "tensorflow_datasets"):
    sys.modules[name] = None
import numpy as np
from supermask_jax import tickets
case = np.load({str(tmp_path / "case.npz")!r})
ticket = tickets.load_ticket({str(tmp_path / "ticket.safetensors")!r})
error = np.abs(tickets.predict(ticket, case["images"]) - case["logits"]).max()
assert error < 1e-4, error
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint16", "int16"])
def test_integers_are_bytes_whatever_their_width(dtype):
    ticket = random_ticket(SMALL)
    expected = tickets.predict(ticket, IMAGES)
    np.testing.assert_array_equal(tickets.predict(ticket, IMAGES.astype(dtype)), expected)
    np.testing.assert_array_equal(tickets.predict(ticket, IMAGES.astype(dtype).tolist()), expected)
    traced = preprocess(ticket, jnp.asarray(IMAGES.astype(dtype)), jnp)
    np.testing.assert_allclose(traced, preprocess(ticket, IMAGES), atol=1e-5)
    for name in PREPROCESSES:
        of_width = get_preprocess(name, "mnist")
        found = of_width(jnp.asarray(IMAGES.astype("int32")))
        np.testing.assert_array_equal(found, of_width(jnp.asarray(IMAGES)))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_are_preprocessed_already(dtype):
    ticket = random_ticket(SMALL)
    floats = preprocess(ticket, IMAGES).astype(dtype)
    np.testing.assert_allclose(
        tickets.predict(ticket, floats), tickets.predict(ticket, IMAGES), atol=2e-2
    )
    with pytest.raises(UserError, match=f"images are {dtype[:5]}.*as uint8"):
        standardize(jnp.asarray(floats))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES.astype("int32") + 1, "images go from 1 to 256: give integers from 0 to 255"),
        (IMAGES.astype("int8"), "images go from -1[0-9]+ to 1"),
        (IMAGES > 0, "images are bool"),
        (IMAGES.astype(str), "images are <U3"),
        (IMAGES.astype(object), "images are object"),
        (IMAGES.astype(complex), "images are complex128"),
    ],
)
def test_images_of_other_types_are_refused(images, message):
    with pytest.raises(UserError, match=message):
        tickets.predict(random_ticket(SMALL), images)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((7, 1), int), r"labels are of shape \(7, 1\), .*give one for each"),
        (np.eye(10, dtype=int)[:7], r"of one-hot labels their argmax"),
        (3, r"labels are of shape \(\)"),
        ([1, 2], r"labels are of shape \(2,\), and images \(7,\)"),
        (np.arange(7.0), "labels are float64: give integers"),
        (["3"] * 7, "labels are <U1"),
        (None, "labels are object"),
        ([True] * 7, "labels are bool"),
        ([0, 1, 2, 3, 4, 5, 10], "labels go from 0 to 10, and the classes from 0 to 9"),
        ([-1, 1, 2, 3, 4, 5, 6], "labels go from -1"),
    ],
)
def test_labels_are_one_integer_for_each_image(labels, message):
    ticket = random_ticket(SMALL)
    right = np.argmax(tickets.predict(ticket, IMAGES), -1)
    assert tickets.accuracy(ticket, IMAGES, right.astype("uint8").tolist()) == 1
    with pytest.raises(UserError, match=message):
        tickets.accuracy(ticket, IMAGES, labels)
    with pytest.raises(UserError, match="there are no images"):
        tickets.accuracy(ticket, IMAGES[:0], right[:0])
