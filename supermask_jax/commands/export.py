"""``supermask export``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from supermask_jax.commands.common import add_json, add_seed, check_out
from supermask_jax.errors import UserError

if TYPE_CHECKING:
    from supermask_jax.tickets import Ticket

EPILOG = """\
A ticket is made of the newest checkpoint in a work folder, whether or not the run is finished; of
a level of pruning, of its files. With --ticket, the other formats are made of a ticket.
"""
EXAMPLES = (
    "export --workdir=runs/quickstart-s0 --out=quickstart.safetensors",
    "export --ticket=tickets/fcn-sparse.safetensors --onnx=fcn.onnx",
)

_VALUES = """\
how kept weights are stored where a layer has many magnitudes; seed stores signs alone, for weights
that the same version of JAX draws again (default: float32)"""
_HUB = """\
put the ticket and a card into this repository of the Hugging Face Hub; needs pip install
supermask-jax[hub]"""
_FORMATS = {
    "stablehlo": "for jax.export, on CPU, CUDA and TPU",
    "onnx": "needs pip install supermask-jax[onnx]",
    "safetensors": "dense weights as PyTorch names them",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--workdir", type=Path, metavar="FOLDER", help="work folder of a run")
    source.add_argument("--ticket", type=Path, metavar="FILE", help="a ticket made before")
    add_seed(parser)
    add("--out", type=Path, metavar="FILE", help="where the ticket goes")
    values = ("float32", "float16", "bfloat16", "seed")
    add("--values", default="float32", choices=values, help=_VALUES)
    add("--license", metavar="NAME", default="", help="such as Apache-2.0; the ticket states it")
    add("--hub", metavar="OWNER/NAME", help=_HUB)
    add("--measure", action="store_true", help="measure the accuracy anew: loads the data set")
    for name, what in _FORMATS.items():
        add(f"--{name}", type=Path, metavar="FILE", help=what)
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Writes the files that the command line names."""
    others = {name: path for name in _FORMATS if (path := getattr(args, name)) is not None}
    if args.out is None and not (others or args.hub):
        raise UserError("nothing to write: give --out, --hub, --stablehlo, --onnx or --safetensors")
    for path in (args.out, *others.values()):
        check_out(path)
    from supermask_jax import tickets
    from supermask_jax.commands.places import about
    from supermask_jax.commands.restore import ticket_of
    from supermask_jax.tickets import card
    from supermask_jax.tickets.drawn import without_values
    from supermask_jax.tickets.exports import to_bytes
    from supermask_jax.tickets.file import write

    if args.workdir:
        ticket, weights = ticket_of(args.workdir, args.seed)
    else:
        ticket, weights = tickets.load_ticket(args.ticket), {}
    dtype = "float32" if args.values == "seed" else args.values
    # Rounded weights have an accuracy of their own.
    stored = tickets.rounded(ticket, dtype)
    if args.measure or tickets.digest(stored) != tickets.digest(ticket):
        stored = _with_accuracy(stored)
    if args.license:
        stored = stored._replace(license=args.license)
    for name, path in others.items():
        write(path, to_bytes(stored, name))
    if args.out is not None:
        if args.values == "seed":
            stored = without_values(stored, weights)
        tickets.save_ticket(args.out, stored, values=dtype)
        others["ticket"] = args.out
    found = {name: {"file": str(p), "bytes": p.stat().st_size} for name, p in others.items()}
    if args.hub:
        found["hub"] = {"file": tickets.push_to_hub(stored, args.hub), "bytes": 0}
    if args.json:
        print(json.dumps(found | {"about": about(stored)}, indent=2))
        return
    told = card.about(stored)
    for name, entry in found.items():
        more = f", {told['remaining']}, accuracy {told['accuracy']}" if name == "ticket" else ""
        size = "pushed" if name == "hub" else f"{entry['bytes']:,} bytes"
        print(f"{entry['file']}: {size}{more}")


def _with_accuracy(ticket: Ticket) -> Ticket:
    """Returns the ticket with its accuracy on the test set of its run, measured with NumPy."""
    from supermask_jax import experiment, tickets
    from supermask_jax.commands.restore import full_config
    from supermask_jax.tickets.chain import CHAINS
    from supermask_jax.training.summary import accuracy_on

    if ticket.model["name"] not in CHAINS:
        raise UserError(f"model {ticket.model['name']!r} cannot be measured without its run")
    data = experiment.load_data(full_config(dict(ticket.config)))
    value = tickets.accuracy(ticket, data.test.images, data.test.labels)
    return ticket._replace(accuracy=accuracy_on({"name": data.name}, value))
