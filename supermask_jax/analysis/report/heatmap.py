"""Values on a grid: layers over epochs, and the confusion of classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from supermask_jax.analysis.report import chart, images, scales
from supermask_jax.analysis.report.chart import Frame
from supermask_jax.analysis.report.markup import Markup, join, tag

_MOST_COLUMNS = 150
_MOST_NUMBERS = 20  # classes of a matrix with numbers in its cells


def layer_heatmap(
    names: Sequence[str],
    epochs: Sequence[int],
    values: np.ndarray,
    *,
    title: str,
    show: Callable[[float], str],
    log: bool = False,
) -> Markup:
    """Draws a row a layer: the stronger the colour, the larger the value.

    Args:
      names: of the layers, L.
      epochs: E of them.
      values: in [0, 1], float [L, E].
      title: of the chart.
      show: a value as text.
      log: whether colours go by the logarithm.
    """
    row = min(18.0, max(3.0, 330 / len(names)))
    left = min(150.0, 14 + 6.3 * max(map(len, names)))
    frame = Frame(height=row * len(names) + 52, left=left, right=58)
    x = scales.epochs(epochs[-1], *frame.x, first=epochs[0])
    every = max(1, math.ceil(11 / row))
    labels, hits = [], []
    for i, name in enumerate(names):
        place = frame.top + (i + 0.5) * row
        first, last = show(values[i, 0]), show(values[i, -1])
        if i % every == 0:
            labels.append(chart.text(left - 6, place + 4, name, "tick", "end"))
            labels.append(chart.text(frame.x[1] + 6, place + 4, last, "tick"))
        tip = f"{name}\n{first} at epoch {epochs[0]}\n{last} at epoch {epochs[-1]}"
        rect = tag("rect", x=left, y=place - row / 2, width=frame.x[1] - left, height=row)
        hits.append(tag("g", tag("title", tip), rect, class_="hit"))
    axis = chart.axes(frame, x, scales.Scale(0, 1, *frame.y, ()), "epoch")
    described = f"{len(names)} layers; at the end from {show(values[:, -1].min())} to " + show(
        values[:, -1].max()
    )
    return chart.svg(frame, axis, _raster(values, frame, log), labels, hits, title=title,
                     description=described)  # fmt: skip


def _raster(values: np.ndarray, frame: Frame, log: bool) -> Markup:
    """The values as one image, as strong as they lie between the smallest and the largest."""
    values = np.nan_to_num(values[:, :: math.ceil(values.shape[1] / _MOST_COLUMNS)])
    if log:
        values = np.log(np.maximum(values, 1e-4))
    low, high = float(values.min()), float(values.max())
    strength = (values - low) / (high - low) if high > low else np.ones_like(values)
    (left, right), (bottom, top) = frame.x, frame.y
    return tag("image", href=images.data_uri(images.signed_pixels(0.06 + 0.94 * strength)),
               x=float(left), y=float(top), width=right - left, height=bottom - top,
               preserveAspectRatio="none", class_="pixels")  # fmt: skip


def confusion_chart(matrix: np.ndarray, names: Sequence[str]) -> Markup:
    """Draws a confusion matrix, int [K, K]: rows are true classes, columns what was predicted.

    Blue is right, orange wrong, as strong as the share of the row; wrong ones by their root, so
    that few are seen.
    """
    count = len(names)
    letters = max(map(len, names)) if count <= _MOST_NUMBERS else 0
    left = 34.0 + 6.2 * letters
    side = (426.0 - left) / count
    frame = Frame(width=440, height=side * count + 44,
                  left=left, right=14, top=8, bottom=36)  # fmt: skip
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    wrong = np.sqrt(shares / max(float((shares * (1 - np.eye(count))).max()), 1e-9))
    strength = np.where(np.eye(count, dtype=bool), 0.85 * shares, -np.minimum(wrong, 1))
    cells = (
        _cells(matrix, strength, names, frame, side)
        if count <= _MOST_NUMBERS
        else tag("image", href=images.data_uri(images.signed_pixels(strength)), x=left,
                 y=frame.top, width=side * count, height=side * count, class_="pixels")
    )  # fmt: skip
    middle = frame.top + side * count / 2
    titles = join(
        chart.text(left + side * count / 2, frame.height - 3, "predicted", "axis-title", "middle"),
        tag("text", "true", transform=f"translate(12 {middle:.1f}) rotate(-90)",
            class_="axis-title", text_anchor="middle"),
    )  # fmt: skip
    right = np.trace(matrix)
    return chart.svg(frame, cells, titles, title="Confusion matrix",
                     description=f"{right:,} of {matrix.sum():,} on the diagonal")  # fmt: skip


def _cells(
    matrix: np.ndarray, strength: np.ndarray, names: Sequence[str], frame: Frame, side: float
) -> Markup:
    parts = []
    size = min(13.0, side / 3)
    for i, name in enumerate(names):
        middle, y = frame.left + (i + 0.5) * side, frame.top + i * side
        parts.append(chart.text(frame.left - 6, y + side / 2 + 4, name, "tick", "end"))
        short = name if len(name) <= 5 else f"{name[:4]}."
        parts.append(
            chart.text(middle, frame.top + side * len(names) + 14, short, "tick", "middle")
        )
        for j, other in enumerate(names):
            x, value = frame.left + j * side, strength[i, j]
            kind = "kept" if i == j else "inverted"
            tip = f"{matrix[i, j]:,} of true {name}\npredicted {other}"
            opacity = round(float(abs(value)), 3)
            cell = tag("rect", x=x, y=y, width=side - 1, height=side - 1, class_=f"cell {kind}",
                       fill_opacity=str(opacity))  # fmt: skip
            number = chart.text(
                x + (side - 1) / 2, y + side / 2 + size / 3, f"{matrix[i, j]}",
                "count strong" if opacity > 0.6 else "count", "middle",
            ) if matrix[i, j] else None  # fmt: skip
            parts.append(tag("g", tag("title", tip), cell, number, class_="hit"))
    return join(parts)
