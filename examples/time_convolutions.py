"""Times the ways to compute a 3 x 3 convolution: `python time_convolutions.py`.

Writes `results/convolutions.json`; "On a CPU" reads it. Each dispatch computes four times, every
time with a kernel that waits for the last result, as the steps of a dispatch wait for another:
so that the memory that a dispatch takes anew is shared as it is in training. Ways take turns.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from supermask_jax.models import im2col, winograd
from supermask_jax.training.environment import environment

ROOT = Path(__file__).resolve().parent.parent
# (height and width, channels, features): the layers of Conv8.
SHAPES = (
    (32, 3, 64),
    (32, 64, 64),
    (16, 64, 128),
    (16, 128, 128),
    (8, 128, 256),
    (8, 256, 256),
    (4, 256, 512),
    (4, 512, 512),
)
TIMES = 4


def xla(x: jax.Array, kernel: jax.Array) -> jax.Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)


def shifted(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Adds nine products: no patches, but nine results to add up."""
    size = x.shape[1]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return sum(
        padded[:, i : i + size, j : j + size] @ kernel[i, j] for i in range(3) for j in range(3)
    )


WAYS = {
    "xla": xla,
    "patches": im2col.conv3x3,
    "shifted": shifted,
    "tiles of 2": winograd.conv3x3(2),
    "tiles of 4": winograd.conv3x3(4),
    "tiles of 4, in one piece": winograd.conv3x3(4, 2**62),
}


def programs(way):
    """The compiled forward and backward pass, `TIMES` each."""

    def forward(x, kernel, dy):
        for _ in range(TIMES):
            y = way(x, kernel)
            kernel = kernel + 1e-30 * y[0, 0, 0]
        return kernel

    def backward(x, kernel, dy):
        for _ in range(TIMES):
            dx, dkernel = jax.vjp(way, x, kernel)[1](dy)
            kernel = kernel + 1e-30 * dkernel + 1e-30 * dx[0, 0, 0, :, None]
        return kernel

    return {"forward": jax.jit(forward), "backward": jax.jit(backward)}


def time_shape(batch: int, size: int, channels: int, features: int, rounds: int) -> list[dict]:
    rng = np.random.default_rng(0)
    shapes = (
        (batch, size, size, channels),
        (3, 3, channels, features),
        (batch, size, size, features),
    )
    operands = [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]
    seconds = {}
    for way, each in {name: programs(way) for name, way in WAYS.items()}.items():
        for part, program in each.items():
            jax.block_until_ready(program(*operands))
            seconds[way, part] = (program, [])
    for _ in range(rounds):
        for program, taken in seconds.values():
            start = time.perf_counter()
            jax.block_until_ready(program(*operands))
            taken.append((time.perf_counter() - start) / TIMES)
    return [
        {
            "size": size,
            "channels": channels,
            "features": features,
            "way": way,
            **{
                f"{part}_seconds": statistics.median(seconds[way, part][1])
                for part in ("forward", "backward")
            },
        }
        for way in WAYS
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "convolutions.json")
    args = parser.parse_args()
    result = {
        "command": f"python examples/time_convolutions.py --batch={args.batch} "
        f"--rounds={args.rounds}",
        "env": environment(),
        "batch": args.batch,
        "cases": [],
    }
    for shape in SHAPES:
        found = time_shape(args.batch, *shape, args.rounds)
        result["cases"] += found
        for case in found:
            print(*case.values())
    args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
