"""What the report of a run takes from its checkpoint, its masks, its data set, and the papers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from supermask_jax import experiment
from supermask_jax.analysis.front import Point, paper_point
from supermask_jax.analysis.report.details import Details, bin_scores, class_means, confusion_matrix
from supermask_jax.analysis.report.groups import Group
from supermask_jax.analysis.rows import Row
from supermask_jax.analysis.runs import Run
from supermask_jax.commands import places, sanity
from supermask_jax.commands.restore import full_config, restore
from supermask_jax.config.files import load_with_overrides
from supermask_jax.core.trees import named_leaves
from supermask_jax.data.images import LazyImages
from supermask_jax.errors import UserError
from supermask_jax.run_files import flat, read_masks
from supermask_jax.training.environment import fixed_settings
from supermask_jax.training.streaming import on_host
from supermask_jax.training.trainer import Trainer

PyTree = Any

_OF_SUBJECT = tuple(f"--config.{part}" for part in ("model.", "method.", "data.", "protocol="))

_MISTAKES = 12  # pictures of them


@fixed_settings()
def details_of(group: Group, *, quick: bool = False, draws: int = 0) -> Details:
    """Returns the details of the first finished run of a group, or of its first.

    Args:
      group: it.
      quick: only what the files beside the checkpoint hold.
      draws: of the sanity checks of its ticket; 0 leaves them out.
    """
    run = next((run for run in group.runs if run.summary), group.runs[0])
    masks = read_masks(run.masks_path) if run.summary and run.masks_path.exists() else {}
    details = Details(run.seed, masks)
    if draws and masks:
        details = _with_checks(details, run, draws)
    if quick:
        return _without(details, "--quick was given")
    if "recipe" in run.config:
        return _without(details, "a level of pruning keeps no scores")
    try:
        config = full_config(dict(run.config))
        found = restore(run.folder, run.seed)
    except (UserError, OSError) as error:
        return _without(details, str(error))
    job, state = found.job, found.state
    parts = state.trainable, found.frozen, state.batch_stats
    trainable, frozen, batch_stats = job.layout.seeds_of(parts)[found.index]
    details = _with_scores(details, job, trainable, frozen)
    return _with_data(details, run, config, job, trainable, frozen, batch_stats)


def _without(details: Details, reason: str) -> Details:
    text = f"No histograms of scores and no confusion matrix: {reason}."
    return details._replace(missing=(*details.missing, text))


def _with_checks(details: Details, run: Run, draws: int) -> Details:
    try:
        checks = sanity.measured(places.find(str(run.folder), run.seed), draws)
    except UserError as error:
        return details._replace(missing=(*details.missing, f"No sanity checks: {error}."))
    return details._replace(checks={name: row for name, (_, row) in checks.rows.items()})


def _with_scores(details: Details, job: Trainer, trainable: PyTree, frozen: PyTree) -> Details:
    masks = jax.device_get(named_leaves(jax.jit(job.method.masks)(trainable, frozen)))
    scores, found = trainable.get("scores", {}), {}
    aux = jax.tree.structure(scores).flatten_up_to(frozen["aux"]) if scores else []
    for (name, layer), part in zip(named_leaves(scores).items(), aux, strict=True):
        # Where the mask cuts, if the method fixed that at the start.
        bounds = (float(part.low), float(part.high)) if hasattr(part, "low") else None
        found[name] = bin_scores(np.asarray(layer), masks[name], bounds)
    return details._replace(
        masks=masks, scores=found, colours=_colours(masks, job, trainable, frozen)
    )


def _colours(masks: Mapping[str, Any], job: Trainer, *parts: PyTree) -> np.ndarray | None:
    """Returns the effective weights of a first layer that convolves colour images."""
    name, mask = next(iter(masks.items()), ("", np.zeros(0)))
    if mask.ndim != 4 or mask.shape[2] != 3:
        return None
    return np.asarray(named_leaves(jax.jit(job.method.apply)(*parts))[name])


def _with_data(
    details: Details, run: Run, config: ConfigDict, job: Trainer, *parts: PyTree
) -> Details:
    """Adds mean images, and the confusion on the test split: on validation while it is trained."""
    try:
        data = experiment.load_data(config)
    except UserError as error:
        reason = f"No confusion matrix and no mean images: {str(error).splitlines()[0]}"
        return details._replace(missing=(*details.missing, reason))
    splits, missing = experiment.split_data(data, config, job.layout), details.missing
    if lazy := isinstance(data.train.images, LazyImages):
        missing = (*missing, "No mean images: the images are read from files as they are needed.")
    means = None if lazy else class_means(on_host(splits.train), data.num_classes)
    held_out = splits.val is not None and not run.summary
    predict, labels, predicted = _predict(job, *parts, data.num_classes), [], []
    mistakes: list[tuple[np.ndarray, int, int]] = []
    for images, true in on_host(splits.val if held_out else splits.test):
        found = predict(images)
        wrong = np.flatnonzero(found != true)[: _MISTAKES - len(mistakes)]
        mistakes += [(images[i], int(true[i]), int(found[i])) for i in wrong]
        labels, predicted = [*labels, true], [*predicted, found]
    return details._replace(
        means=means,
        confusion=confusion_matrix(*map(np.concatenate, (labels, predicted)), data.num_classes),
        split="validation" if held_out else "test",
        mistakes=mistakes,
        missing=missing,
    )


def _predict(
    job: Trainer, trainable: PyTree, frozen: PyTree, batch_stats: PyTree, num_classes: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Returns images -> the classes that the final network gives: int [N]."""
    params = jax.jit(job.method.apply)(trainable, frozen)

    @jax.jit
    def classes(params: PyTree, images: jax.Array) -> jax.Array:
        logits, _ = job.apply_fn(params, batch_stats, job.prepare(None, images), train=False)
        return logits[:, :num_classes].argmax(-1)

    def predict(images: np.ndarray) -> np.ndarray:
        size = job.plan.eval_batch_size
        found = [classes(params, images[i : i + size]) for i in range(0, len(images), size)]
        return np.concatenate(jax.device_get(found))

    return predict


def paper_points(groups: Sequence[Group], rows: Sequence[Row], root: Path) -> list[Point]:
    """Returns the papers' points for the networks, methods, data sets and protocols of `groups`.

    Args:
      groups: what is reported.
      rows: those with both values in `paper` count.
      root: where their config files are.
    """
    wanted = {_subject(group.config) for group in groups if not group.dense}
    found: dict[str, Point] = {}
    for row in rows:
        if not (point := paper_point(row.paper, row.section.paper or "paper")):
            continue
        flags = [flag for flag in row.flags if flag.startswith(_OF_SUBJECT)]
        subject = _subject(flat(load_with_overrides(str(root / row.config), flags).to_dict()))
        if subject in wanted:
            point = point._replace(label=f"{point.label}, {subject[2]}")
            found.setdefault(str(point), point)  # Rows share it. As text: NaN is not NaN.
    return list(found.values())


def _subject(config: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a paper's point is of: the same network by another method is another matter."""
    names = (config[f"{part}.name"] for part in ("model", "data", "method"))
    rest = (("model.width", 1.0), ("data.subset", 0), ("protocol", "validation"))
    return *names, *(config.get(key, default) for key, default in rest)
