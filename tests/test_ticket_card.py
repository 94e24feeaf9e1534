"""Tickets as a reader sees them: by name, as text, as a card."""

import pytest
from helpers import ROOT

from supermask_jax import tickets
from supermask_jax.errors import UserError


def test_a_ticket_that_ships_is_loaded_by_name():
    names = tickets.shipped_tickets()
    assert names.keys() == {path.stem for path in (ROOT / "tickets").glob("*.safetensors")}
    named = tickets.load_ticket("fcn-sparse")
    filed = tickets.load_ticket(ROOT / "tickets" / "fcn-sparse.safetensors")
    assert tickets.digest(named) == tickets.digest(filed)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("fcn-spars", "unknown ticket 'fcn-spars': did you mean 'fcn-sparse'"),
        ("nowhere/fcn-sparse", "there is no file nowhere/fcn-sparse"),
        ("fcn-sparse.safetensors", "there is no file fcn-sparse.safetensors"),
    ],
)
def test_what_does_not_ship_is_one_line(place, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=words):
        tickets.load_ticket(place)


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ours = tickets.load_ticket("fcn-best")
    tickets.save_ticket("fcn-sparse", ours)
    assert tickets.digest(tickets.load_ticket("fcn-sparse")) == tickets.digest(ours)


def test_the_text_of_a_ticket_is_five_lines():
    lines = repr(tickets.load_ticket("fcn-sparse")).splitlines()
    assert lines[:4] == [
        "Ticket of signed",
        "network    fcn, images 28 x 28 x 1, 10 classes",
        "accuracy   98.03 [97.74, 98.28] % on mnist test, n = 10,000",
        "remaining  1.23 % of 266,200 weights".replace(" %", "%"),
    ]
    assert lines[4].startswith("layers     dense1/kernel ") and len(lines) == 5
    assert "and 1 more" in repr(tickets.load_ticket("conv2-best")).splitlines()[4]


def test_the_text_of_a_dense_ticket_and_of_one_that_was_not_measured():
    ticket = tickets.load_ticket("fcn-sparse")._replace(layers={}, accuracy={}, model={}, method="")
    said = repr(ticket)
    for words in ("an unknown method", "an unknown network", "not measured", "dense", "none"):
        assert words in said
    assert "<img" not in ticket._repr_html_()


def test_the_card_shows_layers_and_a_mask_and_escapes_names():
    ticket = tickets.load_ticket("fcn-sparse")
    layers = {f"<b>{name}": layer for name, layer in ticket.layers.items()}
    card = ticket._replace(layers=layers, method="<i>mine")._repr_html_()
    assert "<b>dense" not in card and "<i>mine" not in card
    for name, layer in ticket.layers.items():
        assert f"&lt;b&gt;{name}" in card and f"{layer.density:.2%}" in card
    assert "98.03 [97.74, 98.28] %" in card and "src='data:image/png;base64," in card
    assert len(card) < 60_000
