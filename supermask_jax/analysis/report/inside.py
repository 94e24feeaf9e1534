"""What is inside one group: its layers over training, scores, first masks, and mistakes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from supermask_jax.analysis.charts import curves, grids
from supermask_jax.analysis.charts.theme import HUES, Spec
from supermask_jax.analysis.report import images, numbers, tables
from supermask_jax.analysis.report.details import Details
from supermask_jax.analysis.report.numbers import Curve
from supermask_jax.analysis.report.reading import Group
from supermask_jax.analysis.report.tables import Block

_MOST_LINES = 5  # layers that are told apart as lines; more are rows of a heat map
_MOST_HISTOGRAMS = 12  # that are seen at once; the others are folded away
_UNITS = 10  # of a dense first layer that are drawn
_MOST_CLASSES = 10  # whose mean images are drawn
_NAMES = {
    "cifar10": "airplane automobile bird cat deer dog frog horse ship truck",
    "fashion_mnist": "top trouser pullover dress coat sandal shirt sneaker bag boot",
}


def chart(name: str, title: str, spec: Spec, note: str = "") -> Block:
    """Returns a chart as a block; `name` is that of its files."""
    return {"kind": "chart", "name": name, "title": title, "spec": spec, "note": note}


def note(text: str, *, missing: bool = False) -> Block:
    """Returns a sentence as a block; `missing` ones say what could not be shown."""
    return {"kind": "note", "text": text, "missing": missing}


def heading(text: str) -> Block:
    """Returns a heading as a block."""
    return {"kind": "heading", "text": text}


def grid(*columns: Sequence[Block | None] | None, least: int = 330) -> Block:
    """Returns columns side by side, as many as fit at `least` points each."""
    return {"kind": "grid", "columns": columns, "least": least}


def blocks(group: Group, details: Details, name: str) -> list[Block | None]:
    """Returns all that is told of a group; `name` begins the names of its charts' files."""
    sampled = numbers.sampled(group)
    masks = "Most probable masks" if sampled else "Masks"
    found: list[Block | None] = [note(text, missing=True) for text in details.missing]
    if not group.dense:
        found += _layers(group, details, masks, name)
    found += _scores(details, name)
    found += _first_layer(details, masks, str(group.config["data.name"]))
    return found + _mistakes(details, masks if sampled else "", group, name)


def _layers(group: Group, details: Details, masks: str, name: str) -> list[Block | None]:
    kept, inverted = (numbers.layer_curves(group, f"layer_{x}") for x in ("density", "inverted"))
    table = tables.layers_table(details, masks) if details.masks else None
    if not kept:
        return [heading("Layers"), note(
            "This run was made before the shares of layers were logged at every epoch: curves of "
            "layers need a new run.", missing=True), table]  # fmt: skip
    flips = any(value.mean > 0 for found in inverted.values() for value in found.values)
    last = group.config["epochs"]
    return [
        heading("Layers"),
        grid(
            [chart(f"{name}-layers", "Remaining weights of each layer",
                   _of_layers(kept, "remaining", last, log=True))],
            [chart(f"{name}-inverted", "Sign flips: inverted share of the weights that remain",
                   _of_layers(inverted, "inverted", last, log=False))] if flips else None,
            least=440,
        ),
        None if flips else note("This method inverts no weight."),
        table,
    ]  # fmt: skip


def _of_layers(found: dict[str, Curve], what: str, last: int, *, log: bool) -> Spec:
    names = [numbers.short_name(name) for name in found]
    if len(found) <= _MOST_LINES:
        rows = [row for name, curve in zip(names, found.values(), strict=True)
                for row in curves.curve_rows(name, "", *curve)]  # fmt: skip
        colours = dict(zip(names, HUES, strict=False))
        return curves.curves(rows, f"{what}, %", colours=colours, last=last, log=log, unit=100)
    values = np.array([[value.mean for value in curve.values] for curve in found.values()])
    return grids.layer_heatmap(names, next(iter(found.values())).epochs, values, what, log=log)


def _scores(details: Details, name: str) -> list[Block | None]:
    if not details.scores:
        return []
    figures = [
        [chart(f"{name}-scores-{numbers.short_name(layer)}".replace("/", "-"),
               numbers.short_name(layer),
               grids.histogram(found.edges, found.counts, found.cuts), _cut_note(found.cuts))]
        for layer, found in details.scores.items()
    ]  # fmt: skip
    first, others = figures[:_MOST_HISTOGRAMS], figures[_MOST_HISTOGRAMS:]
    return [
        heading("Scores"),
        note(f"How many scores lie where (logarithmic), seed {details.seed}. Dashed: where the "
             "mask cuts."),
        grid(*first, least=260),
        {"kind": "fold", "title": f"{len(others)} more layers",
         "blocks": [grid(*others, least=260)]} if others else None,
    ]  # fmt: skip


def _cut_note(cuts: Sequence[float]) -> str:
    if len(cuts) == 2 and abs(cuts[0] + cuts[1]) < 1e-4 * abs(cuts[1]):
        return f"cut at ±{cuts[1]:.3g}."
    return f"cut at {' and '.join(f'{cut:.3g}' for cut in cuts)}." if cuts else ""


