"""The tickets in ``tickets/``: each is whole, and has the accuracy that it stores."""

import numpy as np
import pytest
from helpers import ROOT
from ticket_helpers import OLD, same

from supermask_jax import tickets
from supermask_jax.commands.ticket import table
from supermask_jax.data import load
from supermask_jax.errors import UserError
from supermask_jax.tickets.file import decode_ticket, encode_ticket

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


# What the release that wrote them said of their contents.
DIGESTS = {
    "mnist-signed_topk-0.01": "fe092f0d6dc8bf91b86fc696f57afab1a3bfa236a889e54c1302f6f8785762b6",
    "signs": "10e84225ce615eaa18ecf755439f391608ea6971e2261532dae57ca413cddd5d",
    "values": "14891cecbb5429653338adbcaef1308c4bb6f28169c3d9c8491b8943d34df23c",
}


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_a_ticket_of_version_1_is_read_and_is_the_same_network_in_version_2(path):
    assert b"supermask-ticket-1" in path.read_bytes()
    old = tickets.load_ticket(path)
    assert tickets.digest(old) == DIGESTS[path.stem]
    content, _ = encode_ticket(old)
    new = decode_ticket(content)
    assert b"supermask-ticket-2" in content and same(old, new)
    images = np.random.default_rng(0).integers(0, 256, (3, *old.image_shape), np.uint8)
    assert (tickets.predict(old, images) == tickets.predict(new, images)).all()
