"""Tickets: found networks as small, verified files, and what can be done with them without JAX.

::

    ticket = tickets.load_ticket("ticket.safetensors")  # or "fcn-sparse", which ships
    logits = tickets.predict(ticket, images)                   # NumPy and SciPy
    logits = model.apply(tickets.to_variables(ticket), tickets.preprocess(ticket, images))  # JAX
"""

from __future__ import annotations

from supermask_jax.tickets import card
from supermask_jax.tickets.card import shipped_tickets as shipped_tickets
from supermask_jax.tickets.chain import preprocess as preprocess
from supermask_jax.tickets.comparison import compare as compare
from supermask_jax.tickets.comparison import intersection as intersection
from supermask_jax.tickets.comparison import union as union
from supermask_jax.tickets.drawn import fill as fill
from supermask_jax.tickets.exports import to_tree as to_tree
from supermask_jax.tickets.file import load_ticket as load_ticket
from supermask_jax.tickets.file import rounded as rounded
from supermask_jax.tickets.file import save_ticket as save_ticket
from supermask_jax.tickets.hub import push_to_hub as push_to_hub
from supermask_jax.tickets.numpy_model import Network as Network
from supermask_jax.tickets.numpy_model import accuracy as accuracy
from supermask_jax.tickets.numpy_model import predict as predict
from supermask_jax.tickets.ticket import Layer as Layer
from supermask_jax.tickets.ticket import Ticket as Ticket
from supermask_jax.tickets.ticket import digest as digest
from supermask_jax.tickets.ticket import from_run as from_run
from supermask_jax.tickets.ticket import make_layer as make_layer
from supermask_jax.tickets.ticket import to_params as to_params
from supermask_jax.tickets.ticket import to_variables as to_variables
from supermask_jax.tickets.ticket_set import load_tickets as load_tickets
from supermask_jax.tickets.ticket_set import save_tickets as save_tickets

Ticket.__repr__, Ticket._repr_html_ = card.text, card.html
