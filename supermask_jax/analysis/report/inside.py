"""The sections on one group: its layers over training, scores, first masks, and mistakes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from supermask_jax.analysis.report import chart, heatmap, images, numbers, tables
from supermask_jax.analysis.report.classes import class_names
from supermask_jax.analysis.report.details import FATES, Details
from supermask_jax.analysis.report.histogram import score_histogram
from supermask_jax.analysis.report.lines import Line, line_chart
from supermask_jax.analysis.report.markup import Markup, join, significant, tag
from supermask_jax.analysis.report.numbers import Curve
from supermask_jax.analysis.report.reading import Group

_MOST_LINES = 5  # layers that are told apart as lines; more are rows of a heat map
_MOST_HISTOGRAMS = 12  # that are seen at once; the others are folded away
_UNITS = 10  # of a dense first layer that are drawn
_MOST_CLASSES = 10  # whose mean images are drawn


def layers_section(group: Group, details: Details | None) -> Markup:
    """Returns remaining weights and inverted shares of each layer over epochs, and the table."""
    kept, inverted = (numbers.layer_curves(group, f"layer_{x}") for x in ("density", "inverted"))
    charts = [
        chart.figure("Remaining weights, layer by layer",
                     _layers(kept, "Remaining weights of each layer", log=True),
                     _heat_note(kept, " (logarithmic)")),
        chart.figure("Sign flips: inverted share of the weights that remain",
                     _layers(inverted, "Inverted share of each layer", log=False),
                     _heat_note(inverted, "")) if _any(inverted) else
        tag("p", "This method inverts no weight.", class_="note"),
    ] if kept else [
        tag("p", "This run was made before the shares of layers were logged at every epoch: "
            "curves of layers need a new run.", class_="note missing")
    ]  # fmt: skip
    layers = tables.layers_table(details) if details is not None and details.masks else None
    return join(tag("h2", "Layers"), tag("div", charts, class_="charts wide"), layers)


def _any(curves: dict[str, Curve]) -> bool:
    return any(value.mean > 0 for found in curves.values() for value in found.values)


def _layers(curves: dict[str, Curve], title: str, *, log: bool) -> Markup:
    names = [numbers.short_name(name) for name in curves]
    show = lambda v: f"{v:.2f} %"  # noqa: E731
    if len(curves) <= _MOST_LINES:
        lines = [
            Line(name, found.epochs,
                 [v._replace(mean=100 * v.mean, low=100 * v.low, high=100 * v.high)
                  for v in found.values],
                 numbers.series(i), end_label=name)
            for i, (name, found) in enumerate(zip(names, curves.values(), strict=True))
        ]  # fmt: skip
        return line_chart(lines, title=title, show=show, unit=" %", log=log)
    grid = np.array([[value.mean for value in found.values] for found in curves.values()])
    epochs = next(iter(curves.values())).epochs
    return heatmap.layer_heatmap(names, epochs, grid, title=title, log=log,
                                 show=lambda v: f"{100 * v:.1f} %")  # fmt: skip


def _heat_note(curves: dict[str, Curve], scale: str) -> str | None:
    if len(curves) <= _MOST_LINES:
        return None
    return f"Rows are layers from input to output; the stronger the more{scale}. Right: the end."


def scores_section(details: Details) -> Markup | None:
    """Returns a histogram of scores for each layer."""
    if not details.scores:
        return None
    figures = [
        chart.figure(
            numbers.short_name(name), score_histogram(name, scores), _cut_note(scores.cuts)
        )
        for name, scores in details.scores.items()
    ]
    first, others = figures[:_MOST_HISTOGRAMS], figures[_MOST_HISTOGRAMS:]
    swatches = [(fate, tag("rect", x=5, y=0, width=14, height=12, class_=f"fill {fate}"))
                for fate in _fates(details)]  # fmt: skip
    cut = tag("line", x1=12, y1=0, x2=12, y2=12, class_="cut")
    folded = tag("details", tag("summary", f"{len(others)} more layers"),
                 tag("div", others, class_="charts small")) if others else None  # fmt: skip
    return join(
        tag("h2", "Scores"),
        tag("p", f"How many scores lie where (logarithmic), seed {details.seed}.", class_="note"),
        chart.legend([*swatches, ("where the mask cuts", cut)]),
        tag("div", first, class_="charts small"),
        folded,
    )  # fmt: skip


def _fates(details: Details) -> list[str]:
    """What becomes of weights: nothing is inverted where a method cannot."""
    inverts = any(np.any(mask < 0) for mask in details.masks.values())
    return [fate for fate in FATES if inverts or fate != "inverted"]


def _cut_note(cuts: Sequence[float]) -> str | None:
    if len(cuts) == 2 and abs(cuts[0] + cuts[1]) < 1e-4 * abs(cuts[1]):
        return f"cut at ±{significant(cuts[1])}"
    return "cut at " + " and ".join(significant(cut) for cut in cuts) if cuts else None


def first_layer_section(details: Details, dataset: str) -> Markup | None:
    """Returns the first layer's mask as pictures beside the mean images of the classes."""
    if not details.masks:
        return None
    name, mask = next(iter(details.masks.items()))
    means = details.means
    pixels = None if means is None else means.shape[1:]
    drawn: list[Markup | None] = []
    if mask.ndim == 4:
        drawn = [_kernels(mask)]
    elif pixels is not None and mask.shape[0] == int(np.prod(pixels)):
        drawn = [_pixel_maps(mask.reshape(*pixels, -1), means), _units(mask.reshape(*pixels, -1))]
    if means is not None and len(means) <= _MOST_CLASSES:
        drawn.insert(1 if mask.ndim == 2 else 0, _mean_images(means, dataset))
    if not drawn:
        return None
    key = [
        (fate, tag("rect", x=5, y=0, width=14, height=12, class_=f"swatch {fate}"))
        for fate in _fates(details)
    ]
    about = f"Mask of {numbers.short_name(name)}, seed {details.seed}."
    return join(tag("h2", "First layer"), tag("p", about, class_="note"), chart.legend(key), drawn)


