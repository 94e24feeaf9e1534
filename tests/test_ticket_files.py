"""What is saved is what is loaded, bit for bit, near the entropy bound; what is changed is told."""

import numpy as np
import pytest
from helpers import assert_refused
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from ticket_helpers import FCN, SMALL, random_ticket, same

from supermask_jax import tickets
from supermask_jax.errors import UserError
from supermask_jax.tickets.comparison import entropy_bound
from supermask_jax.tickets.drawn import without_values
from supermask_jax.tickets.file import decode_ticket, encode_ticket

RNG = np.random.default_rng(0)
DESCRIPTION = 750  # bytes of header and metadata


@given(st.tuples(st.integers(1, 12), st.integers(1, 12)), st.floats(0, 1), st.integers(0, 99))
@settings(max_examples=300)
def test_any_mask_comes_back(shape, density, seed):
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < density
    mask[rng.random(shape[0]) < 0.3] = False  # dead rows
    layer = tickets.make_layer(mask * np.float32(0.1), mask)
    ticket = random_ticket()._replace(layers={"dense1/kernel": layer})
    assert same(decode_ticket(encode_ticket(ticket)[0]), ticket)


MEASURED = {"data": "digits", "split": "test", "images": 360}


def test_gaps_of_any_length_come_back():
    # A gap is written in bytes of 255 and a rest: 254, 255 and 256 are its corners.
    for gaps in ([254], [255], [256], [0, 509, 510, 511, 0], [70_000, 1]):
        mask = np.zeros((1, 100_000), bool)
        mask[0, np.cumsum(np.array(gaps) + 1) - 1] = True
        for shaped in (mask, mask.T):
            layer = tickets.make_layer(shaped * np.float32(0.1), shaped)
            ticket = random_ticket()._replace(layers={"w": layer})
            assert same(decode_ticket(encode_ticket(ticket)[0]), ticket)


@pytest.mark.parametrize("density", [0.035, 0.1, 0.4, 0.5, 0.9])
def test_the_size_is_near_the_entropy_bound(density):
    ticket = random_ticket(FCN, density)
    content, _ = encode_ticket(ticket)
    assert len(content) <= 1.03 * entropy_bound(ticket) + DESCRIPTION


def test_conv2_at_the_density_of_the_paper():
    shapes = {"conv1": (3, 3, 3, 64), "conv2": (3, 3, 64, 64)}
    shapes |= {"dense1": (16384, 256), "dense2": (256, 256), "dense3": (256, 10)}
    content, saved = encode_ticket(random_ticket(shapes, 0.006, image_shape=(32, 32, 3)))
    assert len(content) <= 1.03 * entropy_bound(saved) + DESCRIPTION
    assert same(decode_ticket(content), saved)


def test_rows_and_columns_that_are_dead_cost_nearly_nothing():
    rng = np.random.default_rng(0)
    mask = (rng.random((784, 300)) < 0.1) & (rng.random((784, 1)) < 0.3) & (rng.random(300) < 0.5)
    ticket = random_ticket(FCN, 0.1)
    layer = tickets.make_layer(mask * np.float32(0.1), mask)
    ticket = ticket._replace(layers=dict(ticket.layers) | {"dense1/kernel": layer})
    assert len(encode_ticket(ticket)[0]) < 0.9 * entropy_bound(ticket) + DESCRIPTION


@pytest.mark.parametrize("levels", [0, 1, 3])
@pytest.mark.parametrize("density", [0.0, 0.01, 0.3, 1.0])
def test_round_trip(tmp_path, levels, density):
    free = {"dense1": {"bias": RNG.normal(size=30).astype("f4")}}
    stats = {"dense1_norm": {"bn": {"mean": np.ones(30, "f4"), "var": np.ones(30, "f4")}}}
    ticket = random_ticket(SMALL, density, levels=levels, free=free, batch_stats=stats)
    saved = tickets.save_ticket(tmp_path / "a.safetensors", ticket)
    loaded = tickets.load_ticket(tmp_path / "a.safetensors")
    assert same(saved, ticket) and same(loaded, ticket)
    assert loaded.density == ticket.density
    params = tickets.to_params(loaded)
    for name, layer in ticket.layers.items():
        node = params[name.split("/")[0]]["kernel"]
        assert node.dtype == np.float32 and (node == layer.dense()).all()
    assert (params["dense1"]["bias"] == free["dense1"]["bias"]).all()
    stats_found = tickets.to_variables(loaded)["batch_stats"]
    assert (stats_found["dense1_norm"]["bn"]["var"] == 1).all()


def test_a_dense_network_is_a_ticket_without_masks():
    params = {"dense1": {"kernel": RNG.normal(size=(64, 10)).astype("f4")}}
    ticket = tickets.from_run(
        params, {}, model={"name": "fcn"}, num_classes=10, image_shape=(8, 8, 1)
    )
    loaded = decode_ticket(encode_ticket(ticket)[0])
    assert loaded.density == 1 and same(loaded, ticket)
    images = RNG.normal(size=(3, 8, 8, 1)).astype("f4")
    expected = images.reshape(3, -1) @ params["dense1"]["kernel"]
    np.testing.assert_allclose(tickets.predict(loaded, images), expected, atol=1e-4)


def test_values_of_pruned_weights_are_kept():
    ticket = random_ticket(SMALL, 0.5, levels=0)
    name, layer = next(iter(ticket.layers.items()))
    mask, weights = layer.mask(), RNG.normal(size=layer.shape).astype("f4")
    ticket = ticket._replace(layers=dict(ticket.layers) | {name: tickets.make_layer(weights, mask)})
    loaded = decode_ticket(encode_ticket(ticket)[0])
    assert (loaded.layers[name].dense() == weights).all()
    assert (loaded.layers[name].mask() == mask).all()