def _strip(title: str, tiles: Sequence[Block], note: str = "") -> Block:
    return {"kind": "pictures", "title": title, "tiles": tiles, "note": note}


def _first_layer(details: Details, masks: str, dataset: str) -> list[Block | None]:
    if not details.masks:
        return []
    name, mask = next(iter(details.masks.items()))
    means, drawn = details.means, []
    if mask.ndim == 4:
        drawn = [_kernels(mask)]
    elif means is not None and mask.shape[0] == means[0].size:
        drawn = [_pixel_maps(mask.reshape(*means.shape[1:], -1), means),
                 _units(mask.reshape(*means.shape[1:], -1))]  # fmt: skip
    if means is not None and len(means) <= _MOST_CLASSES:
        tiles = [
            images.picture(images.grey_pixels(mean), f"mean image of class {label}", 84, label)
            for label, mean in zip(class_names(dataset, len(means)), means, strict=True)
        ]
        drawn.insert(1 if mask.ndim == 2 else 0, _strip("Mean image of each class", tiles))
    if not drawn:
        return []
    about = f"{masks} of {numbers.short_name(name)}, seed {details.seed}: blue is kept"
    about += ", orange inverted." if np.any(mask < 0) else "."
    return [heading("First layer"), note(about), *drawn]


def _pixel_maps(mask: np.ndarray, means: np.ndarray) -> Block:
    """Per pixel over all units: who looks there, and with which sign; beside the mean image."""
    net = np.sign(mask).mean((2, 3))
    kept = np.mean(mask != 0, axis=(2, 3))
    strongest, most = float(np.abs(net).max()) or 1.0, float(kept.max()) or 1.0
    tiles = [
        images.picture(images.grey_pixels(means.mean(0)), "mean image", 168,
                       "mean image of the training data"),
        images.picture(images.signed_pixels(kept / most), "share of units", 168,
                       f"units that look at a pixel: none to {100 * most:.1f} %"),
    ]  # fmt: skip
    if np.any(mask < 0):  # Otherwise the same as the one before.
        tiles.append(images.picture(
            images.signed_pixels(net / strongest), "kept minus inverted", 168,
            f"kept minus inverted: ±{100 * strongest:.1f} % of the units"))  # fmt: skip
    text = f"Each pixel has a weight to each of {mask.shape[3]:,} units."
    return _strip("All units together", tiles, text)


def _units(mask: np.ndarray) -> Block:
    """The masks of the units with the most weights left."""
    counts = np.count_nonzero(mask, axis=(0, 1, 2))
    tiles = [
        images.picture(images.signed_pixels(np.sign(mask[..., i]).mean(-1)), f"mask of unit {i}",
                       84, f"unit {i}: {counts[i]} left")
        for i in np.argsort(-counts, kind="stable")[:_UNITS]
    ]  # fmt: skip
    return _strip(f"Units with the most weights left: {len(tiles)} of {mask.shape[-1]}", tiles)


def _kernels(mask: np.ndarray) -> Block:
    height, width, channels, filters = mask.shape
    sheet = images.kernel_sheet(mask[..., :128], 8)
    tile = images.picture(sheet, f"masks of {filters} filters", 8 * sheet.shape[1])
    side = "red, green and blue side by side" if channels == 3 else f"{channels} channels a filter"
    text = f"{min(filters, 128)} of {filters} filters of {height} × {width}, {side}."
    return _strip("Kernels", [tile], text)


def _mistakes(details: Details, masks: str, group: Group, name: str) -> list[Block | None]:
    matrix = details.confusion
    if matrix is None:
        return []
    names = class_names(str(group.config["data.name"]), len(matrix))
    right, total = int(np.trace(matrix)), int(matrix.sum())
    caption = (
        f"{details.split.capitalize()} data, {masks.lower() or 'seed'}"
        f"{' of seed' if masks else ''} {details.seed}: {right:,} of {total:,} right, "
        f"{right / total:.2%}. Wrong ones are coloured by the root of their share, to be seen."
    )
    tiles = [
        images.picture(images.grey_pixels(image), f"{names[true]}, taken for {names[taken]}", 84,
                       f"{names[true]}, taken for {names[taken]}")
        for image, true, taken in details.mistakes
    ]  # fmt: skip
    title = f"Mistaken: {len(tiles)} of {total - right:,}"
    return [
        heading("Mistakes"),
        grid([chart(f"{name}-confusion", "True and predicted classes",
                    grids.confusion(matrix, names), caption)],
             [tables.pairs_table(matrix, names), tables.recall_table(matrix, names)], least=440),
        _strip(title, tiles) if tiles else None,
    ]  # fmt: skip


def class_names(dataset: str, count: int) -> list[str]:
    """Returns a name for each class, their numbers where the data set names none."""
    names = _NAMES.get(dataset, "").split()
    return names if len(names) == count else [str(i) for i in range(count)]