def _strip(pictures: Sequence[tuple[Markup, str]], title: str, note: str | None = None) -> Markup:
    items = [
        tag("figure", picture, tag("figcaption", label), class_="tile")
        for picture, label in pictures
    ]
    return tag("div", tag("h3", title), tag("p", note, class_="note") if note else None,
               tag("div", items, class_="tiles"), class_="panel")  # fmt: skip


def _zoom(width: int) -> int:
    return max(1, 168 // width)


def _pixel_maps(mask: np.ndarray, means: np.ndarray) -> Markup:
    """Per pixel over all units: who looks there, and with which sign; beside the mean image."""
    units = mask.shape[3]
    net = np.sign(mask).mean((2, 3))
    kept = np.mean(mask != 0, axis=(2, 3))
    zoom = _zoom(mask.shape[1])
    strongest = float(np.abs(net).max()) or 1.0
    most = float(kept.max()) or 1.0
    grey = images.grey_pixels(means.mean(0))
    pictures = [
        (images.picture(grey, "mean image", zoom), "mean image of the training data"),
        (images.picture(images.signed_pixels(kept / most), "share of units", zoom),
         f"units that look at a pixel: none to {100 * most:.1f} %"),
        (images.picture(images.signed_pixels(net / strongest), "kept minus inverted", zoom),
         f"kept minus inverted: ±{100 * strongest:.1f} % of the units"),
    ]  # fmt: skip
    if not np.any(mask < 0):
        pictures.pop()  # The same as the one before.
    return _strip(pictures, "All units together",
                  f"Each pixel has a weight to each of {units:,} units.")  # fmt: skip


def _units(mask: np.ndarray) -> Markup:
    """The masks of the units with the most weights left."""
    signs = np.sign(mask)
    counts = np.count_nonzero(mask, axis=(0, 1, 2))
    zoom = max(1, 84 // mask.shape[1])
    pictures = [
        (images.picture(images.signed_pixels(signs[..., i].mean(-1)), f"mask of unit {i}", zoom),
         f"unit {i}: {counts[i]} left")
        for i in np.argsort(-counts, kind="stable")[:_UNITS]
    ]  # fmt: skip
    total = mask.shape[-1]
    title = f"Units with the most weights left: {len(pictures)} of {total}"
    return _strip(pictures, title)


def _mean_images(means: np.ndarray, dataset: str) -> Markup:
    zoom = max(1, 84 // means.shape[2])
    pictures = [
        (images.picture(images.grey_pixels(mean), f"mean image of class {name}", zoom), name)
        for name, mean in zip(class_names(dataset, len(means)), means, strict=True)
    ]
    return _strip(pictures, "Mean image of each class")


def _kernels(mask: np.ndarray) -> Markup:
    height, width, channels, filters = mask.shape
    columns = 8
    sheet = images.kernel_sheet(mask[..., :128], columns)
    drawing = images.picture(sheet, f"masks of {filters} filters", 8, "pixels sheet")
    side = "red, green and blue side by side" if channels == 3 else f"{channels} channels a filter"
    note = f"{min(filters, 128)} of {filters} filters of {height} × {width}, {side}."
    return tag("div", tag("h3", "Kernels"), tag("p", note, class_="note"), drawing,
               class_="panel")  # fmt: skip


def confusion_section(details: Details, dataset: str) -> Markup | None:
    """Returns the confusion matrix, and the classes that are mistaken most."""
    matrix = details.confusion
    if matrix is None:
        return None
    names = class_names(dataset, len(matrix))
    right, total = int(np.trace(matrix)), int(matrix.sum())
    caption = (
        f"{details.split.capitalize()} data, seed {details.seed}: {right:,} of {total:,} right, "
        f"{right / total:.2%}. Wrong ones are coloured by the root of their share, to be seen."
    )
    drawing = chart.figure("True and predicted classes", heatmap.confusion_chart(matrix, names),
                           caption)  # fmt: skip
    beside = tag("div", tables.pairs_table(matrix, names), tables.recall_table(matrix, names))
    return join(tag("h2", "Mistakes"), tag("div", drawing, beside, class_="split"))
