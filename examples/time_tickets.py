"""Times tickets beside their dense networks: `python time_tickets.py ../tickets/*.safetensors`.

Writes `results/latency-NAME.json` for each; "Why is my model not faster?" reads them. One thread,
ways interleaved, medians; run it on a machine that does nothing else. JAX is timed where it is, and
ONNX Runtime where the extra "onnx" is.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from supermask_jax import tickets
from supermask_jax.errors import UserError
from supermask_jax.tickets.chain import chain

ROOT = Path(__file__).resolve().parent.parent
Runs = dict[str, Callable[[], Any]]


def ways(ticket: tickets.Ticket, images: np.ndarray) -> Runs:
    """Returns {way of running it: call} for one batch of preprocessed images."""
    networks = {
        "dense, NumPy": tickets.Network(ticket, route="dense", drop_dead=False),
        "ticket": tickets.Network(ticket),
        "all sparse": tickets.Network(ticket, route="sparse"),
    }
    runs: Runs = {name: partial(network, images) for name, network in networks.items()}
    try:
        import jax

        from supermask_jax.tickets.exports import model, to_bytes
    except ImportError:
        return runs
    variables, x = jax.device_put((tickets.to_variables(ticket), images))
    call = jax.jit(model(ticket).apply)
    runs["dense, JAX"] = lambda: jax.block_until_ready(call(variables, x))
    try:
        import onnxruntime

        content = to_bytes(ticket, "onnx")
    except (ImportError, UserError):
        return runs
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options)
    (taken,) = session.get_inputs()
    return runs | {"dense, ONNX Runtime": partial(session.run, None, {taken.name: images})}


def dense_layers(ticket: tickets.Ticket) -> tickets.Ticket | None:
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


def interleaved(runs: Runs, rounds: int, seconds: float) -> dict[str, float]:
    """Returns the median seconds of a call of each; they take turns of about `seconds`."""
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


def measure(ticket: tickets.Ticket, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Times a network at batches of 1, 16 and 128; after convolutions also its dense layers."""
    rng, timings = np.random.default_rng(0), []
    parts = {"network": ticket, "dense layers": dense_layers(ticket)}
    with threadpool_limits(1):
        for batch in (1, 16, 128):
            for part, network in parts.items():
                if network is not None:
                    images = rng.normal(size=(batch, *network.image_shape)).astype(np.float32)
                    found = interleaved(ways(network, images), rounds, seconds)
                    timings.append({"part": part, "batch": batch, "seconds": found})
    return timings


def time_ticket(path: Path, out: Path, rounds: int, seconds: float = 0.02) -> dict[str, Any]:
    ticket = tickets.load_ticket(path)
    result = {
        "ticket": path.stem,
        "command": f"python examples/time_tickets.py tickets/{path.name} --rounds={rounds}",
        "density": ticket.density,
        "cpu_count": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "timings": measure(ticket, rounds, seconds),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / f"latency-{path.stem}.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tickets", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    args = parser.parse_args()
    # Before JAX starts, which reads it once: one thread, as NumPy gets.
    flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
    os.environ["JAX_PLATFORMS"] = "cpu"
    for path in args.tickets:
        for timing in time_ticket(path, args.out, args.rounds)["timings"]:
            shown = ", ".join(f"{way} {1e3 * s:,.3f} ms" for way, s in timing["seconds"].items())
            print(f"{path.stem}, {timing['part']}, batch of {timing['batch']}: {shown}")


if __name__ == "__main__":
    main()
