"""Accuracy against remaining weights: the front of result files, and that of a search's log."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from supermask_jax.analysis.intervals import Interval, mean_interval
from supermask_jax.analysis.results import is_dense
from supermask_jax.analysis.rows import Section
from supermask_jax.analysis.tables import Table


class Point(NamedTuple):
    """A network on the plane; both as fractions in [0, 1]. `series`: whose it is, if not ours."""

    label: str
    remaining: Interval
    accuracy: Interval
    series: str = ""


def on_front(points: Sequence[Point]) -> list[bool]:
    """Says of each point whether no other has at least its accuracy at no more weights.

    Of points that are equal in both, all are on the front.
    """
    places = [(point.accuracy.mean, point.remaining.mean) for point in points]

    def beaten(x: float, y: float) -> bool:
        return any(a >= x and b <= y and (a, b) != (x, y) for a, b in places)

    return [not beaten(*place) for place in places]


def front_table(points: Sequence[Point]) -> Table:
    """Returns the points, fewest weights first, with those on the front marked."""
    ordered = sorted(points, key=lambda point: (point.remaining.mean, -point.accuracy.mean))
    rows = [
        ("front" if front else "", p.remaining, p.accuracy, p.accuracy.n, p.label)
        for p, front in zip(ordered, on_front(ordered), strict=True)
    ]
    return Table(("", "remaining %", "accuracy %", "n", "point"), rows)


def search_points(log: Mapping[str, Any]) -> list[Point]:
    """Returns the points of a search's log, means over seeds on the validation split.

    Args:
      log: {"runs": [{"point", "digest", "val_accuracy", "remaining_weights"}]}; failed runs, which
        have "failed" in place of numbers, are left out.
    """
    alike: dict[str, list[Mapping[str, Any]]] = {}
    for run in log["runs"]:
        if "failed" not in run:
            label = " ".join(f"{key}={value}" for key, value in run["point"].items())
            alike.setdefault(label, []).append(run)
    return [
        Point(
            label,
            mean_interval([run["remaining_weights"] for run in runs]),
            mean_interval([run["val_accuracy"] for run in runs]),
        )
        for label, runs in alike.items()
    ]


def best_under(points: Iterable[Point], at_most: float) -> Point | None:
    """Returns the most accurate point with at most `at_most` of the weights, or None."""
    fit = [point for point in points if point.remaining.mean <= at_most]
    return max(fit, key=lambda point: (point.accuracy.mean, -point.remaining.mean), default=None)


class Front(NamedTuple):
    """What is drawn: our masked rows, the papers' values for them, our dense rows."""

    ours: list[Point]
    papers: list[Point]
    dense: list[Point]
    several: bool = False  # networks, which no line joins


def row_points(results: Sequence[Mapping[str, Any]], section: Section) -> Front:
    """Returns the points of result files, ``results/<row>.json``, and of the papers' values there.

    Labels are the rows' names from the first dash on, and whole names where the rows are of several
    families; then a paper's points have the family's name, and the section's `quoted` values join
    them. A paper's value that several rows share is one point.
    """
    families = list(dict.fromkeys(result["row"].partition("-")[0] for result in results))
    front = Front([], [], [], len(families) > 1)
    paper = section.paper or "paper"
    for result in results:
        family, _, rest = result["row"].partition("-")
        label = result["row"] if front.several else rest or family
        both = (Interval(**result[name]) for name in ("remaining_weights", "accuracy"))
        (front.dense if is_dense(result) else front.ours).append(Point(label, *both))
        point = paper_point(result.get("paper") or {}, family if front.several else paper)
        if point and str(point) not in map(str, front.papers):  # As text: NaN is not NaN.
            front.papers.append(point)
    front.papers[:] = [point._replace(series=paper) for point in front.papers]
    if front.several:
        front.papers.extend(
            Point(family, _printed(remaining), _printed(accuracy), name)
            for name, values in section.quoted.items()
            for family, (accuracy, remaining) in values.items()
            if family in families
        )
    return front


def paper_point(paper: Mapping[str, str], label: str) -> Point | None:
    """Returns a row's values of a paper, as printed there; None where it has not both."""
    if not {"accuracy", "remaining"} <= paper.keys():
        return None
    return Point(label, _printed(paper["remaining"]), _printed(paper["accuracy"]))


def _printed(text: str) -> Interval:
    """Parses ``97.48 [97.3, 97.7]``, in percent as papers print it, with or without interval."""
    mean, *bounds = (float(word.strip("[],")) / 100 for word in text.split())
    low, high = bounds or (math.nan, math.nan)
    return Interval(mean, low, high, 0)
