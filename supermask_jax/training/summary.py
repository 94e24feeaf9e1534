"""What a trained program leaves beside its checkpoints: masks, tickets and summaries."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from supermask_jax.core import stats, trees
from supermask_jax.data import spec_of
from supermask_jax.errors import UserError
from supermask_jax.methods import Method
from supermask_jax.run_files import check_lines, read, read_lines, read_masks
from supermask_jax.schemas import ENV, PART
from supermask_jax.tickets import Ticket, from_run, load_ticket, save_ticket
from supermask_jax.training.distributed import is_main, wait_for_all
from supermask_jax.training.diverged import DivergedSeeds
from supermask_jax.training.loop import Trained
from supermask_jax.training.trainer import Network, Trainer
from supermask_jax.training.workdir import Workdir

PyTree = Any

_log = logging.getLogger("supermask_jax")


def finish(folder: Workdir, trainer: Trainer, trained: Trained) -> list[dict[str, Any]]:
    """Writes masks and tickets of a finished program; returns a summary for each of its seeds.

    Seeds that diverged leave nothing.

    Raises:
      UserError: the metrics of the run are gone.
    """
    wait_for_all("trained")
    place, config, lines = trainer.part(folder), folder.read_config(), folder.read_metrics()
    diverged = DivergedSeeds(folder).read()
    networks = trainer.networks(trained.state, trained.frozen)
    found = []
    for seed, network, metrics in zip(trainer.seeds, networks, trained.metrics, strict=True):
        if seed in diverged:
            continue
        own = [line for line in lines if line["seed"] == seed]
        if not own:
            raise UserError(f"{folder.metrics} is gone: start again in another work folder")
        masks = trees.named_leaves(network.masks)
        folder.write_masks(place.masks[seed], masks)
        if masks and is_main():  # A dense network has no masks, and is no ticket.
            settings = config | {"seed": seed}
            try:
                ticket = make_ticket(settings, trainer.method, network, metrics)
                save_ticket(place.tickets[seed], ticket)
            except UserError as error:
                _log.warning("no ticket: %s", error)
        found.append(_summary(trainer.method, network, own, metrics))
        for line in found[-1].get("warnings", ()):
            _log.warning("seed %d: %s", seed, line)
    return found


def check_left(folder: Workdir, summary: Mapping[str, Any]) -> None:
    """Checks what a finished run has left, where it is still there.

    Raises:
      UserError: a file is damaged; the line names it.
    """
    in_set = "runs" in summary
    runs = summary["runs"] if in_set else [summary]
    if folder.env.exists():
        read(folder.env, ENV, "delete it")
    for part in folder.path.glob("seeds_*.json"):
        read(part, PART, "delete it and summary.json, and run the same command again")
    if folder.metrics.exists():
        lines, wrong = read_lines(folder.metrics)
        if wrong:
            raise UserError(f"{folder.metrics} is damaged ({wrong}): restore or delete it")
        for run in runs:
            own = [line for line in lines if line["seed"] == run["seed"]]
            check_lines(folder.metrics, own, run["epoch"])
    for seed in (run["seed"] for run in runs):
        masks, ticket = folder.masks, folder.ticket
        if in_set:
            masks, ticket = folder.of_seed(masks, seed), folder.of_seed(ticket, seed)
        if masks.exists():
            read_masks(masks)
        try:
            if ticket.exists():
                load_ticket(ticket)
        except UserError as error:
            raise UserError(
                f"{error}: delete it and the summary, and run the same command to make both again"
            ) from error


def _summary(
    method: Method, network: Network, lines: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the summary of one seed, with its lines of ``metrics.jsonl``."""
    counts = stats.layer_counts(trees.named_leaves(network.masks))
    # Accuracy and remaining weights are means over sampled masks where a method samples; the
    # masks that are written, and `layers`, are then those with a probability above 1/2.
    kind = "most probable" if method.eval_samples else "final"
    last = {**lines[-1], **metrics}
    return {
        "masks": kind,
        # `layers` has the shares of the last masks.
        **{name: value for name, value in last.items() if name not in stats.LAYER_SHARES},
        "seconds": round(sum(line["seconds"] for line in lines), 3),
        "num_weights": sum(map(sum, counts.values())) or trees.num_params(network.params),
        "layers": {
            name: layer._asdict() | {"density": layer.density} for name, layer in counts.items()
        },
        "frozen_sha256": trees.digest(network.frozen),
        **_warnings(counts, metrics.get("layer_density", {})),
    }


def _warnings(
    counts: Mapping[str, stats.MaskCounts], densities: Mapping[str, float]
) -> dict[str, list[str]]:
    """Returns the entry of a summary that says which layers keep nothing; {} if all keep some."""
    # The masks of methods that sample are the most probable ones: `densities` are of those drawn.
    empty = [name for name, found in counts.items() if not found.density + densities.get(name, 0)]
    if not empty:
        return {}
    where = "at all" if len(empty) == len(counts) else f"in {', '.join(empty)}"
    return {"warnings": [f"no weight remains {where}: keep more, or lower threshold or decay"]}


def make_ticket(
    config: Mapping[str, Any], method: Method, network: Network, metrics: Mapping[str, Any]
) -> Ticket:
    """Makes the ticket of a trained network.

    Args:
      config: settings of the run as a plain dict, as its ``config.json`` holds them.
      method: the run's.
      network: of one seed.
      metrics: where `test_accuracy` is; it is stored if it is that of the ticket itself, and not
        of masks that were sampled.

    Raises:
      UserError: a weight is not finite.
    """
    accuracy = None
    if not method.eval_samples and "test_accuracy" in metrics:
        accuracy = accuracy_on(config["data"], metrics["test_accuracy"])
    return ticket_of(config, *network[:3], accuracy=accuracy)


def ticket_of(
    config: Mapping[str, Any],
    params: PyTree,
    masks: PyTree,
    batch_stats: PyTree,
    *,
    accuracy: Mapping[str, Any] | None,
) -> Ticket:
    """Makes the ticket of nested NumPy arrays and a config.

    Raises:
      UserError: as `supermask_jax.tickets.from_run`.
    """
    spec = spec_of(config["data"])
    preprocessing = {"name": config["data"].get("preprocess", "standardize")}
    if preprocessing["name"] == "mean_std":
        preprocessing |= {"mean": list(spec.mean), "std": list(spec.std)}
    return from_run(
        params,
        masks,
        batch_stats,
        model=config["model"],
        num_classes=spec.num_classes,
        image_shape=spec.image_shape,
        preprocessing=preprocessing,
        method="lottery" if "recipe" in config else config["method"]["name"],
        config=config,
        accuracy=accuracy,
    )


def accuracy_on(data: Mapping[str, Any], value: float) -> dict[str, Any]:
    """Returns the entry of a ticket for an accuracy on the test split.

    Args:
      data: the section of the config: where it has a `subset`, so many of the first images.
      value: the accuracy, in [0, 1].
    """
    size = spec_of(data).test_size
    images = min(size, data.get("subset") or size)
    return {"data": data["name"], "split": "test", "images": images, "value": value}