@pytest.mark.parametrize("values, bits", [("float16", 11), ("bfloat16", 8)])
def test_rounded_values(values, bits):
    ticket = random_ticket(SMALL, 0.3, levels=0)
    content, saved = encode_ticket(ticket, values=values)
    loaded = decode_ticket(content)
    assert same(loaded, saved) and not same(loaded, ticket)
    assert len(content) < len(encode_ticket(ticket)[0])
    for name, layer in loaded.layers.items():
        exact = ticket.layers[name].values
        np.testing.assert_allclose(layer.values, exact, rtol=2.0**-bits)
        assert (np.abs(layer.values - exact) > 0).any()
    # Layers of few magnitudes are exact whatever is asked for.
    assert same(encode_ticket(random_ticket(), values=values)[1], random_ticket())


def test_signs_and_a_seed():
    ticket = random_ticket(SMALL, 0.3, levels=0)
    drawn = {n: RNG.normal(size=layer.shape).astype("f4") for n, layer in ticket.layers.items()}
    signs = {n: np.where(RNG.random(w.shape) < 0.5, -w, w) for n, w in drawn.items()}
    layers = {
        n: tickets.make_layer(signs[n] * layer.mask(), layer.mask())
        for n, layer in ticket.layers.items()
    }
    ticket = ticket._replace(layers=layers)
    short, _ = encode_ticket(without_values(ticket, drawn))
    assert len(short) < len(encode_ticket(ticket)[0]) / 2
    loaded = decode_ticket(short)
    with pytest.raises(UserError, match="add them with tickets.fill"):
        tickets.to_params(loaded)
    assert same(tickets.fill(loaded, drawn), ticket)
    drawn["dense1/kernel"] = drawn["dense1/kernel"] * np.float32(1.5)
    with pytest.raises(UserError, match="not the weights of the ticket.s run"):
        tickets.fill(loaded, drawn)
    with pytest.raises(UserError, match="1 or -1 times those drawn from the seed"):
        without_values(ticket, drawn)


def test_other_libraries_read_the_container(tmp_path):
    path = tmp_path / "a.safetensors"
    tickets.save_ticket(path, random_ticket(levels=0, free={"dense1": {"bias": np.ones(30, "f4")}}))
    with safe_open(path, "np") as file:
        assert set(file.keys()) == {"meta", "positions", "signs", "values", "free"}
        assert file.metadata() == {"format": "supermask-ticket-2"}
        assert (file.get_tensor("free") == 1).all()


def test_one_network_has_one_digest():
    weights = RNG.normal(size=(4, 5)).astype("f4")
    mask = RNG.random((4, 5)) < 0.5
    weights[mask.nonzero()[0][0], mask.nonzero()[1][0]] = 0  # kept, and -0 once inverted
    minus = np.where(weights == 0, np.float32(-0.0), weights) * mask
    model = {"model": {"name": "fcn"}, "num_classes": 5, "image_shape": (2, 2, 1)}
    a, b = (
        tickets.from_run({"dense1": {"kernel": w}}, {"dense1": {"kernel": mask}}, **model)
        for w in (weights * mask, minus)
    )
    assert tickets.digest(a) == tickets.digest(b)
    flipped = a._replace(layers={n: v._replace(values=-v.values) for n, v in a.layers.items()})
    assert tickets.digest(flipped) != tickets.digest(a)


def test_what_cannot_be_a_ticket():
    mask = {"dense1": {"kernel": np.ones((4, 5))}}
    model = {"model": {"name": "fcn"}, "num_classes": 5, "image_shape": (2, 2, 1)}
    kernel, broken = np.ones((4, 5), "f4"), np.ones((4, 5), "f4")
    broken[1, 2] = np.nan
    huge = random_ticket(levels=0)
    name, layer = next(iter(huge.layers.items()))
    huge = huge._replace(layers={name: layer._replace(values=layer.values * np.float32(1e6))})

    def made(**leaves):
        return encode_ticket(tickets.from_run({"dense1": leaves}, mask, **model))

    cases = [
        (r"of shape \(4, 5\) has no array", lambda: made(kernel=kernel.T)),
        ("'dense1/bias' is int32", lambda: made(kernel=kernel, bias=np.ones(5, np.int32))),
        ("not 3 whole numbers", lambda: encode_ticket(random_ticket(image_shape=(64,)))),
        ("type float", lambda: encode_ticket(random_ticket(accuracy=MEASURED | {"value": 1}))),
        ("not finite", lambda: made(kernel=broken)),
        ("not finite", lambda: made(kernel=kernel, bias=np.full(5, np.inf, "f4"))),
        ("not finite", lambda: encode_ticket(huge, values="float16")),
        ("not plain JSON", lambda: encode_ticket(random_ticket(config={"f": len}))),
        ("unknown dtype of values", lambda: encode_ticket(random_ticket(), values="int8")),
    ]
    assert_refused(cases)


def test_files_that_cannot_be_read_or_written(tmp_path):
    text = tmp_path / "text"
    text.write_text("hello, this is no ticket")
    cases = [
        ("there is no file", lambda: tickets.load_ticket(tmp_path / "none")),
        ("there is no file", lambda: tickets.load_ticket(tmp_path)),
        ("cannot write", lambda: tickets.save_ticket(text / "in a file", random_ticket())),
        ("cannot use ticket .*text: it is cut short", lambda: tickets.load_ticket(text)),
    ]
    assert_refused(cases)
    assert [p.name for p in tmp_path.iterdir()] == ["text"]
