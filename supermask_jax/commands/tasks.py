"""``supermask tasks``."""

from __future__ import annotations

import argparse
import json
import logging
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supermask_jax import files
from supermask_jax.commands.common import (
    CONFIG_EPILOG,
    add_config,
    add_output,
    at_least,
    check_out,
    default_workdir,
    recorded,
)
from supermask_jax.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from supermask_jax.tickets import Ticket

EPILOG = f"""\
A mask is trained for each task over the same frozen weights, those of config.seed. The table shows
the accuracy of each task with its own mask, and of how many single images the task is found by the
entropy of the superposed masks; the matrix, the accuracy of every mask (rows) on every task.

{CONFIG_EPILOG}"""
EXAMPLES = (
    "tasks piggyback:fcn --task=permuted:mnist:0-4 --epochs=1 --config.model.outputs=100",
    "tasks signed_topk:fcn --task=split:mnist:0-4 --task=split:mnist:5-9 --tickets=two.safetensors",
)

_TASK = """\
a data set, such as split:mnist:0-4; permuted:mnist:0-4 is five; may be given several times"""
_INFERRED = 100
_INFER = f"images of each task whose task is inferred (default: {_INFERRED}; 0: none)"

_log = logging.getLogger("supermask_jax")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_config(parser)
    add = parser.add_argument
    add("--task", action="append", required=True, metavar="NAME", help=_TASK)
    add("--infer", type=at_least(0), metavar="NUMBER", help=_INFER)
    add("--rule", choices=("one_shot", "binary"), default="one_shot", help="how it is inferred")
    add("--tickets", type=Path, metavar="FILE", help="where the tickets of all tasks go, as one")
    add("--out", type=Path, metavar="FILE", help="where the result goes, as JSON")
    add("--figure", type=Path, metavar="FILE", help="where the matrix goes, .svg or .pdf")
    add_output(parser)


def run(args: argparse.Namespace) -> None:
    """Trains the tasks that are not trained yet, and measures all."""
    from supermask_jax.config.files import load_with_overrides
    from supermask_jax.studies import tasks
    from supermask_jax.training.environment import fixed_settings

    config = load_with_overrides(args.config, args.overrides)
    if args.figure is not None and args.figure.suffix not in (".svg", ".pdf"):
        raise UserError(f"--figure must end in .svg or .pdf, got {args.figure}")
    for path in (args.tickets, args.out, args.figure):
        check_out(path)
    if args.print_config:
        print(config)
        return
    configs = tasks.task_configs(config, tasks.task_names(args.task))
    if args.dry_run:
        print("\n".join([f"{len(configs)} tasks:", *(f"  {name}" for name in configs)]))
        return
    workdir = Path(args.workdir or f"{default_workdir(config, args.config)}-tasks")
    quiet = args.quiet or args.json
    with fixed_settings():
        trained = tasks.train(configs, workdir, quiet=quiet)
        result = _measured(args, configs, trained)
    words = recorded(args.words, ("--workdir", "--out", "--figure", "--tickets"))
    result = {"command": shlex.join(["supermask", "tasks", *words]), **result}
    _write(args, result)
    print(json.dumps(result, indent=2) if args.json else report(result))


def _measured(
    args: argparse.Namespace, configs: Mapping[str, Any], trained: Mapping[str, Ticket]
) -> dict[str, Any]:
    """Returns the result: of every task its accuracy, and the matrix of all."""
    from supermask_jax import experiment
    from supermask_jax.commands import restore
    from supermask_jax.config.files import identity
    from supermask_jax.studies import tasks
    from supermask_jax.tickets.ticket_set import encode_tickets
    from supermask_jax.training.environment import environment

    config = next(iter(configs.values()))
    tests = {name: restore.test_part(config) for name, config in configs.items()}
    weights = experiment.drawn_weights(config)
    content = encode_tickets(_without_values(trained, weights))
    if args.tickets is not None:
        files.write(args.tickets, content)
    matrix = tasks.accuracies(trained, tests)
    asked, found = _INFERRED if args.infer is None else args.infer, {}
    try:
        found = tasks.inferred(trained, weights, tests, asked, args.rule) if asked else {}
    except UserError as error:
        if args.infer is not None:  # Asked for, it is an error; else it goes without.
            raise
        _log.warning("%s", error)
    rows = []
    for index, (name, ticket) in enumerate(trained.items()):
        row = {
            "task": name,
            "accuracy": float(matrix[index, index]),
            "images": len(tests[name].labels),
            "remaining": ticket.density,
        }
        if found:
            right = int((found[name] == index).sum())
            row |= {"task_found": right, "task_asked": len(found[name])}
        rows.append(row)
    return {
        "config": identity(config),
        "env": environment(),
        "weights": next(iter(trained.values())).num_weights,
        "bytes": len(content),
        "tasks": rows,
        "matrix": [[round(value, 6) for value in row] for row in matrix.tolist()],
    }


def _without_values(
    trained: Mapping[str, Ticket], weights: Mapping[str, np.ndarray]
) -> dict[str, Ticket]:
    """Returns tickets of masks alone where the weights are those drawn from the seed."""
    from supermask_jax.tickets.drawn import without_values

    try:
        return {name: without_values(ticket, weights) for name, ticket in trained.items()}
    except UserError:  # A method that scales its weights.
        return dict(trained)


def _write(args: argparse.Namespace, result: dict[str, Any]) -> None:
    if args.out is not None:
        from supermask_jax.analysis.results import write_result

        write_result(args.out, result)
    if args.figure is not None:
        from supermask_jax.analysis.charts import grids, theme

        names = [row["task"] for row in result["tasks"]]
        theme.save(grids.task_matrix(names, result["matrix"]), args.figure, width=460, height=420)


def report(result: Mapping[str, Any]) -> str:
    """Returns the table of a result, its matrix, and what the tasks take."""
    from supermask_jax.analysis.intervals import percent, share_interval
    from supermask_jax.analysis.tables import Table

    head, rows = ["task", "accuracy %", "remaining %", "task found"], []
    for row in result["tasks"]:
        found = f"{row['task_found']} of {row['task_asked']}" if "task_asked" in row else "-"
        accuracy = percent(share_interval(row["accuracy"], row["images"]))
        rows.append((row["task"], accuracy, f"{100 * row['remaining']:.2f}", found))
    parts = [Table(head, rows).text()]
    if len(rows) <= 10:
        shown = [
            (f"mask {i}", *(f"{100 * value:.2f}" for value in values))
            for i, values in enumerate(result["matrix"])
        ]
        parts.append(Table(("accuracy %", *(f"task {i}" for i in range(len(rows)))), shown).text())
    each, trained = result["bytes"] / len(rows), Path(result["config"]["pretrained"]).name
    weights = f"those of {trained}" if trained else "drawn from the seed"
    parts.append(
        f"{len(rows)} tasks in {result['bytes']:,} bytes, {each:,.0f} a task; "
        f"the {result['weights']:,} frozen weights are {weights}"
    )
    return "\n\n".join(parts)
