"""Draws a mask while it learns digits: `python draw_mask.py --out=../docs/mask-learning.svg`.

One layer, from pixels to classes, whose weights are all the same positive number: the mask of a
class is then itself a picture. Training takes under a minute on a CPU; colours come from the mask
alone.
"""

import argparse
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import supermask_jax as sm
from supermask_jax.core import initializers
from supermask_jax.data import Dataset, load
from supermask_jax.data.transforms import standardize
from supermask_jax.models.fcn import FCN

EPOCHS = (0, 1, 2, 3, 5, 20)
KEEP, INVERT, PAPER, PANEL, INK, MUTED = (
    "#0072b2",
    "#d55e00",
    "#ffffff",
    "#f1f3f5",
    "#1f2328",
    "#59636e",
)
CELL, GAP, LEFT, TOP = 4, 14, 16, 40


class Drawn(NamedTuple):
    """Masks int8 [pixels, classes] of some epochs, and the accuracy on test at the end."""

    masks: dict[int, np.ndarray]
    accuracy: float


def train(data: Dataset, epochs: tuple[int, ...] = EPOCHS, batch: int = 128) -> Drawn:
    images, labels = standardize(jnp.asarray(data.train.images)), jnp.asarray(data.train.labels)
    model = FCN(data.num_classes, features=(), kernel_init=initializers.constant("he"))
    method = sm.signed(threshold=sm.absolute(0.02))
    params = model.init(jax.random.key(0), images[:1])["params"]
    trainable, frozen = method.init(jax.random.key(1), params)
    steps = len(images) // batch
    falling = optax.cosine_decay_schedule(1.0, max(epochs) * steps)
    tx = sm.sgdw(lambda count: 0.05 * falling(count), lambda count: 1e-3 * falling(count))
    opt_state = tx.init(trainable)

    def apply(trainable, images):
        return model.apply({"params": method.apply(trainable, frozen)}, images)

    def step(carry, rows):
        trainable, opt_state = carry

        def loss_fn(trainable):
            logits = apply(trainable, images[rows])
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels[rows]).mean()

        updates, opt_state = tx.update(jax.grad(loss_fn)(trainable), opt_state, trainable)
        return (optax.apply_updates(trainable, updates), opt_state), None

    @jax.jit
    def epoch(carry, key):
        order = jax.random.permutation(key, len(images))[: steps * batch]
        return jax.lax.scan(step, carry, order.reshape(steps, batch))[0]

    masks = {}
    for i in range(max(epochs) + 1):
        if i:
            key = jax.random.fold_in(jax.random.key(2), i)
            trainable, opt_state = epoch((trainable, opt_state), key)
        if i in epochs:
            masks[i] = np.asarray(method.masks(trainable, frozen)["dense1"]["kernel"])
    logits = apply(trainable, standardize(jnp.asarray(data.test.images)))
    return Drawn(masks, float(jnp.mean(jnp.argmax(logits, -1) == data.test.labels)))


def panel(pixels: np.ndarray, colour: str) -> str:
    """Returns the `True` entries of bool [H, W] as one path of horizontal runs."""
    runs = []
    for y, row in enumerate(pixels):
        x = 0
        for filled, group in groupby(row):
            length = len(list(group))
            if filled:
                runs.append(f"M{x} {y}h{length}v1h-{length}z")
            x += length
    return f'<path fill="{colour}" d="{"".join(runs)}"/>'


def digit(image: np.ndarray) -> str:
    """Returns grey levels [H, W] in 0..1 as paths, four of them."""
    levels = np.round(np.clip(image, 0, 1) * 4)
    greys = {1: "#d0d5da", 2: "#9aa3ad", 3: "#5f6973", 4: "#2b3137"}
    return "".join(panel(levels == level, grey) for level, grey in greys.items())


def svg(drawn: Drawn, data: Dataset, digits: tuple[int, ...]) -> str:
    height, width = data.train.images.shape[1:3]
    side = CELL * width
    columns = [*drawn.masks, None]  # None is the mean digit
    right, bottom = LEFT + len(columns) * (side + GAP), TOP + len(digits) * (side + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right + 2} {bottom + 34}" '
        'font-family="system-ui,sans-serif" font-size="13" text-anchor="middle" role="img">',
        "<title>Masks of one layer while it learns digits</title>",
        f'<rect width="100%" height="100%" rx="10" fill="{PAPER}"/>',
    ]
    for column, epoch in enumerate(columns):
        x = LEFT + column * (side + GAP)
        name = "mean digit" if epoch is None else f"epoch {epoch}" if epoch else "start: random"
        parts.append(f'<text x="{x + side / 2}" y="26" fill="{INK}">{name}</text>')
        for row, number in enumerate(digits):
            y = TOP + row * (side + GAP)
            parts.append(f'<g transform="translate({x} {y}) scale({CELL})">')
            parts.append(f'<rect width="{width}" height="{height}" fill="{PANEL}"/>')
            if epoch is None:
                chosen = data.train.images[data.train.labels == number][..., 0]
                parts.append(digit(1.4 * chosen.mean(0) / 255))
            else:
                mask = drawn.masks[epoch][:, number].reshape(height, width)
                parts += [panel(mask > 0, KEEP), panel(mask < 0, INVERT)]
            parts.append("</g>")
        if epoch is not None:
            kept = np.mean(drawn.masks[epoch] != 0)
            place = f'x="{x + side / 2}" y="{bottom + 8}"'
            parts.append(f'<text {place} fill="{MUTED}">{kept:.0%} remain</text>')
    legend = ((KEEP, "keep"), (PANEL, "hide"), (INVERT, "invert"))
    x, y = right - side - GAP, bottom - 2
    for i, (colour, word) in enumerate(legend):
        parts.append(
            f'<rect x="{x + 40 * i - 2}" y="{y}" width="11" height="11" rx="2" '
            f'fill="{colour}" stroke="{MUTED}" stroke-width=".4"/>'
        )
        parts.append(
            f'<text x="{x + 40 * i + 4}" y="{y + 24}" font-size="11" fill="{MUTED}">{word}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("mask-learning.svg"))
    parser.add_argument("--data", default="mnist")
    args = parser.parse_args()
    data = load(args.data)
    drawn = train(data)
    args.out.write_text(svg(drawn, data, digits=(0, 2, 3)))
    kept = np.mean(drawn.masks[max(drawn.masks)] != 0)
    print(f"{args.out}: {kept:.1%} of the weights remain, test accuracy {drawn.accuracy:.1%}")


if __name__ == "__main__":
    main()
