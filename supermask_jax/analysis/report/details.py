"""What a checkpoint and the data set add to a run's metrics: arrays, made small."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from supermask_jax.analysis.charts.theme import FATES
from supermask_jax.analysis.intervals import Interval

_BINS = 64


class LayerScores(NamedTuple):
    """A layer's scores as a histogram.

    Attributes:
      edges: float [B + 1].
      counts: {fate: int [B]}.
      cuts: where the mask changes, ascending: none, one or two numbers.
    """

    edges: np.ndarray
    counts: Mapping[str, np.ndarray]
    cuts: tuple[float, ...]


class Details(NamedTuple):
    """What is shown of one run; an entry that could not be had is empty, and `missing` says why.

    Attributes:
      seed: whose it is.
      masks: {layer: int8 mask [*s]}, {} for a dense network.
      colours: effective weights of a first layer on colour images, float [h, w, 3, filters].
      scores: {layer: histogram}, {} where the method learns none.
      confusion: examples of class i predicted as class j, int [K, K].
      split: of `confusion`: "test" or "validation".
      means: mean image of each class, float [K, H, W, C] in [0, 255]. The input of the network.
      mistakes: (image like those of `means`, true class, predicted class) of some.
      checks: sanity check -> accuracy of its draws; the first is the ticket itself.
      missing: sentences for the reader.
    """

    seed: int
    masks: Mapping[str, np.ndarray] = {}
    colours: np.ndarray | None = None
    scores: Mapping[str, LayerScores] = {}
    confusion: np.ndarray | None = None
    split: str = "test"
    means: np.ndarray | None = None
    mistakes: Sequence[tuple[np.ndarray, int, int]] = ()
    checks: Mapping[str, Interval] = {}
    missing: tuple[str, ...] = ()


def bin_scores(
    scores: np.ndarray, mask: np.ndarray, bounds: tuple[float, float] | None = None
) -> LayerScores:
    """Returns the histogram of a layer; scores that are not finite are left out.

    Args:
      scores: float [*s].
      mask: int [*s], what became of them.
      bounds: where the mask cuts, if the method holds that; otherwise it is read off the scores.
    """
    scores, mask = np.ravel(scores), np.ravel(mask)
    finite = np.isfinite(scores)
    scores, mask = scores[finite].astype(np.float64), mask[finite]
    span = float(np.max(np.abs(scores), initial=0.0)) or 1.0
    low = -span if np.min(scores, initial=0.0) < 0 else 0.0
    edges = np.linspace(low, span, _BINS + 1)
    fates = {"hidden": mask == 0, "kept": mask > 0, "inverted": mask < 0}
    counts = {fate: np.histogram(scores[fates[fate]], edges)[0] for fate in FATES}
    cuts = sorted(set(bounds)) if bounds is not None else _read_off(scores, mask)
    return LayerScores(edges, counts, tuple(float(cut) for cut in cuts))


def _read_off(scores: np.ndarray, mask: np.ndarray) -> list[float]:
    """Returns the middle of each gap between the hidden scores and those kept, or 0 if it is in."""
    hidden, kept = scores[mask == 0], scores[mask != 0]
    if not (hidden.size and kept.size):
        return []
    cuts = []
    below, above = kept[kept < hidden.min()], kept[kept > hidden.max()]
    if below.size:
        cuts.append((below.max(), hidden.min()))
    if above.size:
        cuts.append((hidden.max(), above.min()))
    return [0.0 if low <= 0 <= high else (low + high) / 2 for low, high in cuts]


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Returns how many examples of class i were predicted as class j: int [K, K]."""
    flat = labels.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)


def class_means(parts: Iterable[tuple[np.ndarray, np.ndarray]], classes: int) -> np.ndarray | None:
    """Returns the mean image of each class, float32 [K, H, W, C]; 0 for a class without images.

    Args:
      parts: of a split: images [N, H, W, C] and labels [N].
      classes: K.

    Returns:
      None where there are no parts.
    """
    sums, counts = None, np.zeros(classes, np.int64)
    for images, labels in parts:
        sums = np.zeros((classes, *images.shape[1:])) if sums is None else sums
        for label in np.unique(labels):
            sums[label] += images[labels == label].sum(0, dtype=np.float64)
        counts += np.bincount(labels, minlength=classes)
    if sums is None:
        return None
    return (sums / np.maximum(counts, 1)[:, None, None, None]).astype(np.float32)


def dead_units(mask: np.ndarray) -> int:
    """Returns how many output units of a layer, on the last axis, have no weight left."""
    return int(np.sum(~np.any(mask.reshape(-1, mask.shape[-1]) != 0, axis=0)))
