"""The tickets in ``tickets/``: each is whole, and has the accuracy that it stores."""

import pytest
from helpers import ROOT

from supermask_jax import tickets
from supermask_jax.commands.ticket import table
from supermask_jax.data import load
from supermask_jax.errors import UserError

PATHS = sorted((ROOT / "tickets").glob("*.safetensors"))
NAMES = [path.stem for path in PATHS]


def test_there_are_some_and_their_page_is_up_to_date():
    assert len(PATHS) >= 5
    assert table(PATHS) in (ROOT / "tickets" / "README.md").read_text()


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_a_kept_ticket_is_whole_and_small(path):
    ticket = tickets.load_ticket(path)
    assert len(tickets.digest(ticket)) == 64
    assert 0 < ticket.density < 1
    assert path.stat().st_size < 4 * sum(layer.size for layer in ticket.layers.values()) / 5


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_a_kept_ticket_has_its_accuracy(path):
    ticket = tickets.load_ticket(path)
    stored = ticket.accuracy
    try:
        data = load(stored["data"], sources=("cache", "tfds"))
    except UserError as error:
        pytest.skip(f"no {stored['data']} at hand: {error}")
    # CIFAR-10's convolutions take minutes in NumPy: fewer images, and a wider bound.
    count = stored["images"] if stored["data"] == "mnist" else 200
    examples = getattr(data, stored["split"])
    found = tickets.accuracy(ticket, examples.images[:count], examples.labels[:count])
    assert found == pytest.approx(stored["value"], abs=2e-4 if count > 200 else 0.12)
