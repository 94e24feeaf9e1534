"""What is inside one group: charts of layers, scores and mistakes, and pictures of masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from supermask_jax.analysis.charts import curves, grids
from supermask_jax.analysis.charts.theme import HUES, Spec
from supermask_jax.analysis.report.details import Details
from supermask_jax.analysis.report.groups import Curve, Group
from supermask_jax.analysis.report.images import (
    Picture,
    colour_sheet,
    grey_pixels,
    kernel_sheet,
    picture,
    signed_pixels,
)
from supermask_jax.analysis.report.tables import short_name

_MOST_LINES = 5  # layers that are told apart as lines; more are rows of a heat map
_UNITS = 10  # of a dense first layer that are drawn
_MOST_CLASSES = 10  # whose mean images are drawn
_NAMES = {
    "cifar10": "airplane automobile bird cat deer dog frog horse ship truck",
    "fashion_mnist": "top trouser pullover dress coat sandal shirt sneaker bag boot",
}


class Strip(NamedTuple):
    """Pictures side by side."""

    title: str
    tiles: Sequence[Picture]
    note: str = ""


def charts(group: Group, details: Details, classes: Sequence[str]) -> dict[str, Spec]:
    """Returns the charts of a group by name."""
    found: dict[str, Spec] = {}
    kept, inverted = (group.layers(f"layer_{share}") for share in ("density", "inverted"))
    if kept and not group.dense:
        found["layers"] = _of_layers(kept, "remaining", group.config["epochs"], log=True)
        if any(value.mean > 0 for curve in inverted.values() for value in curve.values):
            found["inverted"] = _of_layers(inverted, "inverted", group.config["epochs"], log=False)
    for layer, scores in details.scores.items():
        found[f"scores-{short_name(layer)}".replace("/", "-")] = grids.histogram(*scores)
    if details.confusion is not None:
        found["confusion"] = grids.confusion(details.confusion, classes)
    return found


def _of_layers(found: Mapping[str, Curve], what: str, last: int, *, log: bool) -> Spec:
    names = [short_name(name) for name in found]
    if len(found) <= _MOST_LINES:
        rows = [
            row
            for name, curve in zip(names, found.values(), strict=True)
            for row in curves.curve_rows(name, "", *curve)
        ]
        colours = dict(zip(names, HUES, strict=False))
        return curves.curves(rows, f"{what}, %", colours=colours, last=last, log=log, unit=100)
    values = np.array([[value.mean for value in curve.values] for curve in found.values()])
    return grids.layer_heatmap(names, next(iter(found.values())).epochs, values, what, log=log)


def first_layer(details: Details, classes: Sequence[str]) -> list[Strip]:
    """Returns pictures of the first layer's mask, with the images that it looks at."""
    if not details.masks:
        return []
    mask, means = next(iter(details.masks.values())), details.means
    drawn = [_kernels(mask)] if mask.ndim == 4 else []
    if details.colours is not None:
        drawn.append(_colours(details.colours))
    if means is None:
        return drawn
    if mask.ndim == 2 and mask.shape[0] == means[0].size:
        of_pixels = mask.reshape(*means.shape[1:], -1)
        drawn = [_pixel_maps(of_pixels, means), _units(of_pixels)]
    if len(means) <= _MOST_CLASSES:
        tiles = [
            picture(grey_pixels(mean), f"mean image of class {label}", 84, label)
            for label, mean in zip(classes, means, strict=True)
        ]
        drawn.insert(1 if mask.ndim == 2 else 0, Strip("Mean image of each class", tiles))
    return drawn


def _pixel_maps(mask: np.ndarray, means: np.ndarray) -> Strip:
    """Per pixel over all units: who looks there, and with which sign; beside the mean image."""
    net = np.sign(mask).mean((2, 3))
    kept = np.mean(mask != 0, axis=(2, 3))
    strongest, most = float(np.abs(net).max()) or 1.0, float(kept.max()) or 1.0
    text = f"units that look at a pixel: none to {100 * most:.1f} %"
    tiles = [
        picture(grey_pixels(means.mean(0)), "mean image", 168, "mean image of the training data"),
        picture(signed_pixels(kept / most), "share of units", 168, text),
    ]
    if np.any(mask < 0):  # Otherwise the same as the one before.
        text = f"kept minus inverted: ±{100 * strongest:.1f} % of the units"
        tiles.append(picture(signed_pixels(net / strongest), "kept minus inverted", 168, text))
    text = f"Each pixel has a weight to each of {mask.shape[3]:,} units."
    return Strip("All units together", tiles, text)


def _units(mask: np.ndarray) -> Strip:
    """The masks of the units with the most weights left."""
    counts = np.count_nonzero(mask, axis=(0, 1, 2))
    signs = np.sign(mask).mean(2)
    tiles = [
        picture(
            signed_pixels(signs[..., i]), f"mask of unit {i}", 84, f"unit {i}: {counts[i]} left"
        )
        for i in np.argsort(-counts, kind="stable")[:_UNITS]
    ]
    return Strip(f"Units with the most weights left: {len(tiles)} of {mask.shape[-1]}", tiles)


def _kernels(mask: np.ndarray) -> Strip:
    height, width, channels, filters = mask.shape
    sheet = kernel_sheet(mask[..., :128], 8)
    tile = picture(sheet, f"masks of {filters} filters", 8 * sheet.shape[1])
    side = "red, green and blue side by side" if channels == 3 else f"{channels} channels a filter"
    text = f"{min(filters, 128)} of {filters} filters of {height} × {width}, {side}."
    return Strip("Kernels", [tile], text)


def _colours(kernel: np.ndarray) -> Strip:
    sheet = colour_sheet(kernel[..., :128], 8)
    tile = picture(sheet, f"colours of {kernel.shape[-1]} filters", 8 * sheet.shape[1])
    text = "The weights that the network uses: 0, as of hidden ones, is grey in each colour."
    return Strip("Kernels in colour", [tile], text)


def mistakes(details: Details, classes: Sequence[str]) -> list[Picture]:
    """Returns pictures of some images that were taken for another class."""
    found = []
    for image, true, taken in details.mistakes:
        text = f"{classes[true]}, taken for {classes[taken]}"
        found.append(picture(grey_pixels(image), text, 84, text))
    return found


def class_names(config: Mapping[str, Any], details: Details) -> list[str]:
    """Returns a name for each class, their numbers where the data set names none."""
    found = details.confusion if details.confusion is not None else details.means
    count = 0 if found is None else len(found)
    names = _NAMES.get(str(config["data.name"]), "").split()
    return names if len(names) == count else [str(i) for i in range(count)]
