"""Latency of a ticket's network against the dense network: interleaved, on one thread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from supermask_jax.tickets.inference import Network
from supermask_jax.tickets.layers import chain
from supermask_jax.tickets.ticket import Ticket, to_variables

Runs = dict[str, Callable[[], Any]]


class Timing(NamedTuple):
    """One network part at one batch size.

    Attributes:
      part: "network", or "dense layers".
      batch: images in a call.
      seconds: way of running it -> median of a call.
    """

    part: str
    batch: int
    seconds: dict[str, float]


def measure(
    ticket: Ticket, *, batches: Sequence[int] = (1, 128), rounds: int = 21, seconds: float = 0.02
) -> list[Timing]:
    """Times a ticket's network, and its dense layers alone where it has convolutions.

    Input is preprocessed random images, the same for all. Ways take turns, A B C A B C, each for
    about `seconds`, and what counts is the median over the rounds: other work on the machine then
    meets all of them alike. NumPy, SciPy and JAX (where it is installed) run on one thread; JAX's
    input is on the device already. For that, JAX must not have been imported before.

    Args:
      ticket: of a model that runs without JAX.
      batches: numbers of images.
      rounds: turns of each way.
      seconds: length of a turn.

    Raises:
      UserError: the model does not run here.
    """
    rng, timings = np.random.default_rng(0), []
    tail = dense_layers(ticket)
    with threadpool_limits(1):
        for batch in batches:
            for part, network in (("network", ticket), ("dense layers", tail)):
                if network is None:
                    continue
                images = rng.normal(size=(batch, *network.image_shape)).astype(np.float32)
                median = _interleaved(ways(network, images), rounds, seconds)
                timings.append(Timing(part, batch, median))
    return timings


def ways(ticket: Ticket, images: np.ndarray) -> Runs:
    """Returns {way of running it: call} for one batch of preprocessed images."""
    networks = {
        "dense, NumPy": Network(ticket, route="dense", drop_dead=False),
        "ticket": Network(ticket),
        "all sparse": Network(ticket, route="sparse"),
    }
    runs: Runs = {name: partial(network, images) for name, network in networks.items()}
    try:
        runs["dense, JAX"] = _jitted(ticket, images)
    except ImportError:
        pass
    return runs


def dense_layers(ticket: Ticket) -> Ticket | None:
    """Returns the dense layers of a convolutional network as a network of its own, else None."""
    blocks = chain(ticket)
    if blocks[0].kernel.ndim == 2:
        return None
    tail = [block for block in blocks if block.kernel.ndim == 2]
    keep = [block.name for block in tail]
    options = {n: v for n, v in ticket.model.items() if n.startswith(("activation", "norm"))}
    if options.get("norm") == "stem":
        options["norm"] = "none"
    features = tuple(block.kernel.shape[1] for block in tail[:-1])

    def part(arrays: Any) -> dict[str, Any]:
        return {n: a for n, a in arrays.items() if n.split("/")[0].removesuffix("_norm") in keep}

    return ticket._replace(
        layers=part(ticket.layers),
        params=part(ticket.params),
        batch_stats=part(ticket.batch_stats),
        model={"name": "fcn", **options, "features": features},
        image_shape=(1, 1, tail[0].kernel.shape[0]),
    )


def _jitted(ticket: Ticket, images: np.ndarray) -> Callable[[], Any]:
    import jax

    from supermask_jax.tickets.flax import model

    variables, x = jax.device_put((to_variables(ticket), images))
    call = jax.jit(model(ticket).apply)
    return lambda: jax.block_until_ready(call(variables, x))


def _interleaved(runs: Runs, rounds: int, seconds: float) -> dict[str, float]:
    """Returns the median seconds of a call of each."""
    calls = {}
    for name, run in runs.items():
        run()  # Compiles, and touches memory for the first time.
        start = time.perf_counter()
        run()
        calls[name] = max(int(seconds / max(time.perf_counter() - start, 1e-7)), 1)
    spans: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            for _ in range(calls[name]):
                run()
            spans[name].append((time.perf_counter() - start) / calls[name])
    return {name: statistics.median(times) for name, times in spans.items()}
