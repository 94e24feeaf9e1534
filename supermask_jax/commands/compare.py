"""``supermask compare``: two runs or tickets side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from supermask_jax import tickets
from supermask_jax.analysis.intervals import percent
from supermask_jax.analysis.tables import Table
from supermask_jax.commands import places
from supermask_jax.commands.common import guarded
from supermask_jax.commands.ticket import overlap_table
from supermask_jax.config_files import default_identity
from supermask_jax.errors import UserError

_EPILOG = """\
Accuracies come with 95 % intervals: of one network over its test images (Wilson), of a folder with
several seeds also of the mean over seeds (Student-t). Masks are set against what chance gives for
two masks of these sizes; same sign: share of the weights kept by both whose effective weights agree
in sign.
"""


def _seeds_text(place: str) -> str:
    """Returns the mean accuracy over the seeds of a folder, "" where it is no finished set."""
    path = places.check_place(place)
    if path.is_file():
        return ""
    from supermask_jax.training.workdir import Workdir

    summary = Workdir(path).finished_summary() or {}
    if "runs" not in summary:
        return ""
    return f"{percent(summary['test_accuracy'])} %, mean of {summary['test_accuracy']['n']} seeds"


def _model(ticket: tickets.Ticket) -> str:
    options = dict(ticket.model)
    name = options.pop("name", "unknown")
    return ", ".join([name, *(f"{key} {value}" for key, value in options.items() if value)])


def _rows(found: Sequence[places.Found], seeds: Sequence[str]) -> list[tuple[str, str, str]]:
    pair = [f.ticket for f in found]
    rows = [
        ("method", *(t.method or "unknown" for t in pair)),
        ("model", *map(_model, pair)),
        ("accuracy", *map(places.accuracy_text, pair)),
        ("remaining", *map(places.remaining_text, pair)),
    ]
    if any(seeds):
        rows.insert(3, ("over seeds", *(text or "-" for text in seeds)))
    return rows


def _whole(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config with the entries that an older version did not have."""
    defaults = default_identity()
    return {**defaults, **config, "data": {**defaults["data"], **config.get("data", {})}}


def config_lines(a: tickets.Ticket, b: tickets.Ticket) -> list[str]:
    """Returns the differing entries of the configs of two tickets, each as ``key: a -> b``."""
    if not (a.config and b.config):
        return ["config: not known of both"]
    from supermask_jax.training.workdir import config_differences

    pair = [json.loads(json.dumps(_whole(t.config))) for t in (a, b)]
    lines = config_differences(*pair)
    head = f"config: {len(lines) or 'no'} difference{'s' * (len(lines) != 1)}"
    return [head, *(f"  {line}" for line in lines)]


def _overlaps(a: tickets.Ticket, b: tickets.Ticket) -> tuple[dict[str, Any], str]:
    """Returns (overlap of each layer, "" or why there is none)."""
    if not (a.layers and b.layers):
        return {}, "one of them is dense: there are no masks to compare"
    try:
        return tickets.compare(a, b), ""
    except UserError as error:
        return {}, str(error)


def _as_json(found: Sequence[places.Found], overlaps: Mapping[str, Any]) -> str:
    layers = {
        name: o._asdict() | {"jaccard": o.jaccard, "deviations": o.deviations}
        for name, o in overlaps.items()
    }
    pair = [places.about(f.ticket) for f in found]
    for one, f in zip(pair, found, strict=True):
        interval = places.stored_accuracy(f.ticket)
        one["accuracy_interval"] = None if interval is None else interval[1:3]
    return json.dumps({"places": pair, "layers": layers}, indent=2)


def _act(argv: Sequence[str]) -> None:
    parser = places.place_parser(
        "compare", "Sets two runs or tickets side by side.", _EPILOG, number=2
    )
    args = parser.parse_args(argv)
    found = [places.find(place, args.seed) for place in args.places]
    a, b = (f.ticket for f in found)
    overlaps, why_none = _overlaps(a, b)
    if args.json:
        print(_as_json(found, overlaps))
        return
    rows = _rows(found, [*map(_seeds_text, args.places)])
    print(Table(("", *args.places), rows).text())
    print("\n".join(["", *config_lines(a, b), ""]))
    print(why_none or overlap_table(overlaps))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (default: the process's) and returns the exit status."""
    return guarded(_act, argv)
