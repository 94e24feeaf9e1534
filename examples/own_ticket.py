"""Tickets of models of one's own, in Flax and in NNX: `python own_ticket.py`."""

from pathlib import Path

import flax_cnn
import jax
import jax.numpy as jnp
import nnx_adapter
import numpy as np
import optax
from flax import nnx
from training import train

import supermask_jax as sm
from supermask_jax import tickets
from supermask_jax.data import load

TEST = load("digits").test


# --8<-- [start:flax]
def flax_ticket(path: Path, steps: int = 200) -> tickets.Ticket:
    model, method = flax_cnn.CNN(), sm.signed(density=0.2)
    params = jax.jit(model.init)(jax.random.key(0), jnp.ones((1, 8, 8, 1)))["params"]
    found = train(
        apply_fn=lambda params, images: model.apply({"params": params}, images),
        params=params,
        method=method,
        tx=optax.adam(3e-3),
        steps=steps,
    )
    ticket = tickets.from_run(
        method.apply(found.trainable, found.frozen),
        method.masks(found.trainable, found.frozen),
        model={"name": "CNN"},  # what readers are told; your code is not in the file
        num_classes=10,
        image_shape=(8, 8, 1),
        preprocessing={"name": "standardize"},
        method="signed",
    )
    images = tickets.preprocess(ticket, TEST.images)
    logits = model.apply(tickets.to_variables(ticket), images)
    return tickets.save_ticket(path, with_accuracy(ticket, logits))


# --8<-- [end:flax]
# --8<-- [start:accuracy]
def with_accuracy(ticket: tickets.Ticket, logits: jax.Array) -> tickets.Ticket:
    measured = {"data": "digits", "split": "test", "images": len(logits)}
    return ticket._replace(accuracy=measured | {"value": accuracy(logits)})


def accuracy(logits: jax.Array) -> float:
    return float(np.mean(np.argmax(logits, -1) == TEST.labels))


# --8<-- [end:accuracy]
# --8<-- [start:nnx]
def nnx_ticket(path: Path, steps: int = 200) -> tickets.Ticket:
    graphdef, params, rest = nnx.split(nnx_adapter.CNN(rngs=nnx.Rngs(0)), nnx.Param, ...)
    method = sm.signed_topk(density=0.3)
    found = train(
        apply_fn=lambda params, images: nnx.merge(graphdef, params, rest, copy=True)(images),
        params=params,
        method=method,
        tx=optax.adam(3e-3),
        steps=steps,
    )
    effective = method.apply(found.trainable, found.frozen)
    ticket = tickets.from_run(
        effective,
        method.masks(found.trainable, found.frozen),
        model={"name": "CNN"},
        num_classes=10,
        image_shape=(8, 8, 1),
        method="signed_topk",
    )
    logits = nnx.merge(graphdef, effective, rest)(tickets.preprocess(ticket, TEST.images))
    return tickets.save_ticket(path, with_accuracy(ticket, logits))


# --8<-- [end:nnx]
# --8<-- [start:again]
def run_flax_again(place: str) -> jax.Array:
    ticket = tickets.load_ticket(place)  # checked against its digest
    images = tickets.preprocess(ticket, TEST.images)
    return flax_cnn.CNN().apply(tickets.to_variables(ticket), images)


def run_nnx_again(place: str) -> jax.Array:
    ticket = tickets.load_ticket(place)
    model = nnx_adapter.CNN(rngs=nnx.Rngs(1))  # of any weights: the ticket's take their place
    nnx.update(model, tickets.to_tree(ticket, nnx.state(model, nnx.Param)))
    return model(tickets.preprocess(ticket, TEST.images))


# --8<-- [end:again]
# --8<-- [start:arrays]
def for_other_libraries(ticket: tickets.Ticket) -> tuple[dict, dict]:
    arrays = ticket.to_numpy()  # {"Conv_0/kernel": float32 [3, 3, 1, 32], ...}
    state = ticket.to_torch_state_dict(flattened={"Dense_0/kernel": 64})
    return arrays, state  # of which the latter is {"Conv_0.weight": tensor [32, 1, 3, 3], ...}


# --8<-- [end:arrays]
# --8<-- [start:hub]
def share(ticket: tickets.Ticket, repository: str) -> tickets.Ticket:
    place = tickets.push_to_hub(ticket._replace(license="MIT"), repository)  # OWNER/NAME
    return tickets.load_ticket(place)  # anyone can: hf://OWNER/NAME


# --8<-- [end:hub]
def main(folder: str = ".") -> None:
    for name, make, again in (
        ("cnn", flax_ticket, run_flax_again),
        ("cnn-nnx", nnx_ticket, run_nnx_again),
    ):
        path = Path(folder, f"{name}.safetensors")
        print(make(path))
        found = accuracy(again(str(path)))
        print(f"{path}, {path.stat().st_size:,} bytes, run again: {found:.2%}")


if __name__ == "__main__":
    main()
